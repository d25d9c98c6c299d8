"""The SuperGlobal encoder against plain numpy, torchvision's ResNet and the released pooling."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.resnet import Bottleneck, ResNet

from mmrerank.encoders import gem as module
from mmrerank.encoders._resnet import Backbone, backbone_of, relup
from mmrerank.errors import FormatError, InputError, ShapeError
from mmrerank.parts import make

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "superglobal_pooling.json").read_text())
GOLDEN_TOLERANCE = 5e-6


def picture(seed, height, width):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def checkpoint(tmp_path):
    file = tmp_path / "cvnet.pth"
    torch.save({"model_state": module.tiny_state(seed=3)}, file)
    return file


def built(checkpoint, **options):
    return module.build(module.Options(checkpoint=str(checkpoint), device="cpu", **options))


# Plain numpy, float64, one picture: (channels, height, width)


def np_conv(x, weight, stride=1, padding=0):
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    side = weight.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("ihwab,oiab->ohw", windows, weight, optimize=True)


def np_norm(x, state, name):
    weight, bias, mean, variance = (state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var"))
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def np_block(x, state, name, stride, inner, outer):
    shortcut = x
    if f"{name}.proj.weight" in state:
        shortcut = np_norm(np_conv(x, state[f"{name}.proj.weight"], stride), state, f"{name}.bn")
    y = np.maximum(np_norm(np_conv(x, state[f"{name}.f.a.weight"]), state, f"{name}.f.a_bn"), inner)
    y = np.maximum(np_norm(np_conv(y, state[f"{name}.f.b.weight"], stride, 1), state, f"{name}.f.b_bn"), inner)
    y = np_norm(np_conv(y, state[f"{name}.f.c.weight"]), state, f"{name}.f.c_bn")
    return np.maximum(shortcut + y, outer)


def np_backbone(x, state, floor):
    x = np.maximum(np_norm(np_conv(x, state["stem.conv.weight"], 2, 3), state, "stem.bn"), 0)
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))  # after a ReLU a border of zeros never wins
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-1, -2))
    x = np_block(x, state, "s1.b1", 1, floor, floor)
    x = np_block(x, state, "s2.b1", 2, 0, floor)
    x = np_block(x, state, "s3.b1", 2, 0, floor)
    return np_block(x, state, "s4.b1", 2, 0, 0)


def np_regional_gem(x, p=2.5, window=5, mix=0.5):
    margin = window // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    result = np.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            region = padded[:, row : row + window, column : column + window]
            result[:, row, column] = (region**p).mean(axis=(1, 2)) ** (1 / p)
    return mix * result + (1 - mix) * x


def np_gem(x, p=4.6, eps=1e-8):
    return (np.maximum(x, eps) ** p).mean(axis=(1, 2)) ** (1 / p)


def np_scale_gem(rows, how="max", p=10.0):
    rows = np.asarray(rows)
    if how == "max":
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).max(axis=0)
    if how == "mean":
        return rows.mean(axis=0)
    least = rows.min()
    return ((rows - least) ** p).mean(axis=0) ** (1 / p) + least


def np_resize_matrix(old, new, antialias):
    """(new, old) weights of a bilinear resize along one side; antialiasing widens the triangle when it shrinks."""
    ratio = old / new
    width = max(ratio, 1.0) if antialias else 1.0
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * ratio - 0.5
        if not antialias:
            centre = max(centre, 0.0)
        weights[i] = np.maximum(0, 1 - np.abs(np.arange(old) - centre) / width)
        if not antialias and centre > old - 1:
            weights[i, -1] = 1.0
    return weights / weights.sum(axis=1, keepdims=True)


def np_resize(x, height, width, antialias):
    if x.shape[1:] == (height, width):
        return x
    rows = np_resize_matrix(x.shape[1], height, antialias)
    columns = np_resize_matrix(x.shape[2], width, antialias)
    return np.einsum("ih,chw,jw->cij", rows, x, columns, optimize=True)


def np_descriptor(image, state, scales, *, floor=0.014, how="max", antialias=False, regional=True, gem_plus=True):
    bgr = np.asarray(image, dtype=np.float64)[:, :, ::-1].transpose(2, 0, 1)
    x = (bgr / 255 - np.array([0.406, 0.456, 0.485])[:, None, None]) / np.array([0.225, 0.224, 0.229])[:, None, None]
    rows = []
    for scale in scales:
        features = np_backbone(np_resize(x, int(x.shape[1] * scale), int(x.shape[2] * scale), antialias), state, floor)
        features = np_regional_gem(features) if regional else features
        pooled = np_gem(features) if gem_plus else np_gem(features, state["head.pool.p"][0], 1e-6)
        rows.append(state["head.fc.weight"] @ (pooled / np.linalg.norm(pooled)) + state["head.fc.bias"])
    row = np_scale_gem(rows, how)
    return row / np.linalg.norm(row)


@pytest.fixture
def state():
    return {key.removeprefix("encoder_q."): value.double().numpy() for key, value in module.tiny_state(seed=3).items()}


# The pooling


def test_pooling_gives_what_the_released_modules_gave():
    features = torch.tensor(GOLDEN["feature_map"])
    assert list(features.shape) == GOLDEN["feature_map_shape"]
    regional = module.regional_gem(features)
    for computed, expected in (
        (regional, "regional_gem_out"),
        (module.gem(features), "gem_plus_of_feature_map"),
        (module.gem(regional), "gem_plus_of_regional_gem"),
        (module.scale_gem(torch.tensor(GOLDEN["scale_gem_in"])), "scale_gem_inf_out"),
        (module.scale_gem(torch.tensor(GOLDEN["scale_gem_p10_in_abs"]), "power"), "scale_gem_p10_out"),
        (relup(torch.tensor(GOLDEN["relup_in"])), "relup_out"),
    ):
        expected_values = torch.tensor(GOLDEN[expected]).reshape(computed.shape)
        torch.testing.assert_close(computed, expected_values, atol=GOLDEN_TOLERANCE, rtol=0, msg=expected)


def test_the_defaults_are_the_published_constants():
    options = module.Options(checkpoint="x")
    published = GOLDEN["constants"]
    assert (options.regional_p, options.regional_window, options.regional_mix) == (published["pr"], published["window"], 0.5)
    assert (options.gem_p, options.gem_eps) == (published["p"], published["eps"])
    assert (options.relup, options.scale_p, options.scales) == (published["alpha"], published["scale_p_finite"], 3)


@pytest.mark.parametrize("shape", [(3, 3), (3, 8), (7, 4)])
@pytest.mark.parametrize("window", [3, 5])
def test_pooling_agrees_with_plain_numpy(shape, window):
    features = np.random.default_rng(0).exponential(0.3, (6, *shape))
    tensor = torch.from_numpy(features)[None]
    regional = module.regional_gem(tensor, p=3.1, window=window, mix=0.3)[0].numpy()
    np.testing.assert_allclose(regional, np_regional_gem(features, 3.1, window, 0.3), rtol=1e-10)
    np.testing.assert_allclose(module.gem(tensor, p=2.2)[0].numpy(), np_gem(features, 2.2), rtol=1e-10)
    rows = np.random.default_rng(1).normal(size=(3, 9))
    for how in ("max", "mean", "power"):
        np.testing.assert_allclose(module.scale_gem(torch.from_numpy(rows)[:, None], how)[0].numpy(), np_scale_gem(rows, how), rtol=1e-9)


@given(value=st.floats(1e-6, 50.0))
def test_a_constant_map_stays_what_it_is(value):
    features = torch.full((1, 2, 4, 5), value)
    torch.testing.assert_close(module.regional_gem(features), features, rtol=1e-4, atol=0)
    torch.testing.assert_close(module.gem(features), torch.full((1, 2), value), rtol=1e-4, atol=0)


def test_the_power_mean_over_scales_ignores_the_other_pictures():
    rows = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    together = module.scale_gem(rows, "power")
    alone = torch.cat([module.scale_gem(rows[:, i : i + 1], "power") for i in range(4)])
    torch.testing.assert_close(together, alone)


def test_a_map_too_small_to_reflect_is_refused():
    with pytest.raises(ShapeError, match="3 x 3"):
        module.regional_gem(torch.ones(1, 4, 2, 9))


# The backbone


def test_the_backbone_is_torchvisions_when_the_floor_is_zero():
    torch.manual_seed(0)
    reference = ResNet(Bottleneck, [2, 1, 2, 1], num_classes=10).eval()
    names = {"conv1": "f.a", "bn1": "f.a_bn", "conv2": "f.b", "bn2": "f.b_bn", "conv3": "f.c", "bn3": "f.c_bn"}
    names |= {"downsample.0": "proj", "downsample.1": "bn"}
    weights = {"head.fc.weight": torch.zeros(8, 2048), "head.fc.bias": torch.zeros(8), "head.pool.p": torch.ones(1)}
    for key, value in reference.state_dict().items():
        if key.startswith("layer"):
            stage, block, rest = key.removeprefix("layer").split(".", 2)
            layer, _, kind = rest.rpartition(".")
            weights[f"s{stage}.b{int(block) + 1}.{names[layer]}.{kind}"] = value
        elif not key.startswith("fc"):
            weights[f"stem.{key.replace('conv1', 'conv').replace('bn1', 'bn')}"] = value
    model, depths = backbone_of(weights, Path("torchvision"))
    x = torch.randn(2, 3, 70, 101)
    expected = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
    expected = reference.layer4(reference.layer3(reference.layer2(reference.layer1(expected))))
    with torch.inference_mode():
        torch.testing.assert_close(model(x, 0.0), expected.detach(), rtol=1e-4, atol=1e-4)
    assert depths == (2, 1, 2, 1)


def test_a_resnet50_has_the_parameters_of_cvnets():
    with torch.device("meta"):
        model = Backbone(64, [(3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048)], 2048)
    keys = model.state_dict()
    assert sum(p.numel() for p in model.parameters()) == 23_508_032 + 2048 * 2048 + 2048 + 1  # ResNet-50, whitening, GeM's p
    assert keys["s3.b6.f.b.weight"].shape == (256, 256, 3, 3)
    assert "s3.b6.proj.weight" not in keys
    assert keys["s4.b1.bn.running_var"].shape == keys["head.fc.bias"].shape == (2048,)


@pytest.mark.parametrize("height_width", [(65, 65), (96, 131)])
def test_the_stage_4_map_is_a_32nd(height_width, checkpoint):
    model = built(checkpoint)._model
    with torch.inference_mode():
        features = model(torch.randn(1, 3, *height_width), 0.014)
    assert features.shape[-2:] == tuple(-(-side // 32) for side in height_width)


# The whole


@pytest.mark.parametrize(
    ("options", "twin"),
    [
        ({"scales": 1}, {"scales": (1.0,)}),
        ({}, {"scales": (0.7071, 1.0, 1.4142)}),
        ({"scales": 5}, {"scales": (0.5, 0.7071, 1.0, 1.4142, 2.0)}),
        ({"antialias": True}, {"scales": (0.7071, 1.0, 1.4142), "antialias": True}),
        ({"relup": 0.3}, {"scales": (0.7071, 1.0, 1.4142), "floor": 0.3}),
        ({"relup": 0.0, "scale_gem": "mean"}, {"scales": (0.7071, 1.0, 1.4142), "floor": 0.0, "how": "mean"}),
        ({"scale_gem": "power"}, {"scales": (0.7071, 1.0, 1.4142), "how": "power"}),
        ({"regional": False, "gem_plus": False}, {"scales": (0.7071, 1.0, 1.4142), "regional": False, "gem_plus": False}),
    ],
    ids=lambda value: ",".join(value) if "scales" not in value or len(value) == 1 else "",
)
def test_descriptors_agree_with_plain_numpy(options, twin, checkpoint, state):
    image = picture(5, 131, 158)
    row = built(checkpoint, **options).encode([image])[0]
    np.testing.assert_allclose(row, np_descriptor(image, state, **twin), atol=2e-5)


def test_every_switch_moves_the_descriptor(checkpoint):
    image = picture(6, 140, 150)
    rows = [
        built(checkpoint, **options).encode([image])[0]
        for options in (
            {},
            {"scales": 1},
            {"relup": 0.0},
            {"regional": False},
            {"gem_plus": False},
            {"scale_gem": "mean"},
            {"antialias": True},
        )
    ]
    differences = [np.abs(rows[0] - row).max() for row in rows[1:]]
    assert min(differences) > 1e-5


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_stays_close(precision, checkpoint):
    images = [picture(1, 100, 120)]
    np.testing.assert_allclose(built(checkpoint, precision=precision).encode(images), built(checkpoint).encode(images), atol=0.01)


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (5, 300), (91, 2000), (3000, 40)])
@pytest.mark.parametrize("scales", [1, 3, 5])
def test_small_and_long_pictures_get_a_descriptor(size, scales, checkpoint):
    rows = built(checkpoint, scales=scales, max_side_px=256).encode([picture(0, *size)])
    np.testing.assert_allclose(np.linalg.norm(rows), 1.0, atol=1e-5)


@given(height=st.integers(1, 6000), width=st.integers(1, 6000), most=st.one_of(st.none(), st.integers(130, 2000)))
def test_fitted_sides_keep_their_bounds(height, width, most):
    sides = module.fitted(height, width, least=92, most=most)
    assert min(sides) >= 92
    assert max(sides) <= (most if most is not None else max(height, width, 1024))
    if min(height, width) >= 92 and (most is None or max(height, width) <= most):
        assert sides == (height, width)


def test_pictures_of_another_mode_are_read_as_rgb(checkpoint):
    grey = picture(2, 100, 110).convert("L")
    encoder = built(checkpoint)
    np.testing.assert_array_equal(encoder.encode([grey]), encoder.encode([grey.convert("RGB")]))


# Loading


def test_every_layout_of_one_checkpoint_gives_the_same_rows(tmp_path):
    state = module.tiny_state(seed=3)
    bare = {key.removeprefix("encoder_q."): value for key, value in state.items()}
    head = {"conv2ds.0.weight": torch.ones(2), "cv_learner.mlp.0.bias": torch.ones(3)}
    unused = {"encoder_q.seb1.weight": torch.ones(2), "encoder_q.sefc.bias": torch.ones(1)}
    layouts = {
        "model_state.pth": {"model_state": {**state, **head, **unused}, "epoch": 3},
        "top.pth": state,
        "global.pth": {"model_state": {f"globalmodel.{key}": value for key, value in bare.items()}},
        "bare.pth": {**bare, **head},
        "uncounted.pth": {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")},
    }
    for name, content in layouts.items():
        torch.save(content, tmp_path / name)
    save_file({**state, **head}, tmp_path / "tensors.safetensors")
    images = [picture(4, 110, 120)]
    rows = [built(tmp_path / name).encode(images) for name in [*layouts, "tensors.safetensors"]]
    for row in rows[1:]:
        np.testing.assert_allclose(row, rows[0], atol=1e-6)  # how a file aligns its tensors moves the last bit


def broken(state, how):
    key = "encoder_q.s2.b1.f.b.weight"
    if how == "missing":
        del state[key]
    elif how == "misshapen":
        state[key] = state[key][:2]
    elif how == "extra":
        state["encoder_q.s2.b1.f.d.weight"] = state[key]
    elif how == "renamed":
        state = {key.replace("encoder_q", "backbone"): value for key, value in state.items()}
    elif how == "no whitening":
        state = {key: value for key, value in state.items() if ".head." not in key}
    return state


@pytest.mark.parametrize("how", ["missing", "misshapen", "extra", "renamed", "no whitening"])
def test_weights_that_do_not_fit_are_an_error(how, tmp_path):
    file = tmp_path / "cvnet.pth"
    torch.save({"model_state": broken(module.tiny_state(seed=3), how)}, file)
    with pytest.raises(FormatError, match="no CVNet checkpoint"):
        built(file)


class Harmless:
    pass


@pytest.mark.parametrize("content", ["nothing", "text", "object", "list"])
def test_a_file_that_is_no_state_dict_is_an_error(content, tmp_path):
    file = tmp_path / "cvnet.pth"
    if content in ("nothing", "text"):
        file.write_text("" if content == "nothing" else "weights?")
    else:
        torch.save(Harmless() if content == "object" else [1, 2], file)
    with pytest.raises(FormatError):
        built(file)


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        make(f"gem/{tmp_path}/none.pth")


def test_the_architecture_asked_for_has_to_be_the_files(checkpoint):
    with pytest.raises(FormatError, match="expected resnet50"):
        built(checkpoint, arch="resnet50")


@pytest.mark.parametrize("options", [{"max_side_px": 60}, {"regional_window": 4}, {"gem_p": 0.0}, {"relup": -1.0}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError):
        module.Options(checkpoint="x", **options)


def test_its_name_carries_what_moves_the_number(checkpoint):
    encoder = make(f"gem/{checkpoint}(scales=1, relup=0.0, device='cpu')")
    assert encoder.name == f"gem/{checkpoint}(scales=1, relup=0.0)"
    with pytest.raises(InputError):
        make(f"gem/{checkpoint}(scales=2)")
