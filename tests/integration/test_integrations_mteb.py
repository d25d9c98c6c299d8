"""MTEB's contracts, tried on the installed package with miniature tasks: text to text, text to picture, both to picture, reranking."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import ColourEncoder, picture

from mmrerank.encoders import openclip, sentence
from mmrerank.errors import FormatError, InputError, MissingExtra, UnknownName
from mmrerank.measures.scoring import Judgements, score
from mmrerank.parts import module, names
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Query, Ranking

TEXTS = {
    "a/1": ("Harbour", "The gauge cost 1200 pounds."),
    "b 'two'": ("", "The lamp of the harbour burns oil."),
    "c::3#page=1": ("Birds", "Terns nest on the roof of the lamp room."),
    "d": ("", "   "),  # empty: nothing can find it
    "e": ("Oil", "Oil came by boat to the harbour, with lamp wicks."),
}
QUESTIONS = {"q1": "what did the harbour gauge cost", "q2": "which lamp burns oil in the harbour"}
QRELS = {"q1": {"a/1": 1}, "q2": {"b 'two'": 2, "e": 1}}
KINDS = {"t2t": ["text"], "t2i": ["text", "image"], "i2i": ["image"], "it2i": ["text", "image"]}
SETTINGS: dict[str, Any] = {"hf_split": "test", "hf_subset": "default", "encode_kwargs": {"batch_size": 2}, "num_proc": None}


@pytest.fixture(scope="module", autouse=True)
def mteb() -> Iterator[Any]:
    """The package, cut off from any network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something reached for the network")

    library = pytest.importorskip("mteb", reason="the extra 'mteb' is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket.connect", refuse)
        yield library


def task_of(category: str, queries: list[dict[str, Any]], corpus: list[dict[str, Any]], qrels: Any, top_ranked: Any = None) -> Any:
    """A task of the test's own, with its data in memory."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    from datasets import Dataset

    class Miniature(AbsTaskRetrieval):  # type: ignore[misc, unused-ignore]
        metadata = TaskMetadata(
            name="Miniature",
            type="Retrieval" if category == "t2t" else "Any2AnyRetrieval",
            category=category,
            modalities=KINDS[category],
            description="made by a test",
            dataset={"path": "none", "revision": "none"},
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **_: Any) -> None:
            parts = {"queries": Dataset.from_list(queries), "corpus": Dataset.from_list(corpus)}
            self.dataset = {"default": {"test": {**parts, "relevant_docs": dict(qrels), "top_ranked": top_ranked}}}
            self.data_loaded = True

    return Miniature()


def texts(top_ranked: Any = None, without: str = "") -> Any:
    corpus = [{"id": name, "title": title, "text": text} for name, (title, text) in TEXTS.items() if name != without]
    return task_of("t2t", [{"id": name, "text": text} for name, text in QUESTIONS.items()], corpus, QRELS, top_ranked)


def pictures(category: str) -> Any:
    """Nine pictures; each of three queries, made of what the category says, is for two of them."""
    queries: list[dict[str, Any]] = [{"id": f"q{n}"} for n in range(3)]
    for n, query in enumerate(queries):
        query |= {"text": f"block number {n}"} if "t" in category.split("2")[0] else {}
        query |= {"image": picture(20 + n)} if "i" in category.split("2")[0] else {}
    corpus = [{"id": f"p{n}", "image": picture(n)} for n in range(9)]
    return task_of(category, queries, corpus, {f"q{n}": {f"p{n}": 1, f"p{n + 4}": 2} for n in range(3)})


def figures(model: Any, task: Any, tmp_path: Path | None = None) -> dict[str, float]:
    """What mteb says of a model, less its nAUC."""
    import mteb

    cache = None if tmp_path is None else mteb.ResultCache(tmp_path)
    result = mteb.evaluate(model, task, cache=cache, show_progress_bar=False, encode_kwargs={"batch_size": 2, "show_progress_bar": False})
    scores = result.task_results[0].scores["test"][0]
    return {name: value for name, value in scores.items() if isinstance(value, float) and not name.startswith("nauc")}


def search(model: Any, task: Any, top_k: int = 1000) -> dict[str, list[str]]:
    """The documents of each query in the order of their scores, as mteb would ask for them."""
    task.load_data()
    parts = task.dataset["default"]["test"]
    model.index(parts["corpus"], task_metadata=task.metadata, **SETTINGS)
    scores_of = model.search(parts["queries"], task_metadata=task.metadata, top_k=top_k, top_ranked=parts["top_ranked"], **SETTINGS)
    assert all(len(set(scores.values())) == len(scores) for scores in scores_of.values())  # mteb would break a tie by the ids
    return {query: sorted(scores, key=lambda document: -scores[document]) for query, scores in scores_of.items()}


class Reversed:
    """Turns the order round, gives no scores, and keeps what it saw."""

    name = "reversed"

    def __init__(self) -> None:
        self.calls: list[tuple[Query, list[Candidate]]] = []

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.calls.append((query, list(candidates)))
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in reversed(candidates)))


def cosine_order(queries: Any, documents: Any, ids: Sequence[str]) -> list[list[str]]:
    return [[ids[n] for n in np.argsort(-(row @ documents.T), kind="stable")] for row in queries]


def agrees(figures: Mapping[str, float], orders: Mapping[str, Sequence[str]], qrels: Any) -> bool:
    scored = score(orders, Judgements(qrels=qrels), ["nDCG@10", "R@3", "RR@10"])
    theirs = {"nDCG@10": "ndcg_at_10", "R@3": "recall_at_3", "RR@10": "mrr_at_10"}
    return all(figures[theirs[name]] == pytest.approx(scored.mean(name), abs=1e-5) for name in theirs)


def test_each_adapter_is_what_mteb_takes_it_for() -> None:
    from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

    from mmrerank.integrations.mteb_adapter import MMRerankEncoder, MMRerankSearch

    kinds = (EncoderProtocol, CrossEncoderProtocol, SearchProtocol)
    assert [isinstance(MMRerankEncoder(openclip.tiny()), kind) for kind in kinds] == [True, False, False]
    assert [isinstance(MMRerankSearch(), kind) for kind in kinds] == [False, False, True]


def test_texts_are_encoded_with_title_and_the_prompt_for_queries() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankEncoder

    encoder = sentence.tiny()
    joined = [f"{title} {text}".strip() for title, text in TEXTS.values()]
    orders = cosine_order(encoder.encode_queries(list(QUESTIONS.values())), encoder.encode(joined), list(TEXTS))
    assert orders != cosine_order(encoder.encode(list(QUESTIONS.values())), encoder.encode(joined), list(TEXTS))
    assert agrees(figures(MMRerankEncoder(encoder), texts()), dict(zip(QUESTIONS, orders, strict=True)), QRELS)


def test_texts_and_pictures_are_summed_at_length_1() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankEncoder

    encoder = openclip.tiny()
    both = encoder.encode([f"block number {n}" for n in range(3)]) + encoder.encode([picture(20 + n) for n in range(3)])
    ids = [f"p{n}" for n in range(9)]
    orders = cosine_order(both, encoder.encode([picture(n) for n in range(9)]), ids)
    task = pictures("it2i")
    values = figures(MMRerankEncoder(encoder), task)
    task.load_data()
    assert agrees(values, dict(zip(("q0", "q1", "q2"), orders, strict=True)), task.dataset["default"]["test"]["relevant_docs"])


@pytest.mark.parametrize("name", names("encoders"))
def test_any_encoder_is_worth_the_same_alone_and_as_a_pipeline(name: str) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankEncoder, MMRerankSearch

    encoder = module(name, station="encoders").tiny()

    def task() -> Any:
        return texts(without="d") if encoder.takes == {"text"} else pictures("i2i" if encoder.takes == {"image"} else "t2i")

    assert figures(MMRerankSearch(encoders=[encoder]), task()) == figures(MMRerankEncoder(encoder), task())


def test_the_whole_pipeline_is_scored_as_its_last_stage_orders() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    part = Reversed()
    plain = search(MMRerankSearch(), texts())
    assert plain["q1"][0] == "a/1"
    assert "d" not in plain["q2"]
    turned = search(MMRerankSearch(rerank=[part], depth=2), texts())
    assert turned == {query: [*ids[:2][::-1], *ids[2:]] for query, ids in plain.items()}
    assert part.calls[0][1][0].item.text == "Harbour The gauge cost 1200 pounds."
    assert agrees(figures(MMRerankSearch(rerank=[part], depth=2), texts()), turned, QRELS)


def test_rerankers_see_the_pictures_of_query_and_documents() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    part = Reversed()
    model = MMRerankSearch(encoders=[openclip.tiny()], retriever="composed", rerank=[part])
    search(model, pictures("it2i"))
    query, candidates = part.calls[1]
    assert (query.query_id, query.text) == ("q1", "block number 1")
    assert query.images[0].open().tobytes() == picture(21).tobytes()
    pixels = {c.item.item_id: c.item.image.open().tobytes() for c in candidates if c.item.image is not None}
    assert sorted(pixels.values()) == sorted(picture(n).tobytes() for n in range(9))


def test_a_reranker_named_gets_the_descriptors_of_the_first_stage() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    encoder = openclip.tiny()
    plain = search(MMRerankSearch(encoders=[encoder]), pictures("i2i"))
    refined = search(MMRerankSearch(encoders=[encoder], rerank=["superglobal(neighbours=3)"], depth=6), pictures("i2i"))
    assert refined != plain
    for query, ids in plain.items():
        assert (sorted(refined[query][:6]), refined[query][6:]) == (sorted(ids[:6]), ids[6:])


def test_a_reranking_task_gets_all_its_candidates_back_and_no_others() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    shortlists = {"q1": ["e", "c::3#page=1", "d", "b 'two'"], "q2": []}
    orders = search(MMRerankSearch(), texts(shortlists))
    assert orders["q1"][-1] == "d"
    assert sorted(orders["q1"]) == sorted(shortlists["q1"])
    assert orders["q2"] == []


def test_what_the_rerankers_hold_to_be_irrelevant_is_last() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    backend = FakeBackend(choose=lambda prompt, choices: [-0.1, -3.0] if "gauge" in str(prompt[-1].parts[-1]) else [-3.0, -0.1])
    model = MMRerankSearch(rerank=["ragllava(threshold=0.5, modality=text)"], backend=backend)
    assert search(model, texts({"q1": ["b 'two'", "e", "a/1"], "q2": ["e"]}))["q1"][0] == "a/1"


def test_no_more_than_asked_for() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    assert [len(ids) for ids in search(MMRerankSearch(), texts(), top_k=2).values()] == [2, 2]


def test_a_kept_collection_is_not_encoded_again_and_follows_its_corpus(tmp_path: Path) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    encoder = ColourEncoder()
    first = search(MMRerankSearch(encoders=[encoder], folder=tmp_path), pictures("i2i"))
    again = ColourEncoder()
    assert search(MMRerankSearch(encoders=[again], folder=tmp_path), pictures("i2i")) == first
    assert again.encoded == 3  # the queries
    changed = pictures("i2i")
    changed.load_data()
    parts = changed.dataset["default"]["test"]
    parts["corpus"] = parts["corpus"].select([8, 7])
    changed.load_data = lambda **_: None
    assert all(sorted(ids) == ["p7", "p8"] for ids in search(MMRerankSearch(encoders=[again], folder=tmp_path), changed).values())


def test_a_temporary_collection_is_gone_with_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = MMRerankSearch()
    search(model, texts())
    search(model, texts())
    assert len(list(tmp_path.glob("mmrerank-mteb-*"))) == 1
    del model
    assert not list(tmp_path.glob("mmrerank-mteb-*"))


def test_mteb_takes_no_result_of_another_pipeline_for_ours(tmp_path: Path) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    plain, shallow, deep = MMRerankSearch(), MMRerankSearch(rerank=[Reversed()], depth=1), MMRerankSearch(rerank=[Reversed()], depth=3)
    results = [figures(model, texts(), tmp_path) for model in (plain, shallow, deep)]
    assert results[0] == results[1] != results[2]
    assert len(list(tmp_path.rglob("Miniature.json"))) == 3
    assert figures(deep, texts(), tmp_path) == pytest.approx(results[2], abs=1e-5)


def test_encoders_of_other_weights_are_other_models() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankEncoder

    one, other = sentence.tiny(), openclip.tiny()
    metas = [MMRerankEncoder(encoder).mteb_model_meta for encoder in (one, other)]
    assert metas[0].experiment_kwargs["weights"] == one.weights_hash != ""
    assert metas[0].experiment_name != metas[1].experiment_name
    assert [meta.modalities for meta in metas] == [["text"], ["image", "text"]]


@pytest.mark.parametrize(
    ("make_it", "error", "message"),
    [
        (lambda adapter: adapter.MMRerankSearch(rerank=["superglobl"]), UnknownName, "Did you mean 'superglobal'"),
        (lambda adapter: adapter.MMRerankSearch(rerank=["square"]), InputError, "needs backend"),
        (lambda adapter: adapter.MMRerankSearch(rerank=["superglobal"]), InputError, "needs encoder"),
        (lambda adapter: adapter.MMRerankSearch(retriever="lexicall"), UnknownName, "lexical"),
        (lambda adapter: adapter.MMRerankSearch(retriever="square_fusion"), InputError, "needs backend"),
        (lambda adapter: adapter.MMRerankSearch(depth=0), InputError, "at least 1"),
        (lambda adapter: figures(adapter.MMRerankEncoder(ColourEncoder()), texts()), ValueError, "none overlap"),
        (lambda adapter: adapter.MMRerankEncoder(ColourEncoder()).encode([{"text": ["a"]}]), InputError, "takes image; the task has text"),
        (lambda adapter: adapter.MMRerankSearch()._best(Query(text="a"), 1, None), InputError, "no corpus"),
    ],
)
def test_a_mistake_is_told(make_it: Any, error: type[Exception], message: str) -> None:
    from mmrerank.integrations import mteb_adapter

    with pytest.raises(error, match=message):
        make_it(mteb_adapter)


class Choosy(ColourEncoder):
    """Refuses one picture."""

    def prepare(self, value: Any) -> Any:
        if value.tobytes() == picture(7).tobytes():
            raise FormatError("too dull", path="7")
        return super().prepare(value)


def test_a_document_that_cannot_be_indexed_is_named() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankSearch

    with pytest.raises(InputError, match="document 'p7' of Miniature cannot be indexed: too dull"):
        search(MMRerankSearch(encoders=[Choosy()]), pictures("i2i"))


def test_without_its_package_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mteb"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "mmrerank.integrations.mteb_adapter", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'mmrerank\[mteb\]'"):
        importlib.import_module("mmrerank.integrations.mteb_adapter")
