"""What every framework adapter must do, tried on the real package of its extra; an extra that is not installed is skipped."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from makers import ColourEncoder, coloured, picture

from mmrerank.errors import BackendError, InputError, MissingExtra, UnknownName
from mmrerank.parts import make
from mmrerank.pipeline import EncodedOnTheFly
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query, Ranking

QUERY = "which page names the harbour?"
SHUFFLED = [3, 1, 5, 2, 4]
NAMES = ["one", "two", "three", "four", "five"]


@dataclass(frozen=True)
class Row:
    """What a caller gets back, the same for every framework."""

    text: str
    score: float | None
    metadata: dict[str, Any]


class LangChain:
    extra, module, package = "langchain", "langchain_adapter", "langchain_core"

    def documents(self, texts: Sequence[str], ids: Sequence[str | None], metadata: Sequence[dict[str, Any]]) -> list[Any]:
        from langchain_core.documents import Document

        return [Document(page_content=t, id=i, metadata=dict(m)) for t, i, m in zip(texts, ids, metadata, strict=True)]

    def adapter(self, reranker: Any, top: int | None = None, **options: Any) -> Any:
        from mmrerank.integrations.langchain_adapter import MMRerankCompressor

        return MMRerankCompressor(reranker=reranker, top_n=top, **options)

    def rerank(self, adapter: Any, documents: list[Any], query: str = QUERY) -> list[Row]:
        return [self.row(document) for document in adapter.compress_documents(documents, query)]

    async def rerank_later(self, adapter: Any, documents: list[Any]) -> list[Row]:
        return [self.row(document) for document in await adapter.acompress_documents(documents, QUERY)]

    def row(self, document: Any) -> Row:
        return Row(document.page_content, document.metadata.get("relevance_score"), document.metadata)


class LlamaIndex:
    extra, module, package = "llama-index", "llama_index_adapter", "llama_index"

    def documents(self, texts: Sequence[str], ids: Sequence[str | None], metadata: Sequence[dict[str, Any]]) -> list[Any]:
        from llama_index.core.schema import NodeWithScore, TextNode

        nodes = [TextNode(text=t, id_=i or "", metadata=dict(m)) for t, i, m in zip(texts, ids, metadata, strict=True)]
        return [NodeWithScore(node=node, score=0.5) for node in nodes]

    def adapter(self, reranker: Any, top: int | None = None, **options: Any) -> Any:
        from mmrerank.integrations.llama_index_adapter import MMRerankPostprocessor

        return MMRerankPostprocessor(reranker=reranker, top_n=top, **options)

    def rerank(self, adapter: Any, documents: list[Any], query: str = QUERY) -> list[Row]:
        return [self.row(document) for document in adapter.postprocess_nodes(documents, query_str=query)]

    async def rerank_later(self, adapter: Any, documents: list[Any]) -> list[Row]:
        return [self.row(document) for document in await adapter.apostprocess_nodes(documents, query_str=QUERY)]

    def row(self, document: Any) -> Row:
        return Row(document.text, document.score, document.metadata)


class Haystack:
    extra, module, package = "haystack", "haystack_adapter", "haystack"

    def documents(self, texts: Sequence[str], ids: Sequence[str | None], metadata: Sequence[dict[str, Any]]) -> list[Any]:
        from haystack import Document

        return [Document(content=t, id=i or "", meta=dict(m), score=0.5) for t, i, m in zip(texts, ids, metadata, strict=True)]

    def adapter(self, reranker: Any, top: int | None = None, **options: Any) -> Any:
        from mmrerank.integrations.haystack_adapter import MMRerankRanker

        return MMRerankRanker(reranker=reranker, top_k=top, **options)

    def rerank(self, adapter: Any, documents: list[Any], query: str = QUERY) -> list[Row]:
        return [self.row(document) for document in adapter.run(query=query, documents=documents)["documents"]]

    async def rerank_later(self, adapter: Any, documents: list[Any]) -> list[Row]:
        return [self.row(document) for document in (await adapter.run_async(query=QUERY, documents=documents))["documents"]]

    def row(self, document: Any) -> Row:
        return Row(document.content, document.score, document.meta)


@pytest.fixture(scope="module", params=[LangChain(), LlamaIndex(), Haystack()], ids=lambda door: door.extra)
def door(request: pytest.FixtureRequest) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")  # read when it is imported; on, it writes to the home folder
        pytest.importorskip(request.param.package, reason=f"the extra {request.param.extra!r} is not installed")
        yield request.param


class ByColour:
    """A part of a user's own: the redder the picture, the better."""

    name = "by_colour"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        reds = {c.item.item_id: float(c.item.image.open().getpixel((0, 0))[0]) for c in candidates if c.item.image}
        scored = [Candidate(item=c.item, score=reds[c.item.item_id]) for c in candidates]
        return Ranking(query_id=query.query_id, candidates=tuple(sorted(scored, key=lambda c: -(c.score or 0.0))))


class Reversed:
    """Turns the order round and keeps what it was given, to look at."""

    name = "reversed"

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.candidates = list(candidates)
        return Ranking(query_id=query.query_id, candidates=tuple(reversed(candidates)))


def likes(relevance: dict[str, float]) -> FakeBackend:
    """A model that says Yes to a prompt by the word of `relevance` in it."""

    def choose(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        text = " ".join(part for message in prompt for part in message.parts if isinstance(part, str))
        share = next(value for word, value in relevance.items() if re.search(rf"\b{word}\b", text))
        return [share if choice.strip() == "Yes" else 0.0 for choice in choices]

    return FakeBackend(choose=choose)


def in_words(count: int = 5) -> list[str]:
    return [f"page {name}" for name in NAMES[:count]]


def plain(door: Any, metadata: dict[str, Any] | None = None) -> list[Any]:
    return door.documents(in_words(), [f"id-{n}" for n in range(5)], [{"n": n, **(metadata or {})} for n in range(5)])


def test_the_order_is_that_of_the_reranker_itself(door: Any, tmp_path: Path) -> None:
    for n in range(5):
        picture(n).save(tmp_path / f"{n}.png")
    backend = FakeBackend(answer=lambda prompt: json.dumps({"ranking": SHUFFLED}))
    documents = door.documents(in_words(), [f"id-{n}" for n in range(5)], [{"image_path": str(tmp_path / f"{n}.png")} for n in range(5)])
    from mmrerank.json_io import picture_from

    own = [Candidate(item=Item(item_id=str(n), image=picture_from(f"{n}.png", tmp_path))) for n in range(5)]
    expected = make("square", station="rerankers", backend=backend).rerank(Query(text=QUERY), own)
    rows = door.rerank(door.adapter("square", backend=backend), documents)
    assert [row.text for row in rows] == [in_words()[int(item_id)] for item_id in expected.item_ids]
    assert [row.text for row in rows] == [in_words()[mark - 1] for mark in SHUFFLED]
    assert [row.metadata["mmrerank_reason"] for row in rows] == [expected.notes.reasons[item_id] for item_id in expected.item_ids]
    assert backend.prompts[0] == backend.prompts[1]  # the pictures too are the same, pixel by pixel


def test_an_order_without_scores_wears_no_old_ones(door: Any) -> None:
    rows = door.rerank(door.adapter(Unscored()), plain(door, {"relevance_score": 0.9}))
    if door.extra == "langchain":
        assert all("relevance_score" not in row.metadata for row in rows)
    assert [row.score for row in rows] == [None] * 5


class Unscored:
    name = "unscored"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in reversed(candidates)))


@pytest.mark.parametrize("seed", range(3))
def test_scores_go_to_the_documents_they_were_given_for(door: Any, seed: int) -> None:
    margins = dict(zip(NAMES, [2.0, -0.5, 3.0, 0.25, 1.0], strict=True))
    order = random.Random(seed).sample(range(5), 5)
    documents = door.documents([in_words()[n] for n in order], [None] * 5, [{}] * 5)
    rows = door.rerank(door.adapter("ragllava(threshold=0.0, modality=text)", backend=likes(margins)), documents)
    assert [row.text for row in rows] == ["page three", "page one", "page five", "page four", "page two"]
    for row in rows:
        assert row.score == pytest.approx(1 / (1 + 2.718281828 ** -margins[row.text.split()[1]]), abs=1e-4)


def test_what_is_held_to_be_irrelevant_is_left_out(door: Any) -> None:
    backend = likes(dict(zip(NAMES, [2.0, -1.0, 3.0, -2.0, 1.0], strict=True)))
    rows = door.rerank(door.adapter("ragllava(threshold=0.5, modality=text)", backend=backend), plain(door))
    assert [row.text for row in rows] == ["page three", "page one", "page five"]


def test_nothing_of_the_caller_is_changed(door: Any) -> None:
    documents = plain(door, {"tags": ["a", {"b": 1}], "mmrerank_reason": "an earlier one", "relevance_score": 0.1})
    before, same = copy.deepcopy(documents), list(documents)
    rows = door.rerank(door.adapter(Reversed()), documents)
    assert documents == before
    assert all(document is other for document, other in zip(documents, same, strict=True))
    rows[0].metadata["added"] = 1
    assert documents == before


def test_text_and_metadata_are_kept(door: Any) -> None:
    rows = door.rerank(door.adapter(Reversed()), plain(door, {"author": "Ada"}))
    assert [row.text for row in rows] == in_words()[::-1]
    assert [row.metadata["n"] for row in rows] == [4, 3, 2, 1, 0]
    assert all(row.metadata["author"] == "Ada" for row in rows)


def test_an_earlier_reason_does_not_stay_beside_a_new_order(door: Any) -> None:
    rows = door.rerank(door.adapter(Reversed()), plain(door, {"mmrerank_reason": "an earlier one", "mmrerank_notes": ["fallback"]}))
    assert all("mmrerank_reason" not in row.metadata and "mmrerank_notes" not in row.metadata for row in rows)


def test_equal_and_missing_ids_survive(door: Any) -> None:
    texts = ["same", "same", "page three", "page four", "page five"]
    documents = door.documents(texts, ["twin", "twin", None, None, "own"], [{"n": n} for n in range(5)])
    part = Reversed()
    rows = door.rerank(door.adapter(part), documents)
    assert [row.metadata["n"] for row in rows] == [4, 3, 2, 1, 0]
    assert len({candidate.item.item_id for candidate in part.candidates}) == 5
    assert part.candidates[4].item.item_id == "own"


def test_nothing_in_gives_nothing_out(door: Any) -> None:
    assert door.rerank(door.adapter("ragllava", backend=FakeBackend()), []) == []
    assert door.rerank(door.adapter(Reversed()), [], query="") == []


@pytest.mark.parametrize(("top", "count"), [(1, 1), (3, 3), (5, 5), (9, 5), (None, 5)])
def test_the_best_few_come_back(door: Any, top: int | None, count: int) -> None:
    rows = door.rerank(door.adapter(Reversed(), top), plain(door))
    assert [row.text for row in rows] == in_words()[::-1][:count]


def test_pictures_come_as_path_uri_bytes_and_pil(door: Any, tmp_path: Path) -> None:
    import base64
    import io

    def png(n: int) -> bytes:
        stream = io.BytesIO()
        coloured(n).save(stream, "PNG")
        return stream.getvalue()

    coloured(3).save(tmp_path / "three.png")
    uri = f"data:image/png;base64,{base64.b64encode(png(1)).decode()}"
    pictures = [{"image_path": str(tmp_path / "three.png")}, {"image": uri}, {"image": png(8)}, {"image": coloured(5)}]
    pictures.append({"source": str(tmp_path / "three.png")} if door.extra == "langchain" else {"file_path": str(tmp_path / "three.png")})
    rows = door.rerank(door.adapter(ByColour()), door.documents(in_words(), [None] * 5, pictures))
    assert [row.text for row in rows] == ["page three", "page four", "page one", "page five", "page two"]
    assert [row.score for row in rows] == [200.0, 125.0, 75.0, 75.0, 25.0]


def test_a_picture_on_a_network_is_not_fetched_but_said(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something reached for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    documents = door.documents(["a", "b"], [None, None], [{"image_url": "https://example.invalid/a.png"}, {"image": coloured(1)}])
    rows = door.rerank(door.adapter("ragllava(threshold=0.0, modality=image)", backend=FakeBackend()), documents)
    assert [row.text for row in rows] == ["b", "a"]
    assert rows[1].score is None
    assert rows[0].metadata["mmrerank_notes"] == ["completed"]
    assert any("nothing is fetched" in note for note in rows[1].metadata["mmrerank_notes"])


def test_paths_stay_within_the_folder(door: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    coloured(1).save(tmp_path / "in" / "a.png")
    coloured(2).save(tmp_path / "secret.png")
    documents = door.documents(["a", "b"], [None, None], [{"image_path": "../secret.png"}, {"image_path": "a.png"}])
    adapter = door.adapter("ragllava(threshold=0.0, modality=image)", backend=FakeBackend(), folder=tmp_path / "in")
    rows = door.rerank(adapter, documents)
    assert [(row.text, row.score is None) for row in rows] == [("b", False), ("a", True)]


def test_descriptors_are_made_of_the_candidates(door: Any) -> None:
    pictures = [{"image": picture(n)} for n in range(5)]
    encoder = ColourEncoder()
    own = [Candidate(item=Item(item_id=str(n), image=_Handle(picture(n)))) for n in range(5)]
    part = Encoding(encoder)
    query = Query(text=QUERY)
    expected = make("superglobal", station="rerankers", descriptors=EncodedOnTheFly(part, own)).rerank(query, own)
    rows = door.rerank(door.adapter("superglobal", encoder=part), door.documents(in_words(), [None] * 5, pictures))
    assert [row.text for row in rows] == [in_words()[int(item_id)] for item_id in expected.item_ids]
    assert [row.score for row in rows] == pytest.approx([c.score for c in expected.candidates])


@dataclass(frozen=True)
class _Handle:
    picture: Any

    def open(self) -> Any:
        return self.picture


class Encoding(ColourEncoder):
    """Takes a text too, as one row that is the same for all."""

    takes = frozenset({"image", "text"})

    def __init__(self, inner: ColourEncoder) -> None:
        super().__init__()

    def encode(self, values: list[Any], *, normalise: bool = True) -> Any:
        return super().encode([coloured(7) if isinstance(value, str) else value for value in values], normalise=normalise)


def test_our_errors_pass_through(door: Any) -> None:
    def broken(prompt: Prompt, choices: Sequence[str]) -> Sequence[float]:
        raise BackendError("the server is gone", retryable=True)

    adapter = door.adapter("ragllava(modality=text)", backend=FakeBackend(choose=broken))
    with pytest.raises(BackendError, match="the server is gone"):
        door.rerank(adapter, plain(door))
    with pytest.raises(InputError, match="neither text nor a picture"):
        door.rerank(door.adapter(Reversed()), plain(door), query="")


@pytest.mark.parametrize(
    ("make_it", "error", "message"),
    [
        (lambda door: door.adapter("superglobl"), UnknownName, "Did you mean 'superglobal'"),
        (lambda door: door.adapter("square(dept=3)"), UnknownName, "depth"),
        (lambda door: door.adapter("square"), InputError, "needs backend"),
        (lambda door: door.adapter("superglobal"), InputError, "needs encoder"),
        (lambda door: door.adapter(Reversed(), 0), InputError, "at least 1"),
        (lambda door: door.adapter(object()), InputError, "a part with `name` and `rerank`"),
        (lambda door: door.adapter("square", backend="lokal/x"), UnknownName, "backend"),
    ],
)
def test_a_mistake_is_told_when_the_adapter_is_made(door: Any, make_it: Callable[[Any], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make_it(door)


def test_asynchronous_calls_give_the_same(door: Any) -> None:
    adapter, documents = door.adapter(Reversed()), plain(door)
    assert asyncio.run(door.rerank_later(adapter, documents)) == door.rerank(adapter, documents)


def test_a_repaired_order_says_so(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    adapter = door.adapter("square", backend=FakeBackend(answer=lambda prompt: "I cannot tell."))
    rows = door.rerank(adapter, door.documents(in_words(), [None] * 5, [{"image": coloured(n)} for n in range(5)]))
    assert [row.text for row in rows] == in_words()
    assert all(row.metadata["mmrerank_notes"][0] == "fallback" for row in rows)
    assert "fallback" in caplog.text


def test_without_its_package_the_install_line_is_given(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == door.package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"mmrerank.integrations.{door.module}", raising=False)
    with pytest.raises(MissingExtra, match=re.escape(f"pip install 'mmrerank[{door.extra}]'")):
        importlib.import_module(f"mmrerank.integrations.{door.module}")
