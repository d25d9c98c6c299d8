"""What BM25 over page text finds, and what it costs, beside bare bm25s on the same pages.

Which cost dominates: reading the text out of the PDFs, then splitting it into words (nearly all of the time of a fit); a query
costs a pass over the postings of its words, a fraction of a millisecond, and our own part of it is choosing the best k.

    python tests/bench/bench_bm25.py ../shared/data/mmlongbench/dev

Measure: page recall, the mean over questions of the share of evidence pages among the first k, inside the question's document and
over all documents. Inside, pages that share no word with the question come after the others, in page order; bare bm25s, which
ranks them by a score of zero, gets the same rule. The difference has a 95 % interval from a bootstrap over documents.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt
import pypdfium2
import Stemmer

from mmrerank.parts import make
from mmrerank.types import Keys

CUTOFFS = (1, 3, 5, 10)
Find = Callable[[str, int, "Keys | None"], list[int]]  # text, k, allowed -> keys, best first, matched ones only


def pages_of(folder: Path) -> dict[str, list[str]]:
    """Text of every page by document."""
    texts = {}
    for path in sorted((folder / "pdfs").glob("*.pdf")):
        with pypdfium2.PdfDocument(path) as document:
            texts[path.name] = [page.get_textpage().get_text_range() for page in document]
    return texts


def questions_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "queries.jsonl").read_text("utf-8").splitlines()
    return [q for q in map(json.loads, lines) if q["evidence_pages"] and not q["evidence_out_of_range"]]


def bare(texts: list[str]) -> Find:
    """bm25s as its documentation shows it: its own words, English stop words, PyStemmer, its defaults."""
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    stopwords = set(bm25s.stopwords.STOPWORDS_EN)

    def find(text: str, k: int, allowed: Keys | None) -> list[int]:
        words = [stemmer.stemWord(word) for word in re.findall(r"(?u)\b\w\w+\b", text.lower()) if word not in stopwords]
        terms = index.get_tokens_ids(words)
        scores = index.get_scores_from_ids(terms) if terms else np.zeros(len(texts), np.float32)
        among = np.arange(len(texts)) if allowed is None else allowed
        order = among[np.argsort(-scores[among], kind="stable")]
        return [int(key) for key in order[:k] if scores[key] > 0]

    return find


def ours(texts: list[str], name: str) -> Find:
    index = make(name, station="index")
    index.fit(np.arange(len(texts)), texts)
    return lambda text, k, allowed: index.search(text, k, allowed=allowed).ids.tolist()


def page_recall(find: Find, questions: list[dict[str, Any]], ranges: dict[str, range]) -> npt.NDArray[np.float64]:
    """(n_questions, 2 * 4): recall at each cutoff inside the document, then over all."""
    rows = []
    for question in questions:
        pages = ranges[question["doc"]]
        evidence = {pages[number] for number in question["evidence_pages"]}
        inside = find(question["question"], len(pages), np.array(pages))
        inside += [key for key in pages if key not in set(inside)]
        everywhere = find(question["question"], CUTOFFS[-1], None)
        rows.append([len(evidence & set(found[:k])) / len(evidence) for found in (inside, everywhere) for k in CUTOFFS])
    return np.array(rows)


def interval(difference: npt.NDArray[np.float64], documents: npt.NDArray[Any]) -> tuple[float, float]:
    """95 % of the mean difference over all cutoffs, when documents are drawn anew."""
    random, groups = np.random.default_rng(0), [difference[documents == one].mean(axis=1) for one in np.unique(documents)]
    means = [np.concatenate([groups[i] for i in random.integers(0, len(groups), len(groups))]).mean() for _ in range(2000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="bm25_index")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    documents, questions = pages_of(given.folder), questions_of(given.folder)
    texts = [text for pages in documents.values() for text in pages]
    starts = np.cumsum([0, *map(len, documents.values())])
    ranges = {name: range(starts[i], starts[i + 1]) for i, name in enumerate(documents)}
    print(f"{platform.machine()}, {os.cpu_count()} cores; bm25s {bm25s.__version__}, PyStemmer {Stemmer.version()}, numpy {np.__version__}")
    print(f"{len(documents)} documents, {len(texts)} pages, {len(questions)} questions with evidence; {given.repeats} repeats")
    found, seconds = {}, {}
    for name, make_index in {"bare bm25s": bare, given.name: lambda texts: ours(texts, given.name)}.items():
        start = time.perf_counter()
        find = make_index(texts)
        fitted = time.perf_counter() - start
        found[name] = page_recall(find, questions, ranges)
        seconds[name] = timed(find, questions, given.repeats)
        print(f"{name:12s} in document", *(f"{v:.3f}" for v in found[name].mean(0)[:4]), end="   ")
        print("everywhere", *(f"{v:.3f}" for v in found[name].mean(0)[4:]), f"  fit {fitted:.1f} s, {1000 * seconds[name]:.3f} ms a query")
    difference = found[given.name] - found["bare bm25s"]
    low, high = interval(difference, np.array([question["doc"] for question in questions]))
    ratio = seconds[given.name] / seconds["bare bm25s"]
    print(f"ours - bare, mean over the eight: {difference.mean():+.4f} ({low:+.4f} to {high:+.4f}); time of a query {ratio:.2f} of bare")
    recall = {
        name: dict(zip([f"{w}@{k}" for w in ("in", "all") for k in CUTOFFS], v.mean(0).tolist(), strict=True)) for name, v in found.items()
    }
    print(json.dumps({"recall": recall, "difference": difference.mean(), "interval": [low, high], "query_time_ratio": ratio}))


def timed(find: Find, questions: list[dict[str, Any]], repeats: int) -> float:
    """Seconds of one question over all pages, k = 10: the median over repeats, after a warm-up."""
    spent = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for question in questions:
            find(question["question"], 10, None)
        spent.append((time.perf_counter() - start) / len(questions))
    return statistics.median(spent[1:])


if __name__ == "__main__":
    main()
