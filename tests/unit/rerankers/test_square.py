"""SQUARE's reranking half: the answer's parser, the prompt, one call a query, what a perfect and a useless model do to R@1."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from makers import InMemory, coloured
from PIL import Image

from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.prompting.answers import named_marks, read_marks
from mmrerank.prompting.grids import Layout, side_for
from mmrerank.rerankers.square import Options, build, mean_places
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, ChoiceScores, Cost, Decoding, Generated, Item, Prompt, Query

REFERENCE = InMemory(coloured(77))
QUERY = Query(query_id="q", text="in green", images=(REFERENCE,))


def pictures(count: int, start: int = 0) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", image=InMemory(coloured(n))), score=1 - n / 100) for n in range(start, start + count)]


def grid_of(prompt: Prompt) -> Image.Image:
    grid = prompt[-1].parts[-1]
    assert isinstance(grid, Image.Image)
    return grid


def colours(prompt: Prompt, count: int) -> list[object]:
    """The colour in the middle of each cell, as the model sees it."""
    layout = Layout(side=side_for(count))
    grid = grid_of(prompt)
    assert grid.size == (layout.canvas_px, layout.canvas_px)
    cells = [layout.cell(n) for n in range(count)]
    return [grid.getpixel(((left + right) // 2, (top + bottom) // 2)) for left, top, right, bottom in cells]


def texts(prompt: Prompt) -> str:
    return "|".join(part for part in prompt[-1].parts if isinstance(part, str))


def count_of(prompt: Prompt) -> int:
    return max(int(number) for number in re.findall(r"\d+", texts(prompt).partition("Reference")[0]))


def finder(target: Callable[[], int]) -> Callable[[Prompt], str]:
    """A model that always puts the target first, where it sees it, and the rest as it came."""

    def answer(prompt: Prompt) -> str:
        wanted = coloured(target()).getpixel((0, 0))
        seen = colours(prompt, count_of(prompt))
        return json.dumps({"ranking": sorted(range(1, len(seen) + 1), key=lambda mark: seen[mark - 1] != wanted)})

    return answer


class Scripted(FakeBackend):
    """Gives what stands in a list, one after the other: a text, a whole answer or an error; remembers the decodings."""

    def __init__(self, *script: str | Generated | BackendError) -> None:
        super().__init__()
        self._script = list(script)
        self.decodings: list[Decoding | None] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self.prompts += prompts
        self.decodings.append(decoding)
        line = self._script.pop(0)
        if isinstance(line, BackendError):
            raise line
        return [Generated(text=line, cost=Cost(calls=1)) if isinstance(line, str) else line]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        raise AssertionError("nobody asks for choices")


SLOW = BackendError("timed out", retryable=True)


@pytest.mark.parametrize(
    ("answer", "order", "status"),
    [
        ("[3, 1, 2, 4]", "2013", "ok"),
        ("[3]", "2013", "completed"),
        ("[3, 3, 1, 2, 4]", "2013", "repaired"),
        ("[9, 3]", "2013", "repaired"),
        ('["3", "none"]', "2013", "repaired"),
        ("[9, 16]", "0123", "fallback"),
        ("[]", "0123", "fallback"),
    ],
)
def test_marks_become_an_order_and_a_status(answer: str, order: str, status: str) -> None:
    ranking = build(Options(), FakeBackend(answer=lambda prompt: f'{{"ranking": {answer}}}')).rerank(QUERY, pictures(4))
    assert ranking.item_ids == tuple(f"item-{n}" for n in order)
    assert ranking.notes.status == status
    assert all(candidate.score is None for candidate in ranking.candidates)


def test_a_model_that_finds_the_target_lifts_r_at_1_to_the_ceiling_of_the_depth_and_no_further() -> None:
    generator = random.Random(5)
    targets = [generator.randrange(40) for _ in range(25)]
    current = [0]
    double = FakeBackend(answer=finder(lambda: current[0]))
    square = build(Options(), double)
    first, in_twenty = 0, 0
    for target in targets:
        current[0] = target
        ranking = square.rerank(QUERY, pictures(40))
        first += ranking.item_ids[0] == f"item-{target}"
        in_twenty += f"item-{target}" in ranking.item_ids[:20]
        assert ranking.item_ids[16:] == tuple(f"item-{n}" for n in range(16, 40))  # the tail is untouched
    assert first == sum(target < 16 for target in targets) > sum(target == 0 for target in targets)
    assert in_twenty == sum(target < 20 for target in targets)
    assert len(double.prompts) == len(targets)  # one call a query


def test_the_identity_changes_nothing_and_says_nothing() -> None:
    ranking = build(Options(), FakeBackend(answer=lambda prompt: f'{{"ranking": {list(range(1, 17))}}}')).rerank(QUERY, pictures(30))
    assert ranking.item_ids == tuple(f"item-{n}" for n in range(30))
    assert (ranking.notes.status, ranking.notes.messages) == ("ok", ())


@pytest.mark.parametrize("rubbish", ["", "blah [a] {", "I cannot rank these.", '{"ranking": ["all"]}'])
def test_rubbish_leaves_the_order_and_says_so(rubbish: str) -> None:
    double = FakeBackend(answer=lambda prompt: rubbish)
    ranking = build(Options(), double).rerank(QUERY, pictures(20))
    assert ranking.item_ids == tuple(f"item-{n}" for n in range(20))
    assert ranking.notes.status == "fallback"
    why = "no ranking in the answer" if rubbish else "the answer is empty"
    assert ranking.notes.messages[0].startswith(why)
    assert ranking.notes.reasons["item-0"].startswith(f"keeps its place: {why}")
    assert "item-16" not in ranking.notes.reasons
    assert len(double.prompts) == ranking.notes.cost.calls == 1  # a greedy answer would come back word for word


@pytest.mark.parametrize(
    ("count", "depth", "drawn"), [(0, 16, 0), (1, 16, 0), (2, 16, 2), (40, 16, 16), (40, 5, 5), (40, 25, 25), (7, 1, 0)]
)
def test_one_call_whatever_the_depth_and_none_where_nothing_can_move(count: int, depth: int, drawn: int) -> None:
    double = FakeBackend(answer=lambda prompt: '{"ranking": [2, 1]}')
    ranking = build(Options(depth=depth), double).rerank(QUERY, pictures(count))
    assert len(double.prompts) == ranking.notes.cost.calls == (drawn > 0)
    assert ranking.notes.status == ("ok" if drawn in (0, 2) else "completed")
    if drawn:
        assert colours(double.prompts[0], drawn) == [coloured(n).getpixel((0, 0)) for n in range(drawn)]


def test_the_message_is_task_reference_request_grid() -> None:
    double = FakeBackend()
    build(Options(), double).rerank(QUERY, pictures(3))
    (message,) = double.prompts[0]
    assert message.role == "user"
    assert [isinstance(part, str) for part in message.parts] == [True, False, True, False]
    head, reference, request, grid = message.parts
    assert isinstance(head, str)
    assert isinstance(request, str)
    assert "grid of 3 pictures" in head
    assert head.endswith("Reference picture:\n")
    assert reference == coloured(77)
    assert request.startswith("Request: in green\n")
    assert request.endswith("Grid:\n")
    assert grid is grid_of(double.prompts[0])
    assert read_marks(texts(double.prompts[0]), 3).marks is None  # a model that repeats its task has given no answer


def test_a_query_without_text_or_without_picture_leaves_that_part_out() -> None:
    double = FakeBackend()
    square = build(Options(), double)
    square.rerank(Query(text="a {green} door"), pictures(2))
    square.rerank(Query(images=(REFERENCE,)), pictures(2))
    square.rerank(Query(text="like both", images=(REFERENCE, InMemory(coloured(5)))), pictures(2))
    by_text, by_picture, by_two = map(texts, double.prompts)
    assert "Request: a {green} door" in by_text
    assert "eference" not in by_text
    assert "the same as the reference picture" in by_picture
    assert "Reference picture 1:" in by_two
    assert "Reference picture 2:" in by_two
    assert [sum(not isinstance(part, str) for part in prompt[0].parts) for prompt in double.prompts] == [1, 2, 3]


def test_exclusions_are_told_and_shown() -> None:
    double = FakeBackend()
    query = Query(text="a door", exclude_text=("window", "glass"), exclude_images=(InMemory(coloured(9)),))
    build(Options(), double).rerank(query, pictures(2))
    assert "Not wanted: window\nNot wanted: glass\n" in texts(double.prompts[0])
    assert double.prompts[0][0].parts[1] == coloured(9)


def test_pictures_of_the_query_are_brought_to_reference_px() -> None:
    double = FakeBackend()
    query = Query(images=(InMemory(coloured(1, size=(900, 300))), InMemory(coloured(2, size=(30, 20)))))
    build(Options(reference_px=300), double).rerank(query, pictures(2))
    assert [part.size for part in double.prompts[0][0].parts[1::2]] == [(300, 100), (30, 20), (696, 352 + 344)]  # type: ignore[union-attr]


def test_each_hit_of_the_grid_says_its_mark_and_its_move_and_what_the_model_said() -> None:
    answer = '1: a red door\n**2** - a boat with a sail\n{"ranking": [2, 3, 1]}'
    ranking = build(Options(depth=3), FakeBackend(answer=lambda prompt: answer)).rerank(QUERY, pictures(4))
    assert ranking.notes.reasons == {
        "item-1": "mark 2 in the grid, placed 1st; was 2nd: a boat with a sail",
        "item-2": "mark 3 in the grid, placed 2nd; was 3rd",
        "item-0": "mark 1 in the grid, placed 3rd; was 1st: a red door",
    }
    assert named_marks("Mark 3: x" + "y" * 200, 3)[3].endswith("…")
    assert named_marks("7: out of range\n2 boats\n[1, 2, 3]\n1.5 metres", 3) == {}


def test_candidates_that_cannot_be_drawn_stay_behind_the_head_with_the_reason() -> None:
    class Broken:
        def open(self):  # type: ignore[no-untyped-def]
            raise FormatError("truncated", path="b.png")

    mixed = [Candidate(item=Item(item_id="broken", image=Broken())), *pictures(2), Candidate(item=Item(item_id="words", text="only words"))]
    mixed += pictures(2, start=10)
    double = FakeBackend(answer=lambda prompt: '{"ranking": [2, 1]}')
    ranking = build(Options(depth=4), double).rerank(QUERY, mixed)
    assert ranking.item_ids == ("item-1", "item-0", "broken", "words", "item-10", "item-11")
    assert ranking.notes.status == "completed"
    assert ranking.notes.reasons["broken"] == "not in the grid: b.png: truncated"
    assert "no picture" in ranking.notes.reasons["words"]
    assert ranking.notes.reasons["item-1"] == "mark 2 in the grid, placed 1st; was 3rd"
    rubbish = build(Options(depth=4), FakeBackend(answer=lambda prompt: "")).rerank(QUERY, mixed)
    assert rubbish.item_ids == tuple(candidate.item.item_id for candidate in mixed)
    alone = build(Options(depth=2), double).rerank(QUERY, mixed)
    assert (alone.notes.status, alone.item_ids) == ("fallback", rubbish.item_ids)
    assert alone.notes.messages == ("fewer than two pictures can be drawn", "broken: not in the grid: b.png: truncated")


def test_a_reference_that_does_not_open_is_the_callers_to_mend() -> None:
    class Broken:
        def open(self):  # type: ignore[no-untyped-def]
            raise FormatError("truncated", path="b.png")

    with pytest.raises(FormatError, match="truncated"):
        build(Options(), FakeBackend()).rerank(Query(text="x", images=(Broken(),)), pictures(2))


@pytest.mark.parametrize(
    ("script", "calls", "status"),
    [
        ([Generated(text="", finished="refused"), '{"ranking": [2, 1]}'], 2, "ok"),
        ([SLOW, '{"ranking": [2, 1]}'], 1, "fallback"),
        ([Generated(text="", finished="refused"), SLOW, '{"ranking": [2, 1]}'], 2, "fallback"),
        ([Generated(text="", finished="refused")] * 3, 3, "fallback"),
        (["rubbish"], 1, "fallback"),
    ],
)
def test_refusals_are_asked_again_and_time_outs_left_to_the_backend(
    script: list[str | Generated | BackendError], calls: int, status: str
) -> None:
    double = Scripted(*script)
    ranking = build(Options(), double).rerank(QUERY, pictures(2))
    assert len(double.prompts) == calls
    assert ranking.notes.status == status
    assert ranking.item_ids == (("item-1", "item-0") if status == "ok" else ("item-0", "item-1"))


def test_unreadable_answers_are_asked_again_with_another_seed_above_temperature_0() -> None:
    double = Scripted("rubbish", "more", "[2, 1]")
    ranking = build(Options(temperature=0.7, seed=40), double).rerank(QUERY, pictures(2))
    assert [decoding.seed for decoding in double.decodings if decoding] == [40, 41, 42]
    assert ranking.notes.cost.calls == 3
    assert ranking.item_ids == ("item-1", "item-0")


def test_the_reason_of_a_fallback_names_what_happened() -> None:
    def why(script: str | Generated | BackendError) -> str:
        return build(Options(retries=0), Scripted(script)).rerank(QUERY, pictures(2)).notes.messages[0]

    assert why(SLOW) == "no answer: timed out"
    assert why(Generated(text="", finished="refused")) == "the model refused"
    assert why(Generated(text='{"ranking": [1, ', finished="length")) == 'the answer was cut at max_tokens: {"ranking": [1,'
    assert why("word " * 100).endswith(" word word…")


def test_a_server_that_refuses_the_model_is_an_error() -> None:
    with pytest.raises(BackendError, match="no such model"):
        build(Options(), Scripted(BackendError("no such model"))).rerank(QUERY, pictures(2))


def test_shuffled_grids_are_seeded_and_merged_by_mean_place() -> None:
    target = 12
    double = FakeBackend(answer=finder(lambda: target))
    square = build(Options(shuffles=3, seed=1), double)
    ranking = square.rerank(QUERY, pictures(16))
    assert ranking.item_ids[0] == f"item-{target}"
    assert len(double.prompts) == ranking.notes.cost.calls == 3
    seen = [colours(prompt, 16) for prompt in double.prompts]
    incoming = [coloured(n).getpixel((0, 0)) for n in range(16)]
    assert all(sorted(map(str, cells)) == sorted(map(str, incoming)) and cells != incoming for cells in seen)
    assert seen[0] != seen[1] != seen[2]
    marks = [cells.index(coloured(target).getpixel((0, 0))) + 1 for cells in seen]
    assert ranking.notes.reasons[f"item-{target}"] == f"mark {marks[0]}, {marks[1]}, {marks[2]} in 3 grids, placed 1st; was 13th"
    assert square.rerank(QUERY, pictures(16)) == ranking
    assert [colours(prompt, 16) for prompt in double.prompts[3:]] == seen


def test_a_model_that_ranks_by_cell_alone_moves_less_with_shuffles() -> None:
    def distance(shuffles: int) -> int:
        biased = FakeBackend(answer=lambda prompt: f'{{"ranking": {list(range(16, 0, -1))}}}')
        ranking = build(Options(shuffles=shuffles), biased).rerank(QUERY, pictures(16))
        return sum(abs(place - int(item_id.removeprefix("item-"))) for place, item_id in enumerate(ranking.item_ids))

    assert distance(32) < distance(0) == 128


def test_marks_left_out_of_a_shuffled_grid_follow_as_they_came_from_the_first_stage() -> None:
    ranking = build(Options(shuffles=1), FakeBackend(answer=lambda prompt: '{"ranking": [5]}')).rerank(QUERY, pictures(9))
    rest = [int(item_id.removeprefix("item-")) for item_id in ranking.item_ids[1:]]
    assert rest == sorted(rest)


def test_a_lost_grid_beside_answered_ones_is_left_out_of_the_merger() -> None:
    ranking = build(Options(shuffles=2), Scripted("rubbish", '{"ranking": [1, 2]}')).rerank(QUERY, pictures(2))
    alone = build(Options(shuffles=2), Scripted('{"ranking": [1, 2]}', '{"ranking": [1, 2]}')).rerank(QUERY, pictures(2))
    assert ranking.notes.status == "repaired"
    assert ranking.notes.messages == ("grid 1: no ranking in the answer: rubbish",)
    assert alone.notes.status == "ok"


def test_mean_places_keeps_equals_as_they_came() -> None:
    assert mean_places([[0, 1, 2], [2, 1, 0]]) == [0, 1, 2]
    assert mean_places([[2, 0, 1], [2, 1, 0], [0, 1, 2]]) == [2, 0, 1]


def test_grids_are_written_on_request_and_the_name_stays_the_same(tmp_path: Path) -> None:
    double = FakeBackend(answer=lambda prompt: "[2, 1]")
    square = build(Options(grids=str(tmp_path / "grids")), double)
    square.rerank(QUERY, pictures(2))
    assert square.name == build(Options(), double).name
    with Image.open(tmp_path / "grids" / "q.png") as written:
        assert written.tobytes() == grid_of(double.prompts[0]).tobytes()
    assert not list(tmp_path.glob("*.png"))
    build(Options(shuffles=2, grids=str(tmp_path / "two")), double).rerank(QUERY, pictures(2))
    assert sorted(file.name for file in (tmp_path / "two").iterdir()) == ["q-1.png", "q-2.png"]


def test_the_notes_carry_the_grids_that_the_model_saw() -> None:
    double = FakeBackend(answer=lambda prompt: "[2, 1]")
    (noted,) = build(Options(), double).rerank(QUERY, pictures(2)).notes.pictures
    assert (noted.name, noted.picture) == ("q", grid_of(double.prompts[0]))
    several = build(Options(shuffles=2), double).rerank(QUERY, pictures(2)).notes
    assert [noted.name for noted in several.pictures] == ["q-1", "q-2"]
    assert "pictures" not in repr(several)
    unread = build(Options(), FakeBackend(answer=lambda prompt: "")).rerank(QUERY, pictures(2))
    assert len(unread.notes.pictures) == 1, "what nobody could read is worth a look above all"
    assert build(Options(), double).rerank(QUERY, pictures(1)).notes.pictures == ()


@pytest.mark.parametrize(
    "options", [{"depth": 0}, {"shuffles": -1}, {"retries": -1}, {"cell_px": 5}, {"gutter_px": -1}, {"reference_px": 0}]
)
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="got"):
        Options(**options)  # type: ignore[arg-type]
