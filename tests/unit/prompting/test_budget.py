"""The budget of tokens: what surrounds query and document is never cut, the query to its share, then the document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import coloured

from mmrerank.errors import InputError
from mmrerank.prompting.budget import WordMeasure, fit, measure_of
from mmrerank.testing import FakeBackend
from mmrerank.types import Message, Prompt

BEFORE, BEHIND = "before it all ", " behind it"


def write(query: str, document: str) -> Prompt:
    return (Message(role="raw", parts=(BEFORE, query, " / ", document, BEHIND)),)


class ByLetters:
    """A letter is a token."""

    def __init__(self) -> None:
        self.counts = 0

    def count_tokens(self, prompts: list[Prompt]) -> list[int]:
        self.counts += len(prompts)
        return [sum(len(part) for message in prompt for part in message.parts if isinstance(part, str)) for prompt in prompts]

    def cut(self, text: str, tokens: int) -> str:
        return text[:tokens]


class Bare:
    """A backend that does not measure."""

    name = "bare"

    def generate(self, prompts: object, decoding: object = None) -> list[object]:
        return []

    def choice_logprobs(self, prompts: object, choices: object) -> object:
        return None


class Measuring(FakeBackend, ByLetters):
    """A backend that measures."""

    def __init__(self) -> None:
        FakeBackend.__init__(self)
        self.counts = 0


FIXED = len(BEFORE) + len(BEHIND) + 3


@given(
    st.text("ab ", max_size=200), st.text("cd ", max_size=300), st.integers(FIXED + 1, FIXED + 120), st.sampled_from([0.25, 0.5, 0.75, 1.0])
)
def test_the_prompt_fits_and_both_are_beginnings_of_what_they_were(query: str, document: str, tokens: int, share: float) -> None:
    measure = ByLetters()
    pair = fit(write, query, document, tokens=tokens, measure=measure, query_share=share)
    assert query.startswith(pair.query)
    assert document.startswith(pair.document)
    (length,) = measure.count_tokens([write(pair.query, pair.document)])
    assert length <= tokens
    if len(query) + len(document) + FIXED <= tokens:
        assert (pair.query, pair.document, pair.message) == (query, document, "")
    else:
        assert pair.message
        room = tokens - FIXED
        assert pair.query == query[: max(int(room * share), 0)], "the query keeps its share, whatever the document is"
        assert length == tokens or pair.document == document


def test_a_limit_of_the_pair_alone_leaves_out_what_surrounds_it() -> None:
    pair = fit(write, "q" * 100, "d" * 100, tokens=40, measure=ByLetters(), pair_alone=True)
    assert (len(pair.query), len(pair.document)) == (30, 10)
    assert pair.message == "the query was cut to 30 of 100 letters, the text was cut to 10 of 100 letters"


def test_a_prompt_that_is_short_beyond_doubt_is_not_counted() -> None:
    measure = ByLetters()
    assert fit(write, "red", "door", tokens=4000, measure=measure).message == ""
    assert measure.counts == 0


def test_no_room_is_an_error_that_says_how_much_there_is() -> None:
    with pytest.raises(InputError, match=f"at most {FIXED} tokens has no room .* takes {FIXED}"):
        fit(write, "q" * 400, "d", tokens=FIXED, measure=ByLetters())


def test_backends_measure_in_their_own_tokens_and_words_stand_in_where_they_do_not() -> None:
    backend = Measuring()
    assert measure_of(backend) is backend
    words = measure_of(Bare())  # type: ignore[arg-type]
    assert isinstance(words, WordMeasure)
    assert words.count_tokens([write("red", "doors"), (Message(role="user", parts=(coloured(1, size=(280, 280)), "漢字")),)]) == [11, 102]
    assert words.cut("one two three four", 3) == "one two"
    assert words.cut("one two", 3) == "one two"


def test_a_text_that_grows_in_its_place_is_cut_again() -> None:
    class Joining(ByLetters):
        """Each blank at a border is a token more than in the text alone."""

        def count_tokens(self, prompts: list[Prompt]) -> list[int]:
            return [length + 5 * bool(prompt[0].parts[3]) for length, prompt in zip(super().count_tokens(prompts), prompts, strict=True)]

    pair = fit(write, "q" * 10, "d" * 100, tokens=FIXED + 40, measure=Joining())
    assert (len(pair.query), len(pair.document)) == (10, 25)
