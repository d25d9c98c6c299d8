"""Queries and candidates as JSON: what is read, and what is refused with the line."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import ColourEncoder, InMemory, coloured, picture

from mmrerank.errors import FormatError, InputError
from mmrerank.json_io import picture_from, query_from, read_candidates, read_query
from mmrerank.parts import make
from mmrerank.pipeline import EncodedOnTheFly, rerank_candidates
from mmrerank.types import Candidate, Item, Query


def write(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records), encoding="utf-8")
    return path


def data_uri(number: int) -> str:
    data = io.BytesIO()
    picture(number).save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def test_a_query_with_a_path_and_a_data_uri(tmp_path: Path) -> None:
    picture(3).save(tmp_path / "three.png")
    file = write(tmp_path / "q.json", {"query_id": "7", "text": "in red", "images": ["three.png", data_uri(4)], "exclude_text": ["boat"]})
    query = read_query(file)
    assert (query.query_id, query.text, query.exclude_text) == ("7", "in red", ("boat",))
    assert [np.asarray(image.open()).tolist() for image in query.images] == [np.asarray(picture(n)).tolist() for n in (3, 4)]


def test_candidates_keep_their_order_and_scores(tmp_path: Path) -> None:
    file = write(tmp_path / "c.jsonl", {"item_id": "b", "text": "x", "score": 2}, "", {"item_id": "a", "image": data_uri(1), "score": None})
    candidates = read_candidates(file)
    assert [(c.item.item_id, c.score) for c in candidates] == [("b", 2.0), ("a", None)]


def test_candidates_bring_what_is_known_of_them(tmp_path: Path) -> None:
    known = {"title": "Report", "stages": {"lexical": [1, 2.5]}}
    candidates = read_candidates(write(tmp_path / "c.jsonl", {"item_id": "a", "metadata": known}, {"item_id": "b", "metadata": None}))
    assert [dict(one.item.metadata) for one in candidates] == [known, {}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no JSON"),
        ("[]", "expected an object"),
        ({"item_id": ""}, "non-empty"),
        ({"item_id": "a", "picture": "x"}, "unknown fields picture"),
        ({"item_id": "a", "score": "high"}, "score is a number"),
        ({"item_id": "a", "text": 3}, "text is a text"),
        ({"item_id": "a", "image": 3}, "a path or a data URI"),
        ({"item_id": "a", "metadata": []}, "a mapping"),
        ({"item_id": "first"}, "stands twice"),
    ],
)
def test_a_bad_candidate_is_refused_with_its_line(tmp_path: Path, line: Any, message: str) -> None:
    file = write(tmp_path / "c.jsonl", {"item_id": "first"}, line)
    with pytest.raises(FormatError, match=message) as caught:
        read_candidates(file)
    assert caught.value.line == 2


def test_pictures_from_the_net_and_paths_without_a_folder_are_refused(tmp_path: Path) -> None:
    for named, folder in (("http://example.org/a.png", tmp_path), ("a.png", None), ("data:image/png,abc", None), ("data:x;base64,!", None)):
        with pytest.raises(InputError):
            picture_from(named, folder)
    with pytest.raises(FormatError, match="neither text nor a picture"):
        query_from({"query_id": "q"})


def test_candidates_of_another_system_are_reranked_by_descriptors_made_now() -> None:
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(picture(n)))) for n in range(5)]
    source = EncodedOnTheFly(ColourEncoder(), candidates)
    reranker = make("superglobal(neighbours=0)", descriptors=source)
    result = rerank_candidates(Query(images=(InMemory(picture(3)),)), candidates, [reranker])
    assert result.hits[0].item.item_id == "3"
    assert [stage.name for stage in result.stages] == ["given", reranker.name]
    source_of_text = EncodedOnTheFly(ColourEncoder(), [Candidate(item=Item(item_id="t", text="only text"))])
    with pytest.raises(InputError, match="no image"):
        source_of_text.of_items(Query(text="x"), ["t"])


def test_no_candidates_give_no_hits() -> None:
    source = EncodedOnTheFly(ColourEncoder(), [])
    assert rerank_candidates(Query(images=(InMemory(coloured(1)),)), [], [make("superglobal", descriptors=source)]).hits == ()


def test_a_query_may_say_the_task_in_a_sentence(tmp_path: Path) -> None:
    assert query_from({"text": "in red", "instruction": "Find doors"}).instruction == "Find doors"
    assert query_from({"text": "in red", "instruction": "  "}).instruction is None
    with pytest.raises(FormatError, match="instruction is a text; got int"):
        query_from({"text": "in red", "instruction": 7})
    with pytest.raises(InputError, match="the instruction of query 'query' is a text; got list"):
        Query(text="in red", instruction=["Find doors"])  # type: ignore[arg-type]
