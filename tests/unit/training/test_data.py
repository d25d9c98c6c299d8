"""Judged queries from files and from a collection of the user's own, and what is drawn from them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from trained import group, source, written

from mmrerank import Collection
from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.testing.fakes import FakeBackend
from mmrerank.training.data import Group, drawn, read_groups
from mmrerank.training.recipe import Band, Draw, Source
from mmrerank.training.supervised import Schedule
from mmrerank.types import Candidate, ChoiceScores, Item, Notes, Prompt, Query, Ranking


def long_group(count: int = 30) -> Group:
    items = [Item(item_id=f"i{n}", text=f"text {n}") for n in range(1, count + 1)]
    return Group(query=Query(text="what"), candidates=tuple(Candidate(item=i) for i in items), grades={"i4": 2, "i20": 1})


def ranks(candidates: tuple[Candidate, ...]) -> list[int]:
    return sorted(int(one.item.item_id[1:]) for one in candidates)


@pytest.mark.parametrize("seed", range(5))
def test_wrong_candidates_come_from_their_ranks(seed: int) -> None:
    draw = Draw(positives=1, negatives=(Band(first=1, last=5, count=2), Band(first=11, last=15, count=3)))
    found = ranks(drawn(long_group(), draw, random.Random(seed)))
    assert sum(rank in (4, 20) for rank in found) == 1
    wrong = [rank for rank in found if rank not in (4, 20)]
    assert sum(rank <= 5 for rank in wrong) == 2
    assert sum(11 <= rank <= 15 for rank in wrong) == 3


def test_a_short_list_fills_up_from_elsewhere() -> None:
    found = drawn(long_group(6), Draw(negatives=(Band(first=100, last=200, count=3),)), random.Random(0))
    assert len(found) == 4


def test_the_right_one_stands_at_every_place() -> None:
    places = {[one.item.item_id for one in drawn(group(), Draw(), random.Random(n))].index("q0-0") for n in range(40)}
    assert len(places) > 3


def test_lists_are_ordered_by_the_first_stage(tmp_path: Path) -> None:
    judged = read_groups(source(), written(tmp_path), tmp_path)
    assert judged.first_stage.startswith("bm25")
    assert [one.candidates[0].item.item_id for one in judged.groups[:2]] == ["q0-0", "q1-1"]
    assert judged.groups[0].file_order == tuple(f"q0-{n}" for n in range(5))


def test_texts_alone_are_what_a_language_is_learnt_from(tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text('{"text": "eins zwei"}\n{"text": "drei"}\n', encoding="utf-8")
    groups = read_groups(Source(layout="texts", options={"files": "words.jsonl"}), tmp_path, tmp_path).groups
    assert {sample.query.text for sample in Schedule(groups, Draw(), 2, seed=0, name="s")} == {"eins zwei", "drei"}
    (tmp_path / "words.jsonl").write_text('{"txt": "eins"}\n', encoding="utf-8")
    with pytest.raises(FormatError, match="expected"):
        read_groups(Source(layout="texts", options={"files": "words.jsonl"}), tmp_path, tmp_path)


def test_pairs_are_read(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"query": "a", "positive": "b", "negative": ["c", "d"]}) + "\n", encoding="utf-8")
    judged = read_groups(Source(layout="pairs", options={"files": "pairs.jsonl", "first_stage": "bm25"}), tmp_path, tmp_path)
    (one,) = judged.groups
    assert judged.first_stage.startswith("bm25")
    assert {c.item.text: one.grade(c) for c in one.candidates} == {"b": 1, "c": 0, "d": 0}
    assert not one.file_order
    with pytest.raises(InputError, match="needs first_stage"):
        read_groups(Source(layout="pairs", options={"files": "pairs.jsonl"}), tmp_path, tmp_path)
    with pytest.raises(InputError, match="right texts would stand first"):
        read_groups(Source(layout="pairs", options={"files": "pairs.jsonl", "first_stage": "given"}), tmp_path, tmp_path)


def test_the_two_parts_are_all_and_have_nothing_in_common(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"query": f"question {n}", "candidates": [{"text": "a", "grade": 1}]}) + "\n" for n in range(200))
    (tmp_path / "many.jsonl").write_text(rows, encoding="utf-8")
    whole = Source(layout="lists", options={"files": ["many.jsonl"]})
    parts = [{g.query.text for g in read_groups(replace(whole, part=part), tmp_path, tmp_path).groups} for part in ("train", "held_out")]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 200
    assert 20 < len(parts[1]) < 60


def test_a_teacher_scores_every_candidate(tmp_path: Path) -> None:
    judged = read_groups(source(teacher="bm25"), written(tmp_path), tmp_path)
    assert all(set(one.teacher) == {c.item.item_id for c in one.candidates} for one in judged.groups)
    assert judged.groups[0].teacher["q0-0"] > judged.groups[0].teacher["q0-3"]


class Backwards:
    """Turns the order round and scores nothing."""

    name = "backwards"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        behind = tuple(Candidate(item=one.item) for one in reversed(candidates))
        return Ranking(query_id=query.query_id, candidates=behind, notes=Notes(status="ok"))


def test_a_teacher_that_gives_an_order_alone_teaches_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orderly.py").write_text(f"from {__name__} import Backwards\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (one, *_) = read_groups(source(teacher="orderly:Backwards"), written(tmp_path), tmp_path).groups
    assert [one.teacher[c.item.item_id] for c in one.candidates] == [-5, -4, -3, -2, -1]


class Counting(FakeBackend):
    """Counts what it is asked."""

    asked = 0

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        Counting.asked += len(prompts)
        return super().choice_logprobs(prompts, choices)


def test_a_teacher_is_asked_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counted.py").write_text(f"from {__name__} import Counting\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    taught, cache = source(teacher="ragllava(modality=text)/counted:Counting"), tmp_path / "cache"
    before, asked = read_groups(taught, written(tmp_path), cache), Counting.asked
    assert asked == 25
    assert read_groups(taught, tmp_path, cache) == before
    assert Counting.asked == asked


def test_a_run_is_a_teacher(tmp_path: Path) -> None:
    lines = [f"q{n} Q0 q{n}-{k} {k + 1} {9 - k} other\n" for n in range(5) for k in range(3)]
    (written(tmp_path) / "teacher.trec").write_text("".join(lines), encoding="utf-8")
    teacher = read_groups(source(teacher="teacher.trec"), tmp_path, tmp_path).groups[1].teacher
    assert teacher["q1-0"] == 9
    assert teacher["q1-4"] == 7  # as little as the least that the run has


def test_a_run_over_a_table_is_a_teacher_and_one_of_other_items_is_refused(tmp_path: Path) -> None:
    lines = [f"q{n} Q0 corpus.jsonl::q{n}-{k} {k + 1} {9 - k} other\n" for n in range(5) for k in range(3)]
    (written(tmp_path) / "teacher.trec").write_text("".join(lines), encoding="utf-8")
    assert read_groups(source(teacher="teacher.trec"), tmp_path, tmp_path).groups[1].teacher["q1-1"] == 8
    (tmp_path / "teacher.trec").write_text("".join(line.replace("::q", "::p") for line in lines), encoding="utf-8")
    with pytest.raises(InputError, match="no scores for the candidates of query 'q0'"):
        read_groups(source(teacher="teacher.trec"), tmp_path, tmp_path)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of six texts."""
    folder = tmp_path_factory.mktemp("own")
    rows = [{"id": f"n{n}", "text": f"note {n} about honey " + "and bees " * n} for n in range(6)]
    (folder / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    collection = Collection.create(folder / "notes")
    collection.add([folder / "notes.jsonl"])
    return folder


def csv(folder: Path, name: str, *rows: str) -> None:
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_a_collection_with_judgements(notes: Path) -> None:
    csv(notes, "judged.csv", "query,item_id,grade", "honey bees,notes.jsonl::n3,2", "honey bees,notes.jsonl::n1,0")
    (one,) = read_groups(Source(layout="collection", options={"collection": "notes", "judgements": "judged.csv"}), notes, notes).groups
    assert one.query.text == "honey bees"
    assert {c.item.item_id: one.grade(c) for c in one.candidates}["notes.jsonl::n3"] == 2
    assert len(one.candidates) == 6


def test_of_clicks_what_stood_below_the_last_was_not_seen(notes: Path) -> None:
    options = {"collection": "notes", "judgements": "all.csv"}
    csv(notes, "all.csv", "query,item_id", "honey bees,notes.jsonl::n0")
    whole = read_groups(Source(layout="collection", options=options), notes, notes).groups[0].candidates
    third = whole[2].item.item_id
    csv(notes, "clicks.csv", "query,item_id", f"honey bees,{third}")
    (one,) = read_groups(Source(layout="collection", options={"collection": "notes", "clicks": "clicks.csv"}), notes, notes).groups
    assert [c.item.item_id for c in one.candidates] == [c.item.item_id for c in whole[:3]]
    assert [one.grade(c) for c in one.candidates] == [0, 0, 1]


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        (["question,item"], FormatError, "expected the columns query, item_id"),
        (["query,item_id,grade", "a,notes.jsonl::n1,good"], FormatError, "no judgement"),
        (["query,item_id"], FormatError, "there is no judgement"),
        (["query,item_id", "a,gone"], InputError, "1 judged items are not in notes: gone"),
    ],
    ids=["columns", "grade", "empty", "item"],
)
def test_a_wrong_csv_is_told(rows: list[str], error: type[Exception], words: str, notes: Path) -> None:
    csv(notes, "wrong.csv", *rows)
    with pytest.raises(error, match=words):
        read_groups(Source(layout="collection", options={"collection": "notes", "judgements": "wrong.csv"}), notes, notes)


@pytest.mark.parametrize(
    ("layout", "options", "error", "words"),
    [
        ("listes", {}, UnknownName, "Did you mean 'lists'"),
        ("lists", {"files": ["train.jsonl"], "first": 1}, UnknownName, "no key of the layout 'lists' is called 'first'"),
        ("lists", {}, InputError, "needs files"),
        ("lists", {"files": ["gone.jsonl"]}, InputError, "there is no"),
        ("collection", {"collection": "notes"}, InputError, "judgements or clicks"),
    ],
    ids=["layout", "key", "missing", "file", "clicks"],
)
def test_wrong_data_are_told(layout: str, options: dict[str, object], error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        read_groups(Source(layout=layout, options=options), written(tmp_path), tmp_path)
