"""What every encoder keeps: unit rows that depend on the value alone, and clear refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.testing import samples
from mmrerank.testing.contracts._part import PartContract, content_of, refused, untouched

TOLERANCE = 2e-6  # float32 rounding: matrix products of different sizes and alignments add in different orders
TEXTS = ("a cat", "the red house by the sea", "", "Größe 42, naïve café", "x " * 200)


class EncoderContract(PartContract):
    """Pictures and texts -> descriptors. What an encoder can further is checked where it has it: `weights_hash`, `batch_size`,
    `encode_tokens`."""

    station = "encoders"

    def values(self, modality: str) -> list[Any]:
        """Five unlike values of a modality: "image" or "text"."""
        return list(TEXTS) if modality == "text" else [samples.noisy(n, 97 + 13 * n, 150 - 7 * n) for n in range(5)]

    def build(self, options: Any, **resources: Any) -> Any:
        """On the CPU, wherever the options have a device."""
        on_cpu = {"device": "cpu"} if any(field.name == "device" for field in dataclasses.fields(options)) else {}
        return super().build(dataclasses.replace(options, **on_cpu), **resources)

    def _series(self, encoder: Any) -> list[list[Any]]:
        return [self.values(modality) for modality in sorted(encoder.takes)]

    # ------------------------------------------------------------------

    def test_its_name_makes_the_same_encoder_again(self) -> None:
        encoder, again = self.tiny(), self.build(self.options())
        assert again.name == encoder.name, f"{encoder.name!r} makes an encoder called {again.name!r}"
        for values in self._series(encoder):
            _alike(again.encode(values), encoder.encode(values), "the encoder that its name makes gives other rows")

    def test_it_reads_one_of_the_modalities_it_takes(self) -> None:
        encoder = self.tiny()
        assert encoder.takes <= {"image", "text"}, f"it takes {sorted(encoder.takes)}"
        assert encoder.reads in encoder.takes, f"it reads {encoder.reads!r} of an item, and takes {sorted(encoder.takes)}"

    def test_rows_are_float32_of_unit_length(self) -> None:
        encoder = self.tiny()
        for values in self._series(encoder):
            rows = encoder.encode(values)
            assert rows.shape == (5, encoder.dimension), f"5 values have rows of shape (5, {encoder.dimension}); got {rows.shape}"
            assert rows.dtype == np.float32, f"rows are float32; got {rows.dtype}"
            assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5), "a row is not of unit length"

    def test_different_values_have_different_rows(self) -> None:
        encoder = self.tiny()
        for values in self._series(encoder):
            assert len({row.tobytes() for row in encoder.encode(values)}) == len(values), "unlike values have the same row"

    def test_nothing_gives_no_rows(self) -> None:
        encoder = self.tiny()
        rows = encoder.encode([])
        assert rows.shape == (0, encoder.dimension), f"nothing has rows of shape (0, {encoder.dimension}); got {rows.shape}"
        assert rows.dtype == np.float32, f"rows are float32; got {rows.dtype}"

    def test_a_row_depends_on_neither_neighbours_nor_order_nor_batch_size(self) -> None:
        encoder, options = self.tiny(), self.options()
        for values in self._series(encoder):
            rows = encoder.encode(values)
            _alike(np.concatenate([encoder.encode([value]) for value in values]), rows, "a row depends on its neighbours")
            order = np.random.default_rng(0).permutation(len(values))
            _alike(encoder.encode([values[n] for n in order]), rows[order], "a row depends on the order of the values")
            if hasattr(options, "batch_size"):
                small = self.build(dataclasses.replace(options, batch_size=2))
                _alike(small.encode(values), rows, "a row depends on the size of the batch")

    def test_the_same_call_gives_the_same_rows(self) -> None:
        encoder = self.tiny()
        for values in self._series(encoder):
            _alike(encoder.encode(values), encoder.encode(values), "the same values have other rows the second time")

    def test_prepared_values_encode_alike(self) -> None:
        encoder = self.tiny()
        for values in self._series(encoder):
            rows, prepared = encoder.encode(values), [encoder.prepare(value) for value in values]
            _alike(encoder.encode(prepared), rows, "what prepare made has other rows")
            _alike(encoder.encode([*prepared[:2], *values[2:]]), rows, "prepared values beside others have other rows")

    def test_inputs_are_left_as_they_were(self) -> None:
        encoder = self.tiny()
        for values in self._series(encoder):
            prepared = [encoder.prepare(value) for value in values]
            with untouched(values, prepared):
                encoder.encode(values)
                encoder.encode(prepared)
                _ = [encoder.prepare(value) for value in values]

    def test_modalities_are_not_mixed(self) -> None:
        with refused(InputError, what="a picture and a text in one call"):
            self.tiny().encode([self.values("image")[0], self.values("text")[0]])

    def test_a_modality_it_does_not_take_is_refused(self) -> None:
        encoder = self.tiny()
        for modality in {"image", "text"} - encoder.takes:
            value = self.values(modality)[0]
            with refused(InputError, what=f"encode of a value of modality {modality!r}, which it does not take"):
                encoder.encode([value])
            with refused(InputError, what=f"prepare of a value of modality {modality!r}, which it does not take"):
                encoder.prepare(value)

    def test_what_is_neither_picture_nor_text_is_refused(self) -> None:
        encoder = self.tiny()
        for value in (3, None, b"bytes", np.zeros((4, 4, 3), dtype=np.uint8), np.zeros(7, dtype=np.float32)):
            with refused(InputError, what=f"encode of {type(value).__name__}"):
                encoder.encode([value])
            with refused(InputError, what=f"prepare of {type(value).__name__}"):
                encoder.prepare(value)

    def test_rows_as_the_model_leaves_them_differ_from_unit_rows_in_length_only(self) -> None:
        encoder = self.tiny()
        for values in self._series(encoder):
            free = encoder.encode(values, normalise=False)
            unit = free / np.linalg.norm(free, axis=1, keepdims=True)
            _alike(unit, encoder.encode(values), "normalise=False gives rows of another direction", atol=1e-5)

    def test_its_weights_have_a_hash(self) -> None:
        digest = getattr(self.tiny(), "weights_hash", "0" * 16)
        assert len(digest) == 16, f"a hash of weights has 16 hexadecimal digits; got {digest!r}"
        assert set(digest) <= set("0123456789abcdef"), f"a hash of weights has 16 hexadecimal digits; got {digest!r}"

    def test_many_vectors_of_a_value_are_unit_rows_and_their_mean_is_its_row(self) -> None:
        encoder = self.tiny()
        if not hasattr(encoder, "encode_tokens"):
            return
        for values in self._series(encoder):
            tokens = encoder.encode_tokens(values)
            assert len(tokens) == len(values), f"{len(values)} values have as many groups of vectors; got {len(tokens)}"
            for rows in tokens:
                expected = f"the vectors of a value are (n, {encoder.dimension}), n from 1; got {rows.shape}"
                assert rows.ndim == 2, expected
                assert len(rows) >= 1, expected
                assert rows.shape[1] == encoder.dimension, expected
            assert np.allclose(np.linalg.norm(np.concatenate(tokens), axis=1), 1.0, atol=1e-5), "a vector is not of unit length"
            _alike(encoder.pooled(tokens), encoder.encode(values), "the mean of a value's vectors is not its row")
        assert content_of(encoder.encode_tokens([])) == content_of([]), "nothing has no vectors"


def _alike(rows: npt.NDArray[Any] | Sequence[Any], expected: npt.NDArray[Any], message: str, *, atol: float = TOLERANCE) -> None:
    apart = float(np.abs(np.asarray(rows) - expected).max()) if np.shape(rows) == expected.shape else np.inf
    assert apart <= atol + 1e-7, f"{message}: {apart:.2g} apart, {atol:g} is rounding"
