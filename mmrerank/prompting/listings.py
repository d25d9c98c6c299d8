"""What prompts that list candidates share: the marks, the turns, and a budget of tokens for the texts.

    marks      1, 2, ... or A, B, ...; what looks like one within a candidate's text, "[3]", becomes "(3)"
    budget     where a prompt has too many tokens, all texts are cut to the same number of words; the task and the query never are

Source: ours; marks made harmless and texts that shrink as in the code of RankGPT and its kin (castorini/rank_llm at 1b3cabb).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmrerank.errors import InputError
from mmrerank.prompting._marks import Identifiers
from mmrerank.prompting.files import PromptText
from mmrerank.prompting.items import Exhibit
from mmrerank.prompting.queries import joined
from mmrerank.protocols import Backend, CuttingBackend, front_to_back
from mmrerank.types import Message, Part, Prompt

MARK_LIKE = re.compile(r"\[\s*(\d{1,4}|[A-Za-z])\s*\]")
NOUN = r"(?:search result|result|passage|document|image)"  # what candidates are called in a reasoning
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def asking(text: PromptText, *parts: Part) -> Prompt:
    """The system's turn, from the piece `system`, and one of the user's."""
    return (Message(role="system", parts=(text.pieces["system"],)), user(*parts))


def user(*parts: Part) -> Message:
    """One turn of the user's."""
    return Message(role="user", parts=tuple(joined([part for part in parts if part != ""])))


def marks(count: int, identifiers: Identifiers) -> tuple[str, ...]:
    """The first so many marks.

    Raises:
        InputError: there are no more than 26 letters.

    >>> marks(3, "letters"), marks(3, "numbers")
    (('A', 'B', 'C'), ('1', '2', '3'))
    """
    if identifiers == "letters" and count > len(LETTERS):
        raise InputError(f"{len(LETTERS)} letters do not mark {count} candidates", hint="Take a smaller window.")
    return tuple(LETTERS[:count]) if identifiers == "letters" else tuple(str(number) for number in range(1, count + 1))


def content(page: Exhibit) -> list[Part]:
    """What is shown of a candidate, without anything that could pass for a mark.

    >>> content(Exhibit(way="text", text="as in [3], not [sic]"))
    ['as in (3), not [sic]']
    """
    return [MARK_LIKE.sub(r"(\1)", part) if isinstance(part, str) else part for part in page.parts]


def listing(text: PromptText, names: Sequence[str], pages: Sequence[Exhibit]) -> list[Part]:
    """The candidates, each right behind its mark; `text` has a piece `page` with the placeholder `mark`."""
    return [part for name, page in zip(names, pages, strict=True) for part in (text.fill("page", mark=name), *content(page))]


class TokenBudget:
    """Cuts the texts of a list until its prompt has at most so many tokens, and remembers what was cut."""

    def __init__(self, backend: Backend, tokens: int | None) -> None:
        self._counting = next((one for one in front_to_back(backend) if isinstance(one, CuttingBackend)), None)
        self._tokens = tokens
        self._words: list[int] = []  # how many words a text was left, of each prompt that was too long

    def fit(self, pages: Sequence[Exhibit], prompt_for: Callable[[Sequence[Exhibit]], Prompt]) -> Prompt:
        """The prompt over these pages; whole where it is short enough, where the backend cannot count, or where pictures make it long."""
        whole = prompt = prompt_for(pages)
        words = most = max((len(page.text.split()) for page in pages), default=0)
        while words and self._counting is not None and self._tokens and (tokens := self._counting.count_tokens([prompt])[0]) > self._tokens:
            if words <= 1:  # pictures and query alone are longer
                return whole
            words = max(1, min(words - 1, words * self._tokens // tokens))
            prompt = prompt_for([replace(page, text=" ".join(page.text.split()[:words])) for page in pages])
        if words < most:
            self._words.append(words)
        return prompt

    @property
    def notes(self) -> tuple[str, ...]:
        """What was cut, in a line; none where nothing was."""
        if not self._words:
            return ()
        return (f"{len(self._words)} prompts had more than {self._tokens} tokens: texts were cut to {min(self._words)} words or more",)
