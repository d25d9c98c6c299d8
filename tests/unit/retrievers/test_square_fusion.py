"""SQUARE's retrieving half, against hand-worked rows: how the caption comes in, what is no caption, how often is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.parts import make
from mmrerank.protocols import RowRetriever
from mmrerank.rerankers.square import Options as SquareOptions
from mmrerank.rerankers.square import build as build_square
from mmrerank.retrievers.square_fusion import SquareFusion, caption_of
from mmrerank.testing.fakes import FakeBackend, HashEncoder, fake_corpus
from mmrerank.types import Array, Cost, Decoding, Generated, Prompt, Query


class Blank:
    """A picture of one shade."""

    def __init__(self, shade: int, size: tuple[int, int] = (3, 2)) -> None:
        self.shade, self.size = shade, size

    def open(self) -> Image.Image:
        return Image.new("RGB", self.size, (self.shade,) * 3)


class Plane(HashEncoder):
    """The worked example of the method's notes: picture (1, 0), text (0, 1), caption (0.6, 0.8); lengths on request."""

    dimension = 2

    def __init__(self, picture_length: float = 1.0) -> None:
        self.picture_length = picture_length

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        known = {"in green": (0.0, 1.0), "a green door": (0.6, 0.8), "window": (0.0, -1.0), "opposite": (-0.6, -0.8)}
        rows = [known[value] if isinstance(value, str) else (1.0, 0.0) for value in values]
        lengths = [1.0 if normalise or isinstance(value, str) else self.picture_length for value in values]
        return np.array([np.array(row) * length for row, length in zip(rows, lengths, strict=True)], dtype=np.float32)


QUERY = Query(query_id="q", text="in green", images=(Blank(9),))
CAPTION = "a green door"


def fusion(options: str = "", answer: str = CAPTION, encoder: HashEncoder | None = None) -> tuple[SquareFusion, FakeBackend]:
    corpus, double = fake_corpus(), FakeBackend(answer=lambda prompt: answer)
    if encoder is not None:
        corpus._space.encoder = encoder  # type: ignore[attr-defined]
    retriever: SquareFusion = make(f"square_fusion({options})", corpus=corpus, backend=double)
    return retriever, double


def row(options: str = "", answer: str = CAPTION, encoder: HashEncoder | None = None, query: Query = QUERY) -> list[float]:
    return fusion(options, answer, encoder or Plane())[0].query_row(query).tolist()


def composed(query: Query, options: str = "") -> Array:
    row: Array = make(f"composed({options})", corpus=fake_corpus()).query_row(query)
    return row


def test_the_worked_example() -> None:
    """The notes give (0.429774, 0.902937), which has a slip in the sixth digit: the row has length 1 only with these."""
    assert row("alpha=0.8, beta=0.0") == pytest.approx([0.242536, 0.970143], abs=1e-6)
    assert row("alpha=0.8, beta=0.5") == pytest.approx([0.429772, 0.902938], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("alpha=0.0, beta=0.0", [1.0, 0.0]),
        ("alpha=1.0, beta=0.0", [0.0, 1.0]),
        ("alpha=0.3, beta=1.0", [0.6, 0.8]),
        ("alpha=0.0, beta=0.5", [0.8 / 0.8**0.5, 0.4 / 0.8**0.5]),
    ],
)
def test_alpha_weights_the_text_and_beta_the_caption(options: str, expected: list[float]) -> None:
    assert row(options) == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(row(options)) == pytest.approx(1, abs=1e-6)


def test_lengths_count_before_the_sum_only_where_they_are_left() -> None:
    normalised, as_they_come = (row(f"alpha=0.8, beta=0.5, normalise_inputs={switch}", encoder=Plane(10.0)) for switch in (True, False))
    plain = np.array([2.0, 0.8]) / np.hypot(2.0, 0.8)
    fused = plain / 2 + np.array([0.6, 0.8]) / 2
    assert normalised == pytest.approx([0.429772, 0.902938], abs=1e-6)
    assert as_they_come == pytest.approx((fused / np.linalg.norm(fused)).tolist(), abs=1e-6)


def test_exclusions_are_subtracted_and_not_told_to_the_captioner() -> None:
    query = Query(text="in green", images=(Blank(9),), exclude_text=("window",))
    expected = np.array([0.429772, 0.902938]) - 0.25 * np.array([0.0, -1.0])
    assert row("alpha=0.8, exclude_weight=0.25", query=query) == pytest.approx((expected / np.linalg.norm(expected)).tolist(), abs=1e-6)
    retriever, double = fusion(encoder=Plane())
    retriever.query_row(query)
    assert "window" not in str([part for part in double.prompts[0][0].parts if isinstance(part, str)])


def test_several_captions_are_averaged_and_drawn_with_several_seeds() -> None:
    seeds: list[int] = []

    class Several(FakeBackend):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
            assert decoding is not None
            seeds.append(decoding.seed)
            return [Generated(text=["red door", "", "blue bird"][decoding.seed - 4], cost=Cost(calls=1))]

    retriever = make("square_fusion(captions=3, temperature=0.9, seed=4, beta=1.0)", corpus=fake_corpus(), backend=Several())
    mean = HashEncoder().encode(["red door", "blue bird"]).mean(axis=0)
    assert np.allclose(retriever.query_row(QUERY), mean / np.linalg.norm(mean), atol=1e-6)
    assert seeds == [4, 5, 6]
    notes = retriever.retrieve(QUERY, 2).notes
    assert (notes.status, notes.cost.calls) == ("completed", 3)
    assert notes.messages == ("caption: red door", "caption: blue bird", "no caption: the answer is empty")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "the answer is empty"),
        (" \n ``` \n", "the answer is empty"),
        ("door " * 51, "longer than 50 words"),
        ("I'm sorry, but I can't describe people.", "the model refused"),
        ("I cannot help with this.", "the model refused"),
        ("As an AI model, I do not see.", "the model refused"),
    ],
)
def test_what_is_no_caption_leaves_the_row_of_composed_and_says_so(answer: str, why: str) -> None:
    retriever, double = fusion(answer=answer)
    ranking = retriever.retrieve(QUERY, 3)
    assert (retriever.query_row(QUERY) == composed(QUERY)).all()
    assert ranking.notes.status == "fallback"
    assert why in ranking.notes.messages[0]
    assert all(reason.endswith(" (no caption)") for reason in ranking.notes.reasons.values())
    assert len(double.prompts) == ranking.notes.cost.calls == 1


def test_a_time_out_is_a_missing_caption_and_an_unknown_model_an_error() -> None:
    def failing(retryable: bool) -> SquareFusion:
        def answer(prompt: Prompt) -> str:
            raise BackendError("no answer came", retryable=retryable)

        retriever: SquareFusion = make("square_fusion", corpus=fake_corpus(), backend=FakeBackend(answer=answer))
        return retriever

    ranking = failing(True).retrieve(QUERY, 3)
    assert (ranking.notes.status, ranking.notes.messages) == ("fallback", ("no caption: no answer came",))
    with pytest.raises(BackendError, match="no answer came"):
        failing(False).retrieve(QUERY, 3)


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("A green door.", "A green door."),
        ('  "A green door."\n\nIt keeps the frame.', "A green door."),
        ("Here is the description:\n\nA green door.", "A green door."),
        ("**Target image description:** A green door.", "A green door."),
        ("Caption: A green door: the same as before", "A green door: the same as before"),
        ("<think>The door was red.</think>\nA green door.", "A green door."),
        ("```\nA green door.\n```", "A green door."),
        ("Sorrel horses in a meadow", "Sorrel horses in a meadow"),
        ("Image of a green door", "Image of a green door"),
        ("Eine grüne Tür", "Eine grüne Tür"),
    ],
)
def test_a_caption_is_the_first_line_of_text(text: str, caption: str) -> None:
    assert caption_of(Generated(text=text), max_words=50) == (caption, "")


def test_an_answer_cut_short_or_filtered_is_no_caption() -> None:
    assert caption_of(Generated(text="A green", finished="length"), max_words=50)[0] == ""
    assert caption_of(Generated(text="A green door", finished="refused"), max_words=50)[0] == ""


@pytest.mark.parametrize("query", [Query(text="red door"), Query(images=(Blank(9),)), Query(text="red door", exclude_images=(Blank(9),))])
def test_a_query_of_one_modality_is_searched_as_by_composed_without_a_call(query: Query) -> None:
    retriever, double = fusion()
    ranking = retriever.retrieve(query, 5)
    plain = make("composed", corpus=fake_corpus()).retrieve(query, 5)
    assert (ranking.candidates, ranking.notes.reasons) == (plain.candidates, plain.notes.reasons)
    assert double.prompts == []


def test_beta_0_asks_nobody() -> None:
    retriever, double = fusion("beta=0.0, alpha=0.3")
    assert (retriever.query_row(QUERY) == composed(QUERY, "alpha=0.3")).all()
    assert double.prompts == []


def test_one_caption_and_one_ranking_a_query_and_none_when_asked_for_the_row_again() -> None:
    retriever, double = fusion()
    square = build_square(SquareOptions(), double)
    first = retriever.retrieve(QUERY, 20)
    retriever.query_row(QUERY)
    assert isinstance(retriever, RowRetriever)
    assert retriever.retrieve(QUERY, 20) == first
    assert len(double.prompts) == 1
    candidates = [replace(candidate, item=replace(candidate.item, image=Blank(n))) for n, candidate in enumerate(first.candidates)]
    square.rerank(QUERY, candidates)
    assert len(double.prompts) == 2


def test_the_caption_is_a_message_and_each_reason() -> None:
    retriever, _ = fusion(answer="a green door " + "and a lamp " * 12)
    ranking = retriever.retrieve(QUERY, 2)
    best = ranking.candidates[0]
    assert ranking.notes.status == "ok"
    assert ranking.notes.messages == (f"caption: a green door {'and a lamp ' * 12}".strip(),)
    reason = ranking.notes.reasons[best.item.item_id]
    assert reason.startswith(f"cosine {best.score:.3f} to the wished-for picture: a green door and a lamp")
    assert reason.endswith("…")
    assert ranking.notes.cost.generated_tokens == 39


def test_the_captioner_sees_task_reference_change_and_the_caller_keeps_his_picture() -> None:
    retriever, double = fusion("reference_px=100")
    large = Image.new("RGB", (300, 150))

    class Handle:
        def open(self) -> Image.Image:
            return large

    retriever.query_row(Query(text="in {green}", images=(Handle(), Blank(3))))
    (message,) = double.prompts[0]
    assert [isinstance(part, str) for part in message.parts] == [True, False, True, False, True]
    assert [part.size for part in message.parts if not isinstance(part, str)] == [(100, 50), (3, 2)]
    head, _, second, _, change = message.parts
    assert isinstance(head, str)
    assert head.endswith("Reference picture 1:\n")
    assert second == "Reference picture 2:\n"
    assert change == "Change: in {green}\nDescription:"
    assert large.size == (300, 150)


def test_a_caption_that_cancels_the_query_is_refused() -> None:
    query = Query(text="opposite", images=(Blank(1),))
    with pytest.raises(InputError, match="cancel"):
        row("alpha=1.0, beta=0.5", query=query)


@pytest.mark.parametrize(
    "options", ["alpha=1.1", "beta=-0.1", "captions=0", "max_words=0", "reference_px=0", "captions=2", "prompt='nobodys'", "beta='much'"]
)
def test_options_out_of_range_are_refused(options: str) -> None:
    with pytest.raises(InputError):
        fusion(options)


def test_a_broken_reference_is_the_callers_to_mend() -> None:
    class Broken:
        def open(self) -> Image.Image:
            raise FormatError("truncated", path="b.png")

    with pytest.raises(FormatError, match="truncated"):
        fusion()[0].retrieve(Query(text="in green", images=(Broken(),)), 3)
