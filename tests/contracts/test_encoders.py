"""What every encoder promises, asked of each file in mmrerank/encoders."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from mmrerank import parts
from mmrerank.errors import InputError

TOLERANCE = 2e-6  # float32 rounding: matrix products of different sizes and alignments add in different orders


def picture(seed, height, width):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


VALUES = {
    "image": [picture(seed, 97 + 13 * seed, 150 - 7 * seed) for seed in range(5)],
    "text": ["a cat", "the red house by the sea", "", "Größe 42, naïve café", "x " * 200],
}


@pytest.fixture(params=parts.names("encoders"))
def encoder(request):
    if request.param == "sentence":
        pytest.importorskip("sentence_transformers", reason="the extra `sentence` is not installed")
    return parts.module(request.param, station="encoders").tiny()


@pytest.fixture
def samples(encoder):
    return [VALUES[modality] for modality in sorted(encoder.takes)]


def test_its_file_has_options_build_and_tiny():
    for name in parts.names("encoders"):
        module = parts.module(name, station="encoders")
        assert dataclasses.is_dataclass(module.Options)
        assert callable(module.build)
        assert callable(module.tiny)


def test_its_name_parses_back_to_the_same_encoder(encoder, samples):
    module = parts.module(encoder.name, station="encoders")
    options = parts.options_of(encoder.name, module.Options)
    again = module.build(dataclasses.replace(options, device="cpu"))
    assert again.name == encoder.name
    for values in samples:
        np.testing.assert_allclose(again.encode(values), encoder.encode(values), atol=TOLERANCE)


def test_it_reads_one_of_the_modalities_it_takes(encoder):
    assert encoder.reads in encoder.takes
    assert encoder.takes <= {"image", "text"}


def test_rows_are_float32_of_unit_length(encoder, samples):
    for values in samples:
        rows = encoder.encode(values)
        assert rows.shape == (len(values), encoder.dimension)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_different_values_have_different_rows(encoder, samples):
    for values in samples:
        rows = encoder.encode(values)
        assert len({row.tobytes() for row in rows}) == len(values)


def test_nothing_gives_no_rows(encoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)
    assert encoder.encode([]).dtype == np.float32


def test_a_row_depends_on_neither_neighbours_nor_order_nor_batch_size(encoder, samples):
    module = parts.module(encoder.name, station="encoders")
    options = parts.options_of(encoder.name, module.Options)
    for values in samples:
        rows = encoder.encode(values)
        alone = np.concatenate([encoder.encode([value]) for value in values])
        np.testing.assert_allclose(alone, rows, atol=TOLERANCE)
        order = np.random.default_rng(0).permutation(len(values))
        np.testing.assert_allclose(encoder.encode([values[i] for i in order]), rows[order], atol=TOLERANCE)
        if hasattr(options, "batch_size"):
            small = module.build(dataclasses.replace(options, device="cpu", batch_size=2))
            np.testing.assert_allclose(small.encode(values), rows, atol=TOLERANCE)


def test_the_same_call_gives_the_same_rows(encoder, samples):
    for values in samples:
        np.testing.assert_allclose(encoder.encode(values), encoder.encode(values), atol=TOLERANCE)


def test_prepared_values_encode_alike(encoder, samples):
    for values in samples:
        prepared = [encoder.prepare(value) for value in values]
        np.testing.assert_allclose(encoder.encode(prepared), encoder.encode(values), atol=TOLERANCE)
        half = [*prepared[:2], *values[2:]]
        np.testing.assert_allclose(encoder.encode(half), encoder.encode(values), atol=TOLERANCE)


def test_inputs_are_left_as_they_were(encoder, samples):
    for values in samples:
        prepared = [encoder.prepare(value) for value in values]
        before = [value.tobytes() if hasattr(value, "tobytes") else value for value in [*values, *prepared]]
        encoder.encode(values)
        encoder.encode(prepared)
        assert [value.tobytes() if hasattr(value, "tobytes") else value for value in [*values, *prepared]] == before


def test_modalities_are_not_mixed(encoder):
    with pytest.raises(InputError):
        encoder.encode([VALUES["image"][0], VALUES["text"][0]])


def test_a_modality_it_does_not_take_is_refused(encoder):
    for modality in {"image", "text"} - encoder.takes:
        with pytest.raises(InputError):
            encoder.encode(VALUES[modality][:1])
        with pytest.raises(InputError):
            encoder.prepare(VALUES[modality][0])


@pytest.mark.parametrize("value", [3, None, b"bytes", np.zeros((4, 4, 3), dtype=np.uint8), np.zeros(7, dtype=np.float32)])
def test_what_is_neither_picture_nor_text_is_refused(encoder, value):
    with pytest.raises(InputError):
        encoder.encode([value])
    with pytest.raises(InputError):
        encoder.prepare(value)


def test_its_weights_have_a_hash(encoder):
    assert len(encoder.weights_hash) == 16
    assert int(encoder.weights_hash, 16) >= 0


def test_rows_as_the_model_leaves_them_differ_from_unit_rows_in_length_only(encoder, samples):
    for values in samples:
        free = encoder.encode(values, normalise=False)
        np.testing.assert_allclose(free / np.linalg.norm(free, axis=1, keepdims=True), encoder.encode(values), atol=1e-5)


def test_many_vectors_of_a_value_are_unit_rows_and_their_mean_is_its_row(encoder, samples):
    if not hasattr(encoder, "encode_tokens"):
        return
    for values in samples:
        tokens = encoder.encode_tokens(values)
        assert all(rows.ndim == 2 and len(rows) >= 1 and rows.shape[1] == encoder.dimension for rows in tokens)
        np.testing.assert_allclose(np.linalg.norm(np.concatenate(tokens), axis=1), 1.0, atol=1e-5)
        np.testing.assert_allclose(encoder.pooled(tokens), encoder.encode(values), atol=TOLERANCE)
    assert encoder.encode_tokens([]) == []
