"""RagLLaVA: the score, the three prompts, batching, the threshold, and candidates that cannot be shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from makers import InMemory, coloured

from mmrerank.errors import FormatError, InputError, ManifestError
from mmrerank.prompting.items import ModalityChoice
from mmrerank.rerankers._pointwise import AT_ONCE
from mmrerank.rerankers._threshold import Threshold, equal_error_threshold
from mmrerank.rerankers.ragllava import Options, build
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query

QUERY = Query(query_id="q", text="Who is on the stamp?")


def candidates(count: int, *, text: str | None = None) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", image=InMemory(coloured(n)), text=text), score=0.5) for n in range(count)]


def by_picture(yes: dict[int, float], no: float = 0.0):  # type: ignore[no-untyped-def]
    """Logits by the colour of the last picture."""
    colours = {coloured(n).getpixel((0, 0)): value for n, value in yes.items()}

    def choose(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        pictures = [part for part in prompt[-1].parts if not isinstance(part, str)]
        return [colours[pictures[-1].getpixel((0, 0))], no]

    return choose


def text_of(prompt: Prompt) -> str:
    return "".join(part for part in prompt[-1].parts if isinstance(part, str))


def test_the_score_is_the_softmax_of_the_two_logits() -> None:
    ranking = build(Options(), FakeBackend(choose=by_picture({0: 2.0}, no=0.5))).rerank(QUERY, candidates(1))
    assert ranking.candidates[0].score == pytest.approx(0.817574, abs=1e-6)  # the worked value of the method's notes
    assert ranking.candidates[0].raw_score == pytest.approx(1.5)
    assert ranking.notes.reasons == {"item-0": "P(Yes) 0.818"}


def test_only_the_difference_of_the_logits_counts_and_swapping_them_gives_the_complement() -> None:
    def p(yes: float, no: float) -> float:
        score = build(Options(), FakeBackend(choose=by_picture({0: yes}, no=no))).rerank(QUERY, candidates(1)).candidates[0].score
        assert score is not None
        return score

    assert p(2.0, 0.5) == pytest.approx(p(-98.0, -99.5), abs=1e-5)
    assert p(2.0, 0.5) + p(0.5, 2.0) == pytest.approx(1.0)


def test_candidates_are_ordered_by_p_and_equals_keep_their_order() -> None:
    double = FakeBackend(choose=by_picture({0: 0.0, 1: 3.0, 2: 0.0, 3: 9.0, 4: -1.0}))
    assert build(Options(), double).rerank(QUERY, candidates(5)).item_ids == ("item-3", "item-1", "item-0", "item-2", "item-4")


def test_one_prompt_a_candidate_all_in_one_call_per_chunk() -> None:
    double = FakeBackend()
    ranking = build(Options(), double).rerank(QUERY, candidates(100))
    assert double.calls == [AT_ONCE, 100 - AT_ONCE]
    assert len(double.prompts) == ranking.notes.cost.calls == 100


def test_picture_caption_question_request_stand_in_this_order() -> None:
    double = FakeBackend()
    build(Options(), double).rerank(QUERY, candidates(1, text="a stamp of 1953"))
    (message,) = double.prompts[0]
    assert [isinstance(part, str) for part in message.parts] == [False, True]
    lines = text_of(double.prompts[0]).split("\n")
    assert lines[:3] == ["", "Image Caption: a stamp of 1953", "Question: Who is on the stamp?"]
    assert lines[3].endswith("Answer 'Yes' or 'No'.")
    assert "caption" in lines[3]


@pytest.mark.parametrize(("modality", "text"), [("image", "a stamp"), ("both", None)])
def test_without_captions_the_request_names_none(modality: ModalityChoice, text: str | None) -> None:
    double = FakeBackend()
    build(Options(modality=modality), double).rerank(QUERY, candidates(1, text=text))
    assert "aption" not in text_of(double.prompts[0])


def test_a_caption_is_matched_as_a_caption() -> None:
    double = FakeBackend()
    build(Options(task="caption"), double).rerank(QUERY, candidates(1, text="not shown"))
    assert text_of(double.prompts[0]).startswith("\nImage Caption: Who is on the stamp?\n")
    assert "not shown" not in text_of(double.prompts[0])


def test_a_page_can_be_judged_by_its_text_alone() -> None:
    double = FakeBackend()
    build(Options(modality="text", caption_words=3), double).rerank(QUERY, candidates(1, text="one two three four"))
    assert all(isinstance(part, str) for part in double.prompts[0][0].parts)
    assert "one two three\n" in text_of(double.prompts[0])


def test_a_page_is_judged_by_more_of_its_text_than_a_caption() -> None:
    text = " ".join(f"word{n}" for n in range(900))
    mixed = [Candidate(item=Item(item_id=f"{number}", page_number=number, text=text)) for number in (None, 3)]
    double = FakeBackend()
    build(Options(), double).rerank(QUERY, mixed)
    assert [texts.count("word") for texts in map(text_of, double.prompts)] == [64, 400]
    build(Options(page_words=5), double).rerank(QUERY, mixed)
    assert [texts.count("word") for texts in map(text_of, double.prompts[2:])] == [64, 5]


def test_what_auto_chose_is_said() -> None:
    mixed = [*candidates(1), *candidates(2, text="words")[1:], Candidate(item=Item(item_id="bare"))]
    messages = build(Options(modality="auto"), FakeBackend()).rerank(QUERY, mixed).notes.messages
    assert messages == ("bare: not asked about: it has neither a picture nor a text", "shown as image: item-0", "shown as text: item-1")
    assert build(Options(), FakeBackend()).rerank(QUERY, mixed[:2]).notes.messages == ()


def test_a_composed_query_shows_the_reference_first_and_names_exclusions() -> None:
    double = FakeBackend()
    query = Query(text="in green", images=(InMemory(coloured(7)),), exclude_text=("window",))
    build(Options(modality="image"), double).rerank(query, candidates(1))
    pictures = [part for part in double.prompts[0][0].parts if not isinstance(part, str)]
    assert [picture.getpixel((0, 0)) for picture in pictures] == [coloured(7).getpixel((0, 0)), coloured(0).getpixel((0, 0))]
    assert "window" in text_of(double.prompts[0])


def test_the_question_in_front_is_shared_by_the_candidates_and_shown_in_the_name() -> None:
    double = FakeBackend()
    asker = build(Options(layout="question_first"), double)
    query = Query(text="in green", exclude_text=("window",))
    asker.rerank(query, candidates(2, text="a stamp"))
    assert double.prompts[0][0].parts[0] == double.prompts[1][0].parts[0] == "Question: in green\nThere must be no window.\n"
    assert [isinstance(part, str) for part in double.prompts[0][0].parts] == [True, False, True]
    assert str(double.prompts[0][0].parts[2]).startswith("\nImage Caption: a stamp\nLook at the picture and its caption.")
    asker.rerank(Query(text="in green", images=(InMemory(coloured(7)),)), candidates(1))
    assert [isinstance(part, str) for part in double.prompts[2][0].parts] == [False, True, False, True]
    assert "layout='question_first'" in asker.name
    assert asker.prompt.digest != build(Options(), double).prompt.digest, "what was fitted with one is refused for the other"


def test_what_is_below_eta_is_named_and_everything_below_is_said() -> None:
    double = FakeBackend(choose=by_picture({0: 2.0, 1: -2.0, 2: -3.0}))
    ranking = build(Options(threshold=0.5), double).rerank(QUERY, candidates(3))
    assert ranking.notes.irrelevant == {"item-1", "item-2"}
    assert ranking.notes.reasons["item-1"] == "P(Yes) 0.119, below eta 0.500"
    nothing = build(Options(threshold=0.9), double).rerank(QUERY, candidates(3))
    assert len(nothing.notes.irrelevant) == 3
    assert nothing.notes.messages == ("nothing relevant: the best P(Yes) is 0.881, below eta 0.900",)


def test_a_candidate_with_nothing_to_show_stays_behind_and_the_rest_goes_on() -> None:
    class Broken:
        def open(self):  # type: ignore[no-untyped-def]
            raise FormatError("truncated", path="b.png")

    mixed = [Candidate(item=Item(item_id="bare")), Candidate(item=Item(item_id="broken", image=Broken())), *candidates(1)]
    mixed += [Candidate(item=Item(item_id="words", text="only words"))]
    ranking = build(Options(), FakeBackend()).rerank(QUERY, mixed)
    assert set(ranking.item_ids[:2]) == {"item-0", "words"}
    assert ranking.item_ids[2:] == ("bare", "broken")
    assert [candidate.score for candidate in ranking.candidates[2:]] == [None, None]
    assert ranking.notes.status == "completed"


def test_eta_falls_between_two_groups_and_is_natural_when_they_do_not_differ() -> None:
    generator = np.random.default_rng(0)
    good, bad = generator.beta(8, 2, 200), generator.beta(2, 8, 300)
    eta = equal_error_threshold(good, bad)
    assert 0.4 < eta < 0.6
    assert (good >= eta).mean() == pytest.approx((bad < eta).mean(), abs=0.01)
    assert equal_error_threshold([0.3, 0.4], [0.3, 0.4]) == 0.5
    assert equal_error_threshold([0.1], [0.9]) == 0.5
    with pytest.raises(InputError, match="got none"):
        equal_error_threshold([], [0.5])
    with pytest.raises(InputError, match="probabilities"):
        equal_error_threshold([1.5], [0.5])


def test_a_fitted_threshold_is_saved_and_applied_and_refused_for_another_model(tmp_path: Path) -> None:
    double = FakeBackend(choose=by_picture({0: 3.0, 1: -1.0, 2: 2.0, 3: -2.0}))
    fitted = build(Options(), double).fit_threshold([(QUERY, candidates(4), ["item-0", "item-2"])])
    assert (fitted.relevant, fitted.irrelevant) == (2, 2)
    path = tmp_path / "eta.toml"
    fitted.save(path)
    applied = build(Options(threshold=str(path)), double)
    assert applied.eta == fitted.eta
    assert applied.rerank(QUERY, candidates(4)).notes.irrelevant == {"item-1", "item-3"}
    other = FakeBackend()
    other.name = "another model"
    with pytest.raises(ManifestError, match="another model"):
        build(Options(threshold=str(path)), other)
    with pytest.raises(FormatError, match="Fit one: ragllava"):
        Threshold.load(tmp_path / "absent.toml", backend="x", prompt_digest="y")
