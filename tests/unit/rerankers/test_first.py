"""FIRST: the order of one position's logits, exactly; windows, servers that show a few tokens, and the order written out."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from listed import lines_of, numbered, oracle, text_of, worth
from makers import InMemory, coloured

from mmrerank.errors import BackendError, InputError
from mmrerank.rerankers.first import Options, build, order_of_logits
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, ChoiceScores, Item, Prompt, Query

QUERY = Query(query_id="q", text="the largest number")


def knowing(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    lines = lines_of(prompt)
    return [worth(lines[choice]) / 100 - 9 for choice in choices]


def shuffled(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).sample(range(count), count)


def test_the_order_is_that_of_the_logits_and_equal_ones_keep_theirs() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    rows[:, 7] = rows[:, 3]
    rows[0, :2] = np.float32(1.0), np.nextafter(np.float32(1.0), np.float32(2.0))  # the last bit counts
    for row in rows:
        assert list(order_of_logits(row).positions) == sorted(range(20), key=lambda n: (-row[n], n))
        ranking = build(Options(), FakeBackend(choose=lambda prompt, choices, row=row: row)).rerank(QUERY, numbered(range(20)))
        assert [int(item_id) for item_id in ranking.item_ids] == sorted(range(20), key=lambda n: (-row[n], n))
        assert ranking.notes.status == "ok"
    assert order_of_logits(rows[1] + 5).positions == order_of_logits(rows[1]).positions


def test_the_answer_is_begun_with_a_bracket_and_each_letter_stands_before_its_candidate() -> None:
    double = FakeBackend(choose=knowing)
    build(Options(), double).rerank(QUERY, numbered(range(20)))
    (prompt,) = double.prompts
    assert [message.role for message in prompt] == ["system", "user", "assistant"]
    assert prompt[-1].parts == ("[",)
    assert list(lines_of(prompt)) == list("ABCDEFGHIJKLMNOPQRST")
    text = text_of(prompt)
    assert text.count("the largest number") == 2
    assert text.index("the largest number") < text.index("[A]") < text.index("[T]") < text.rindex("the largest number")
    assert text.count("20") == 2
    assert "[B] > [A]" in text


@pytest.mark.parametrize(
    ("count", "window", "step", "spans"),
    [
        (100, 20, 10, [(start, start + 20) for start in range(80, -1, -10)]),
        (20, 20, 10, [(0, 20)]),
        (25, 20, 10, [(5, 25), (0, 20)]),
        (7, 20, 10, [(0, 7)]),
    ],
)
def test_one_forward_pass_a_window(count: int, window: int, step: int, spans: list[tuple[int, int]]) -> None:
    """Those of the note; of (25, 20, 10) the last one is whole here, where the released loop takes 15."""
    double = FakeBackend(choose=lambda prompt, choices: [-float(n) for n in range(len(choices))])
    ranking = build(Options(window=window, step=step), double).rerank(QUERY, numbered(range(count)))
    assert ranking.item_ids == tuple(f"{n}" for n in range(count))
    assert [[worth(line) for line in lines_of(prompt).values()] for prompt in double.prompts] == [list(range(*span)) for span in spans]
    assert ranking.notes.cost.calls == len(spans)
    assert ranking.notes.cost.generated_tokens == 0


def test_an_oracle_brings_the_ten_best_to_the_top_in_one_pass() -> None:
    for seed in range(5):
        numbers = shuffled(100, seed)
        ranking = build(Options(), FakeBackend(choose=knowing)).rerank(QUERY, numbered(numbers))
        assert [numbers[int(item_id)] for item_id in ranking.item_ids[:10]] == list(range(99, 89, -1))
        assert {candidate.score for candidate in ranking.candidates} == {None}


def test_reasons_tell_the_log_probability_and_the_windows_in_which_an_item_rose() -> None:
    ranking = build(Options(window=4, step=2), FakeBackend(choose=knowing)).rerank(QUERY, numbered([5, 4, 3, 2, 1, 9]))
    assert ranking.item_ids[0] == "5"
    assert ranking.notes.reasons["5"] == "[C] comes first with log-probability -8.910"
    steps = ("candidates 3-6: rose from 6 to 3", "candidates 1-4: rose from 3 to 1")
    assert ranking.notes.explanations["5"].steps == steps
    assert ranking.notes.reasons["0"] == "[A] comes first with log-probability -8.950"


def test_letters_that_a_server_does_not_show_keep_their_order_behind_the_others() -> None:
    def likeliest(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        return [{"C": -0.1, "F": -0.2}.get(choice, -np.inf) for choice in choices]

    ranking = build(Options(), FakeBackend(choose=likeliest)).rerank(QUERY, numbered(range(7)))
    assert ranking.item_ids == ("2", "5", "0", "1", "3", "4", "6")
    assert ranking.notes.status == "completed"
    assert ranking.notes.messages[0] == "candidates 1-7: 5 of 7 identifiers are not among the likeliest tokens and keep their order"
    assert set(ranking.notes.reasons) == {"2", "5"}


class Generating(FakeBackend):
    """A server that tells no log-probabilities."""

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        self.prompts += prompts
        raise BackendError("the reply has none", retryable=self.slow)

    slow = False


def test_without_log_probabilities_the_order_is_generated_and_said_so() -> None:
    numbers = shuffled(30)
    backend = Generating(answer=oracle("{}"))
    ranking = build(Options(), backend).rerank(QUERY, numbered(numbers))
    assert [numbers[int(item_id)] for item_id in ranking.item_ids[:10]] == list(range(29, 19, -1))
    assert ranking.notes.messages[0] == "no logits of the identifiers, so orders were generated: the reply has none"
    assert [prompt[-1].role for prompt in backend.prompts] == ["assistant", "user", "user"], "it is asked once, not once a window"
    chosen = build(Options(read="generation"), FakeBackend(answer=oracle("{}"))).rerank(QUERY, numbered(numbers))
    assert chosen.item_ids == ranking.item_ids
    assert chosen.notes.messages == ("shown as text: 0, 1, 2, 3, 4 and 25 more",)


def test_a_server_that_is_slow_is_not_taken_for_one_without_log_probabilities() -> None:
    backend = Generating(answer=oracle("{}"))
    backend.slow = True
    ranking = build(Options(), backend).rerank(QUERY, numbered(range(5)))
    assert (ranking.item_ids, ranking.notes.status) == (("0", "1", "2", "3", "4"), "fallback")
    assert ranking.notes.messages[0] == "candidates 1-5: no answer: the reply has none"


@pytest.mark.parametrize("answer", ["", "I cannot say.", "[3] > [1] > [2]", "[0.9, 0.5]"])
def test_rubbish_leaves_the_order_and_says_so(answer: str) -> None:
    ranking = build(Options(read="generation"), FakeBackend(answer=lambda prompt: answer)).rerank(QUERY, numbered(range(3)))
    assert (ranking.item_ids, ranking.notes.status) == (("0", "1", "2"), "fallback")


@pytest.mark.parametrize(
    ("answer", "order", "status"),
    [
        ("[C] > [A] > [B]", "CAB", "ok"),
        ("C > A > B", "CAB", "ok"),
        ("[c]>[a]>[b]", "CAB", "ok"),
        ("[C] > [C] > [A]", "CAB", "repaired"),
        ("[C] > [Z] > [A]", "CAB", "repaired"),
        ("[C]", "CAB", "completed"),
        ("[C] > [_] > [A]", "ABC", "fallback"),
    ],
)
def test_the_written_order_is_read_by_letters(answer: str, order: str, status: str) -> None:
    ranking = build(Options(read="generation"), FakeBackend(answer=lambda prompt: answer)).rerank(QUERY, numbered(range(3)))
    assert ("".join("ABC"[int(item_id)] for item_id in ranking.item_ids), ranking.notes.status) == (order, status)


def test_an_identifier_of_several_tokens_is_refused() -> None:
    class Halves(FakeBackend):
        def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
            rows = np.zeros((len(prompts), len(choices)), dtype=np.float32)
            return ChoiceScores(logprobs=rows, lengths=tuple(len(choice) for choice in choices))

    with pytest.raises(InputError, match="'10' is several"):
        build(Options(identifiers="numbers"), Halves()).rerank(QUERY, numbered(range(20)))
    assert build(Options(identifiers="numbers", window=9, step=4), Halves()).rerank(QUERY, numbered(range(20))).notes.status == "ok"


def test_windows_without_letters_or_with_gaps_are_refused() -> None:
    with pytest.raises(InputError, match="26 letters"):
        Options(window=27)
    with pytest.raises(InputError, match="step"):
        Options(window=4, step=5)
    with pytest.raises(InputError, match="at least 2"):
        Options(window=1, step=1)
    assert Options(window=27, identifiers="numbers").window == 27


def test_what_looks_like_a_mark_in_a_text_is_none() -> None:
    double = FakeBackend(choose=lambda prompt, choices: [0.0] * len(choices))
    texts = ["as in [B] and [12], [sic]", "ignore this: [A]"]
    build(Options(), double).rerank(QUERY, [Candidate(item=Item(item_id=text, text=text)) for text in texts])
    assert lines_of(double.prompts[0])["A"] == "as in (B) and (12), [sic]"
    assert lines_of(double.prompts[0])["B"] == "ignore this: (A)"


def test_pictures_exclusions_and_reference_pictures_reach_the_model() -> None:
    query = Query(text="in green", images=(InMemory(coloured(3)),), exclude_text=("a boat",), exclude_images=(InMemory(coloured(5)),))
    double = FakeBackend(choose=lambda prompt, choices: [0.0] * len(choices))
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n + 10)))) for n in range(2)]
    build(Options(), double).rerank(query, candidates)
    user = double.prompts[0][1]
    pictures = [part.getpixel((0, 0)) for part in user.parts if not isinstance(part, str)]
    assert pictures == [coloured(n).getpixel((0, 0)) for n in (3, 5, 10, 11)]
    assert text_of(double.prompts[0]).count("a boat") == text_of(double.prompts[0]).count("in green") == 2
    assert user.parts[-3].endswith("[B] ")  # type: ignore[union-attr]


class Counting(FakeBackend):
    """A backend whose tokens are words and pictures."""

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(text_of(prompt).split()) + sum(not isinstance(p, str) for m in prompt for p in m.parts) for prompt in prompts]

    def cut(self, text: str, tokens: int) -> str:
        return " ".join(text.split()[:tokens])


def test_texts_are_cut_until_the_prompt_is_short_enough_and_the_query_never() -> None:
    double = Counting(choose=lambda prompt, choices: [0.0] * len(choices))
    candidates = [Candidate(item=Item(item_id=f"{n}", text="word " * (n + 1) * 20)) for n in range(5)]
    ranking = build(Options(prompt_tokens=200), double).rerank(QUERY, candidates)
    assert double.count_tokens(double.prompts)[0] <= 200
    words = [len(line.split()) for line in lines_of(double.prompts[0]).values()]
    assert words[0] == 20 < words[1] == words[4] < 40
    assert text_of(double.prompts[0]).count("the largest number") == 2
    assert ranking.notes.messages[0] == f"1 prompts had more than 200 tokens: texts were cut to {words[1]} words or more"
    whole = Counting(choose=lambda prompt, choices: [0.0] * len(choices))
    build(Options(prompt_tokens=10), whole).rerank(QUERY, candidates)
    assert lines_of(whole.prompts[0])["E"].split() == ["word"] * 100, "where the rest alone is too long, cutting would be of no use"
