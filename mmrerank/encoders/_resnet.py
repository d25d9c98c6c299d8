"""The bottleneck ResNet of CVNet, with its activations lifted from zero (ReLUP), built from a state dict.

Keys and shapes were read in sungonce/CVNet `ea8e5ce` and ShihaoShao-GH/SuperGlobal `8694696` (`model/resnet.py` of both,
after pycls), stride on the 3 x 3 convolution, batch norm with eps 1e-5:

    stem.conv, stem.bn                              7 x 7, stride 2, then ReLU and a 3 x 3 max pool of stride 2
    s1.b1.proj, s1.b1.bn                            the projected shortcut of a stage's first block
    s1.b1.f.a, .a_bn, .f.b, .b_bn, .f.c, .c_bn      1 x 1, 3 x 3, 1 x 1
    head.fc, head.pool.p                            whitening (weight and bias), the learned exponent of the trained GeM

A checkpoint holds these under `model_state` or at its top level, with the prefix `encoder_q.` (`globalmodel.` in the
release of the global branch alone). Not read but inferred, no checkpoint being at hand: that the files carry nothing else
under those prefixes but what both sources build.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from mmrerank.errors import FormatError

PREFIXES = ("encoder_q.", "globalmodel.")
RERANKING = ("conv2ds.", "cv_learner.")  # CVNet's re-ranking head, beside the encoder
UNUSED = ("seb1.", "seb2.", "sefc.")  # SuperGlobal builds these into the encoder and never calls them
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def relup(values: torch.Tensor, floor: float = 0.014) -> torch.Tensor:
    """ReLUP: max(x, floor), in place; a floor of 0 is ReLU. Source: SuperGlobal, `modules/coarse_retrieval/relup.py`."""
    return values.clamp_(min=floor)


class Transform(nn.Module):
    """The residual branch of a block."""

    def __init__(self, channels_in: int, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels_in, narrow, 1, bias=False)
        self.a_bn = nn.BatchNorm2d(narrow)
        self.b = nn.Conv2d(narrow, narrow, 3, stride=stride, padding=1, bias=False)
        self.b_bn = nn.BatchNorm2d(narrow)
        self.c = nn.Conv2d(narrow, wide, 1, bias=False)
        self.c_bn = nn.BatchNorm2d(wide)

    def forward(self, x: torch.Tensor, floor: float) -> torch.Tensor:
        x = relup(self.a_bn(self.a(x)), floor)
        x = relup(self.b_bn(self.b(x)), floor)
        result: torch.Tensor = self.c_bn(self.c(x))
        return result


class Block(nn.Module):
    """A residual block; `inner` and `outer` are the floors of its activations."""

    def __init__(self, channels_in: int, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.projects = channels_in != wide or stride != 1
        if self.projects:
            self.proj = nn.Conv2d(channels_in, wide, 1, stride=stride, bias=False)
            self.bn = nn.BatchNorm2d(wide)
        self.f = Transform(channels_in, narrow, wide, stride)

    def forward(self, x: torch.Tensor, inner: float, outer: float) -> torch.Tensor:
        shortcut = self.bn(self.proj(x)) if self.projects else x
        return relup(shortcut + self.f(x, inner), outer)


class Stem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = relup(self.bn(self.conv(x)), 0.0)  # the stem keeps an ordinary ReLU
        result: torch.Tensor = nn.functional.max_pool2d(x, 3, stride=2, padding=1)
        return result


class Head(nn.Module):
    """Whitening, and the exponent of the GeM it was trained with."""

    def __init__(self, channels: int, dimension: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, dimension)
        self.pool = nn.ParameterDict({"p": torch.empty(1)})


class Backbone(nn.Module):
    """Pictures -> stage-4 maps.

    Args:
        stem: channels of the stem.
        stages: (blocks, narrow channels, wide channels) of the four stages.
        dimension: of the whitened descriptor.
    """

    def __init__(self, stem: int, stages: list[tuple[int, int, int]], dimension: int) -> None:
        super().__init__()
        self.stem = Stem(stem)
        channels = stem
        for number, (blocks, narrow, wide) in enumerate(stages, start=1):
            stage = nn.ModuleDict()
            for block in range(blocks):
                stride = 2 if number > 1 and block == 0 else 1
                stage[f"b{block + 1}"] = Block(channels, narrow, wide, stride)
                channels = wide
            self.add_module(f"s{number}", stage)
        self.head = Head(channels, dimension)

    def forward(self, x: torch.Tensor, floor: float) -> torch.Tensor:
        """(n, 3, H, W) -> (n, channels, ceil(H / 32), ceil(W / 32)).

        `floor` is ReLUP's alpha: it bounds every block output of stages 1 to 3, and the inner activations of stage 1.
        """
        x = self.stem(x)
        for number in (1, 2, 3, 4):
            for block in self.get_submodule(f"s{number}").children():
                x = block(x, floor if number == 1 else 0.0, floor if number < 4 else 0.0)
        return x


def encoder_part(checkpoint: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """The tensors of the encoder, their names without prefix; those of the re-ranking head are left aside by name."""
    inside = checkpoint.get("model_state", checkpoint)
    tensors = {key: value for key, value in inside.items() if isinstance(value, torch.Tensor)} if isinstance(inside, Mapping) else {}
    for prefix in PREFIXES:
        part = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if part:
            return {key: value for key, value in part.items() if not key.startswith(UNUSED)}
    return {key: value for key, value in tensors.items() if not key.startswith((*RERANKING, *UNUSED))}


def backbone_of(checkpoint: Mapping[str, object], path: Path) -> tuple[Backbone, tuple[int, ...]]:
    """A backbone with exactly the weights of a checkpoint, in float32, and its blocks per stage.

    Raises:
        FormatError: a tensor is missing, left over or of another shape than its neighbours ask for.
    """
    state = {key: value.float() if value.is_floating_point() else value for key, value in encoder_part(checkpoint).items()}
    depths = tuple(_count(state, number) for number in (1, 2, 3, 4))
    try:
        stages = [(depth, *_widths(state, number)) for number, depth in enumerate(depths, start=1)]
        with torch.device("meta"):  # without values: what the checkpoint does not give cannot be random
            model = Backbone(state["stem.conv.weight"].shape[0], stages, state["head.fc.weight"].shape[0])
    except (KeyError, IndexError) as error:
        raise FormatError(f"no CVNet checkpoint: {error} is missing or misshapen", path=path) from error
    expected = model.state_dict()
    for key in expected:
        if key.endswith("num_batches_tracked"):  # a counter of training, which some files leave out
            state.setdefault(key, torch.zeros((), dtype=torch.int64))
    _same_keys(expected, state, path)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval(), depths


def _count(state: Mapping[str, torch.Tensor], stage: int) -> int:
    return len({key.split(".")[1] for key in state if key.startswith(f"s{stage}.b")})


def _widths(state: Mapping[str, torch.Tensor], stage: int) -> tuple[int, int]:
    return state[f"s{stage}.b1.f.a.weight"].shape[0], state[f"s{stage}.b1.f.c.weight"].shape[0]


def _same_keys(expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], path: Path) -> None:
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    misshapen = sorted(key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape)
    for what, keys in (("lacks", missing), ("has the wrong shape for", misshapen), ("holds the unknown", extra)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise FormatError(f"no CVNet checkpoint: it {what} {', '.join(keys[:3])}{more}", path=path)
