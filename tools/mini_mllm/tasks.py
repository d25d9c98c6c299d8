"""The tasks that the mini MLLM is trained on; each is a function that draws one sample, with the prompts that the methods send.

A sample depends on nothing but its material, its settings and its `random.Random`. Answers say what is seen before they
decide: dense answers teach a small model where things are, and deciding comes after.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mmrerank.answering import generative
from mmrerank.answering.extractive import NOT_FOUND
from mmrerank.errors import BackendError
from mmrerank.prompting.grids import Layout
from mmrerank.rerankers import mm_r5, ragllava, square
from mmrerank.retrievers import square_fusion
from mmrerank.testing.fakes import FakeBackend, fake_corpus
from mmrerank.types import Candidate, ChoiceScores, Decoding, Generated, Item, Prompt, Query
from tools.emoji.attributes import Emoji
from tools.emoji.queries import TONES
from tools.mini_clip.data import caption
from tools.mini_mllm.cards import draw_card
from tools.mini_mllm.described import Described, description, order_of, with_slips
from tools.mini_mllm.grid import draw_grid
from tools.mini_mllm.samples import STAND_IN, Material, Sample, StandIn, shifted, user_prompt

NAME_IT = "\nName the picture."
NAME_CELLS = "\nName the picture at each mark."
QUESTIONS = (NAME_IT, NAME_CELLS)
SEARCHES = ("{}", "{}", "Which picture shows {}?", "Where is {}?")
PAGE_SEARCHES = ("Which page shows {}?", "Where is {}?", "How many are there of {}?", "{}")
NUMBERS = 25  # on a card, from 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all samples of one batch share."""

    grid: int  # sides of grids, in cells
    count: int  # cells that are filled
    max_pixels: int
    hard: float = 0.5  # share of grids and of negatives drawn from alike pictures
    with_slips: float = 0.0  # share of rankings whose answers have wrong names in them, to be gone on from
    cell_px: int = 0  # cells of this size side by side, as square(cell_px=..., gutter_px=0) draws them; 0: its default grid, shrunk

    @property
    def layout(self) -> Layout:
        """Where the cells of a grid stand before the processor shrinks it."""
        return Layout(side=self.grid, cell_px=self.cell_px, gutter_px=0) if self.cell_px else Layout(side=self.grid)


def name(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """The name of a single picture."""
    row = material.draw(chance)
    picture = material.pixels[row] if chance.random() < 0.5 else shifted(material.pixels[row], chance)
    return Sample(prompt=user_prompt(STAND_IN, NAME_IT), pictures=(picture,), answer=material.emojis[row].name)


def listing(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """The names of all cells of a grid, by their marks in any order: the one after the last named is not always the next."""
    first = material.draw(chance)
    rows = [first, *_others(material, first, settings.count - 1, chance, settings)]
    chance.shuffle(rows)
    picture = draw_grid([material.pixels[row] for row in rows], settings.layout, settings.max_pixels)
    return Sample(prompt=user_prompt(STAND_IN, NAME_CELLS), pictures=(picture,), answer=_names(material, rows, chance))


def matches(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """Yes or No: whether a picture fits a caption or search, as RagLLaVA asks."""
    row = material.draw(chance)
    emoji, goal = material.emojis[row], material.emojis[_yes_or_no(material, row, chance, settings)]
    words, answer = caption(goal, chance, 0.4), goal.name == emoji.name
    excluded: tuple[str, ...] = ()
    if emoji.skin_tone and emoji.role and chance.random() < 0.1:  # "a judge", but none of this skin tone
        tone = chance.choice([emoji.skin_tone, chance.choice(["light", "medium", "dark"])])
        words, excluded = goal.plain_name, (chance.choice(TONES).format(tone),)
        answer = goal.plain_name == emoji.plain_name and tone != emoji.skin_tone
    task = chance.choice(["caption", "question"])
    text = words if task == "caption" else chance.choice(SEARCHES).format(words)
    query = Query(text=text, exclude_text=excluded)
    prompt = _ragllava(task, _modality(chance)).prompt_for(query, _candidate(emoji))
    return Sample(
        prompt=prompt,
        pictures=(material.pixels[row],),
        answer="Yes" if answer else "No",
        echo=words if answer and not excluded else "",
    )


def changed(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """Yes or No: whether the second picture is the first one changed as asked, as RagLLaVA asks of composed queries."""
    reference, target, words = material.compose(chance)
    row = _yes_or_no(material, target, chance, settings)
    if row != target and chance.random() < settings.hard / 2:
        row = reference
    emoji = material.emojis[row]
    query = Query(text=words, images=(StandIn(),))
    prompt = _ragllava("question", _modality(chance)).prompt_for(query, _candidate(emoji), [STAND_IN])
    answer = "Yes" if emoji.name == material.emojis[target].name else "No"
    return Sample(prompt=prompt, pictures=(material.pixels[reference], material.pixels[row]), answer=answer)


def target(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """The name of the picture that a composed query wants, as square_fusion asks for it."""
    reference, row, words = material.compose(chance)
    prompt = _fusion().prompt_for(Query(text=words, images=(StandIn(),)))
    return Sample(prompt=prompt, pictures=(material.pixels[reference],), answer=material.emojis[row].name)


def rank(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """The marks of a grid, best first, as SQUARE asks: what is wanted, what each cell shows, then the order as JSON."""
    composed = chance.random() < 0.8
    reference, row, words = material.compose(chance) if composed else (-1, material.draw(chance), "")
    words = words or _words(material, row, chance)
    rows = [row, *_rivals(material, row, settings.count - 1, chance)]
    if composed and reference not in rows and chance.random() < 0.3:
        rows[-1] = reference
    chance.shuffle(rows)
    query = Query(text=words, images=(StandIn(),) if composed else ())
    prompt = _square().prompt_for(query, STAND_IN, len(rows))
    grid = draw_grid([material.pixels[n] for n in rows], settings.layout, settings.max_pixels)
    pictures = (material.pixels[reference], grid) if composed else (grid,)
    answer, wrong, order = _description(material, row, rows, chance, settings, "")
    return Sample(prompt=prompt, pictures=pictures, answer=f'{answer}\n{{"ranking": [{order}]}}', wrong=wrong)


def pages(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """Cards in order of their use for a question, as MM-R5 asks: what each shows, then the order."""
    row, rows, cards, _ = _cards(material, chance, settings, chance.choice([3, 4, 5, 5, 5]))
    query = Query(text=chance.choice(PAGE_SEARCHES).format(_words(material, row, chance)))
    prompt = _mm_r5().prompt_for(query, [(STAND_IN,)] * len(cards))
    thoughts, wrong, order = _description(material, row, rows, chance, settings, "Image ")
    shift = len("<think>")
    return Sample(
        prompt=prompt,
        pictures=tuple(cards),
        answer=f"<think>{thoughts}</think><answer>[{order}]</answer>",
        wrong=tuple((start + shift, stop + shift) for start, stop in wrong),
    )


def question(material: Material, chance: random.Random, settings: Settings) -> Sample:
    """A question about one of some cards, answered in a line that names the card, as the generative answerer asks."""
    row, rows, cards, numbers = _cards(material, chance, settings, chance.choice([1, 2, 3]))
    mark = rows.index(row)
    if chance.random() < 0.5 or numbers.count(numbers[mark]) > 1:
        text, answer = f"How many are there of {_words(material, row, chance)}?", f"There are {numbers[mark]}. [{mark + 1}]"
    else:
        text, answer = f"What are there {numbers[mark]} of?", f"There are {numbers[mark]} of {material.emojis[row].name}. [{mark + 1}]"
    if chance.random() < 0.15:
        other = _others(material, row, len(rows) + 1, chance, settings)
        absent = next(n for n in other if n not in rows)
        text, answer = f"How many are there of {_words(material, absent, chance)}?", NOT_FOUND
    return Sample(prompt=_answerer().prompt_for(text, len(cards)), pictures=tuple(cards), answer=answer)


TASKS: Mapping[str, Callable[[Material, random.Random, Settings], Sample]] = {
    "name": name,
    "list": listing,
    "matches": matches,
    "changed": changed,
    "target": target,
    "rank": rank,
    "pages": pages,
    "question": question,
}


# ------------------------------------------------------------------


def _others(material: Material, row: int, count: int, chance: random.Random, settings: Settings) -> list[int]:
    """Pictures beside one in a grid: alike ones and any, none with the same pixels."""
    rows = material.alike(row, chance.randint(1, count), chance) if count and chance.random() < settings.hard else []
    twins = {material.table.twins[n] for n in (row, *rows)}
    for other in material.any(chance, 2 * count + 8):
        if len(rows) < count and material.table.twins[other] not in twins:
            rows.append(other)
            twins.add(material.table.twins[other])
    return rows


def _rivals(material: Material, row: int, count: int, chance: random.Random) -> list[int]:
    """Pictures that a first stage might find beside the wanted one: close ones mostly."""
    close = material.alike(row, 3 * count, chance)
    rivals = chance.sample(close, min(len(close), count if chance.random() < 0.7 else chance.randint(1, count)))
    rest = [n for n in _others(material, row, count, chance, Settings(grid=1, count=1, max_pixels=0, hard=0.0)) if n not in rivals]
    return [*rivals, *rest][:count]


def _yes_or_no(material: Material, row: int, chance: random.Random, settings: Settings) -> int:
    """The picture itself or, half of the time, another: a close one mostly."""
    if chance.random() < 0.5:
        return row
    close = material.alike(row, 8, chance) if chance.random() < settings.hard else []
    return chance.choice(close) if close else _others(material, row, 1, chance, settings)[0]


def _names(material: Material, rows: Sequence[int], chance: random.Random) -> str:
    """A line for each cell: its mark and its name."""
    lines = [f"{mark}: {material.emojis[row].name}" for mark, row in enumerate(rows, 1)]
    if chance.random() < 0.5:
        chance.shuffle(lines)
    return "\n".join(lines)


def _description(
    material: Material, target: int, rows: Sequence[int], chance: random.Random, settings: Settings, label: str
) -> tuple[str, tuple[tuple[int, int], ...], str]:
    """What an answer says before it decides, where names in it are wrong, and the order of the marks."""
    cells = Described(target=target, cells=tuple(rows))
    words = with_slips(material, cells, chance) if chance.random() < settings.with_slips else cells
    return (*description(material, cells, words, label), order_of(material, words))


def _words(material: Material, row: int, chance: random.Random) -> str:
    return caption(material.emojis[row], chance, 0.4)


def _cards(material: Material, chance: random.Random, settings: Settings, count: int) -> tuple[int, list[int], list[Any], list[int]]:
    """A wanted picture, the pictures of some cards in order, the cards, and the numbers on them."""
    row = material.draw(chance)
    rows = [row, *_others(material, row, count - 1, chance, settings)]
    chance.shuffle(rows)
    numbers = [chance.randint(1, NUMBERS) for _ in rows]
    cards = [draw_card(material.pixels[n], material.emojis[n].name, number) for n, number in zip(rows, numbers, strict=True)]
    return row, rows, cards, numbers


def _modality(chance: random.Random) -> str:
    """Mostly the picture alone: beside its name it would hardly be looked at."""
    return "both" if chance.random() < 0.2 else "image"


def _candidate(emoji: Emoji) -> Candidate:
    return Candidate(item=Item(item_id=emoji.key, image=StandIn(), text=emoji.name))


@cache
def _ragllava(task: Any, modality: Any) -> ragllava.RagLLaVA:
    return ragllava.build(ragllava.Options(task=task, modality=modality), FakeBackend())


class _Answerer:
    """The generative answerer with a backend that keeps what it is asked."""

    name = "listener"

    def __init__(self) -> None:
        self._answerer = generative.build(generative.Options(modality="image"), self)
        self._prompt: Prompt = ()

    def prompt_for(self, text: str, count: int) -> Prompt:
        """What is asked about so many cards."""
        cards = [Candidate(item=Item(item_id=f"cards#page={n}", document_id="cards", image=StandIn())) for n in range(1, count + 1)]
        self._answerer.answer(Query(text=text), cards)
        return self._prompt

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self._prompt = prompts[0]
        return [Generated(text=NOT_FOUND)]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        raise BackendError("the listener scores nothing")


@cache
def _answerer() -> _Answerer:
    return _Answerer()


@cache
def _mm_r5() -> mm_r5.MMR5:
    return mm_r5.build(mm_r5.Options(), FakeBackend())


@cache
def _square() -> square.Square:
    return square.build(square.Options(), FakeBackend())


@cache
def _fusion() -> square_fusion.SquareFusion:
    return square_fusion.build(square_fusion.Options(), fake_corpus(), square_fusion.FakeCaptioner())
