"""ViDoRe v3.1 reranking through the adapter, on a miniature that lies on disk as the tasks of mteb do: a folder for each language's corpus,
queries, judgements and candidates, documents with text and picture, read by mteb's own loader."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from makers import ColourEncoder, picture

from mmrerank.errors import InputError, UnknownName
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Prompt, Query, Ranking

CORPUS = {
    "p1": ("the gauge of the harbour", 1),
    "p2": ("a lamp that burns oil", 2),
    "p3": ("terns on the roof", 3),
    "p4": ("", 4),  # a picture alone
    "p5": ("oil in barrels", None),  # words alone
    "p6": ("", None),
}
QUESTIONS = {"french": {"q1": "which gauge", "q2": "what burns oil"}, "english": {"q1": "gauge of a harbour", "q3": "   "}}
QRELS = {"q1": {"p1": 2}, "q2": {"p2": 1, "p5": 1}, "q3": {"p3": 1}}
TOP = {"q1": ["p3", "p1", "p4", "p9", "p6"], "q2": ["p1", "p5", "p2"], "q3": ["p2", "p3"]}


@pytest.fixture(scope="module", autouse=True)
def mteb() -> Iterator[Any]:
    """The package, cut off from any network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something reached for the network")

    library = pytest.importorskip("mteb", reason="the extra 'mteb' is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket.connect", refuse)
        yield library


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from datasets import Dataset, Features, Image, Value

    folder = tmp_path_factory.mktemp("vidore")
    pages = [{"id": i, "text": text, "image": None if n is None else picture(n)} for i, (text, n) in CORPUS.items()]
    features = Features({"id": Value("string"), "text": Value("string"), "image": Image()})
    configs = []
    for language, questions in QUESTIONS.items():
        queries = [{"id": i, "text": text} for i, text in questions.items()]
        qrels = [{"query-id": q, "corpus-id": d, "score": s} for q in questions for d, s in QRELS[q].items()]
        top = [{"query-id": q, "corpus-ids": TOP[q]} for q in questions]
        parts = {"corpus": Dataset.from_list(pages, features=features), "queries": queries, "qrels": qrels, "top_ranked": top}
        for name, rows in parts.items():
            (folder / f"{language}-{name}").mkdir()
            table = rows if isinstance(rows, Dataset) else Dataset.from_list(rows)
            table.to_parquet(folder / f"{language}-{name}" / "test-00000-of-00001.parquet")
            configs.append(f"- config_name: {language}-{name}\n  data_files:\n  - split: test\n    path: {language}-{name}/test-*")
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(configs) + "\n---\n", encoding="utf-8")
    return folder


def miniature(folder: Path) -> Any:
    """The task of one domain and first stage, with the miniature as its data."""
    from mteb.tasks.reranking.multilingual.vidore3_bench_reranking import Vidore3ComputerScienceBM25sRerankingv2 as Domain

    own = {"dataset": {"path": str(folder), "revision": "1"}, "eval_langs": {"french": ["fra-Latn"], "english": ["eng-Latn"]}}

    class Miniature(Domain):  # type: ignore[misc, unused-ignore]
        metadata = Domain.metadata.model_copy(update=own)

    return Miniature()


def measured(model: Any, folder: Path) -> dict[str, float]:
    import mteb

    result = mteb.evaluate(model, miniature(folder), cache=None, show_progress_bar=False, encode_kwargs={"show_progress_bar": False})
    return {scores["hf_subset"]: scores["ndcg_at_10"] for scores in result.task_results[0].scores["test"]}


class Noting:
    """Turns the order round and keeps what it saw."""

    name = "noting"

    def __init__(self) -> None:
        self.calls: dict[str, list[Candidate]] = {}

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.calls[f"{query.query_id} {query.text}"] = list(candidates)
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in reversed(candidates)))


def test_the_benchmark_has_forty_tasks_of_this_layout() -> None:
    import mteb

    tasks = mteb.get_benchmark("ViDoRe(v3.1, reranking)").tasks
    assert len(tasks) == 40
    assert {(task.metadata.type, task.metadata.category) for task in tasks} == {("Reranking", "t2it")}


def test_rerankers_get_the_candidates_of_the_task_in_its_order_with_text_and_picture(task_folder: Path) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankReranker

    part = Noting()
    measured(MMRerankReranker(part), task_folder)
    assert sorted(part.calls) == ["q1 gauge of a harbour", "q1 which gauge", "q2 what burns oil"]
    assert [c.item.item_id for c in part.calls["q1 which gauge"]] == ["p3", "p1", "p4", "p6"]
    page, scan = part.calls["q1 which gauge"][1].item, part.calls["q1 which gauge"][2].item
    assert page.text == "the gauge of the harbour"
    assert page.image is not None
    assert page.image.open().tobytes() == picture(1).tobytes()
    assert (scan.text, scan.image is not None) == (None, True)
    assert part.calls["q2 what burns oil"][1].item.image is None


def test_strays_and_empty_queries_spoil_themselves_only(task_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankReranker, MMRerankSearch

    figures = measured(MMRerankReranker("bm25"), task_folder)
    assert figures["french"] == pytest.approx(1.0, abs=1e-4)
    assert figures["english"] == pytest.approx((1.0 + 0.63093) / 2, abs=1e-4)  # the empty query keeps the order of the first stage
    assert "p9" in caplog.text
    assert measured(MMRerankSearch(rerank="bm25"), task_folder)["french"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("rerank", ["bm25", "superglobal", ["bm25", "ragllava(modality=text)"], "square(depth=3)"])
def test_any_reranker_runs(task_folder: Path, rerank: Any) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankReranker

    def choose(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        return [0.0, 1.0]

    backend = FakeBackend(choose=choose, answer=lambda prompt: json.dumps({"ranking": [1, 2]}))
    encoder = TextToo()
    model = MMRerankReranker(rerank, backend=backend, encoder=encoder)
    assert set(measured(model, task_folder)) == {"french", "english"}


class TextToo(ColourEncoder):
    """Takes questions as well, all alike."""

    takes = frozenset({"image", "text"})

    def encode(self, values: list[Any], *, normalise: bool = True) -> Any:
        return super().encode([picture(1) if isinstance(value, str) else value for value in values], normalise=normalise)


def test_a_run_that_was_stopped_goes_on_and_shows_what_it_took(task_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankReranker

    caplog.set_level(logging.INFO, logger="mmrerank.integrations.mteb_adapter")
    backend = Stopping(after=3)
    with pytest.raises(KeyboardInterrupt):
        measured(MMRerankReranker("ragllava(modality=text)", backend=backend, folder=tmp_path), task_folder)
    lines = [line for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert [json.loads(line)["query_id"] for line in lines] == ["q1"]
    backend.after = 10**6
    asked = len(backend.prompts)
    model = MMRerankReranker("ragllava(modality=text)", backend=backend, folder=tmp_path)
    first = measured(model, task_folder)
    assert len(backend.prompts) - asked > 0
    before = len(backend.prompts)
    again = MMRerankReranker("ragllava(modality=text)", backend=backend, folder=tmp_path)
    assert measured(again, task_folder) == first
    assert len(backend.prompts) == before  # nothing is asked twice
    assert again.report() == model.report()
    assert "calls/query" in again.report()
    assert len(again.report().splitlines()) == 3
    assert "calls/query" in caplog.text
    other = MMRerankReranker("ragllava(modality=text, threshold=0.9)", backend=backend, folder=tmp_path)
    measured(other, task_folder)
    assert len(backend.prompts) > before  # another reranker is another run


class Stopping(FakeBackend):
    """Is interrupted after so many prompts."""

    def __init__(self, after: int) -> None:
        super().__init__(choose=lambda prompt, choices: [0.0, 1.0])
        self.after = after

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> Any:
        if len(self.prompts) + len(prompts) > self.after:
            raise KeyboardInterrupt
        return super().choice_logprobs(prompts, choices)


def test_a_line_half_written_is_asked_again(tmp_path: Path) -> None:
    from mmrerank.integrations._run_log import Line, RunLog, key_of

    log = RunLog(tmp_path / "task.jsonl")
    log.add("q1", key_of("a"), Line(order=("d1", "d2")))
    with (tmp_path / "task.jsonl").open("a") as file:
        file.write('{"query_id": "q2", "or')
    again = RunLog(tmp_path / "task.jsonl")
    assert again.line("q1", key_of("a")) == Line(order=("d1", "d2"))
    assert again.line("q1", key_of("b")) is None
    assert again.line("q2", key_of("a")) is None
    again.add("q2", key_of("a"), Line(order=("d3",)))
    assert RunLog(tmp_path / "task.jsonl").line("q2", key_of("a")) == Line(order=("d3",))


def test_a_mistake_is_told_when_it_is_made() -> None:
    from mmrerank.integrations.mteb_adapter import MMRerankReranker

    mistakes: Mapping[type[Exception], Sequence[Any]] = {
        UnknownName: [lambda: MMRerankReranker("bm26"), lambda: MMRerankReranker("bm25", depht=3)],
        InputError: [
            lambda: MMRerankReranker([]),
            lambda: MMRerankReranker("ragllava"),
            lambda: MMRerankReranker("bm25", depth=0),
            lambda: MMRerankReranker("bm25").search([], task_metadata=Named(), hf_split="test", hf_subset="default", top_k=3),
        ],
    }
    for error, makers in mistakes.items():
        for make_it in makers:
            with pytest.raises(error):
                make_it()


class Named:
    name = "a task"
