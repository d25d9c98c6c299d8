"""Which pages a first stage finds, by where the answer stands: text, table, chart, figure, layout.

Which cost dominates: reading, by far where pages have to be read by OCR (0.5 to 3 s a page on a core); a query costs one pass over
the postings of its words, or two where the question names a page.

    python tests/bench/bench_documents.py ../shared/data/mmlongbench/dev [--ocr never] [--choose]
    python tests/bench/bench_documents.py ../shared/data/sroie_receipts/dev --ocr auto
    python tests/bench/bench_documents.py ../shared/data/vidorag_example

Measure: page recall, the mean over questions of the share of evidence pages among the first k; inside the question's document
(pages that share no word with the question follow in page order) and over all documents. Intervals are 95 %, from a bootstrap
over documents, since questions on one document are no independent draws. `--choose` measures the choice of the weights itself:
in each of 5 folds of documents they are chosen on the other four, ten times over.

mmlongbench/dev, R@1 3 5 10 in the document, then over the whole set (30 Nov 2026):

    BM25 alone, text layers      .292 .481 .554 .700    .248 .346 .393 .461
    lexical, text layers         .369 .537 .611 .740    .290 .389 .457 .516
    BM25 alone, OCR by page      .375 .611 .683 .814    .336 .480 .539 .615
    lexical, OCR by page         .479 .677 .745 .860    .392 .527 .610 .684

OCR reads 238 pages: 209 without a text layer, 27 with little of one beside a large picture, one of running lines, one of letters that
mean nothing. Whether a large picture is .25, .3 or .5 of a page and little is 200, 400 or 900 letters moves no figure by more than .004.
Running heads and feet in front of the text give R@1 .369, behind it .352, left out .344 (with OCR .479, .458, .450): they name the
chapter, and the opening of a page counts for more. Before pages were chosen by their text layer, and heads moved (26 Nov; OCR 24 Nov;
nested choice of the weights on text layers .360 .525 .599 .738  .288 .382 .441 .502):

    lexical, text layers         .360 .535 .605 .743    .289 .387 .451 .518
    lexical, pages without text  .464 .661 .726 .845    .382 .515 .600 .675
      by OCR

What did not help, tried on 26 Nov on text layers: the change of the sum of the four recalls, in the document / over the set,
beside what is kept where nothing else is said.

- k1 of .6 to 2, b of .3 to .9, alone: -.05 to +.03 / -.10 to +.03, no pair better in both by more than .02.
- pairs of adjacent words as terms, weight .2 to .7: alone +.05 / +.04, but beside captions, the pairs that matter, +.01 / .00.
- neighbouring pages, weight .05 to .5: -.03 to -.12 / -.05 to +.00; the next page only, without openings: -.01 / +.02.
- idf within the document: alone +.02 / -.58, since scores of unlike documents then compare; .1 of it added: -.01 / -.01.
- the best passage of 50, 100 or 200 words added: -.03 to +.01 / -.05 to +.00.
- section and title from the PDF as a field, weight .05 to .5: .00 / .00 (23 of the 34 documents have neither).
- short lines as headings: +.04 / +.01, where the first 30 words give +.09 / +.05; the first 15 +.03 / -.02, the first 50 +.04 / -.01.
- a share of .5 of the best score in its document for every page: .00 / +.01; with OCR .00 / .00.
- numbers found in the first and last lines of pages as page numbers: +.01 / +.01, from two questions.
- "%" read as "percent": .00 / .00; letters and digits apart (FY2021 as fy 2021): -.02 / .00; each query word once: -.01 / .00;
  figures mentioned in running text, weight 2, beside captions: +.01 / +.01, with OCR +.01 / .00.
- fusion by rank with a small sentence encoder over passages: see bench_hybrid.py.
- .3 of the rarities of the words in the best three sentences added (26 Nov): R@1 .390, .302 over the set, R@10 .731, .506; `ask` does so.

A named page without any text is not found: the index holds pages with text only. Found as well, it would add .04 / .00.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt
from document_sets import DocumentSet, PageCorpus, Question, in_document, read_set

from mmrerank.parts import make
from mmrerank.types import Query

CUTOFFS = (1, 3, 5, 10)
PLAIN = "bm25_index(opening=0, captions=0)"
STAGES = {  # what is added, one thing after the other: index, retriever
    "BM25 alone": (PLAIN, "lexical(page=0, wording=all)"),
    "+ the question's wording": (PLAIN, "lexical(page=0)"),
    "+ openings": ("bm25_index(captions=0)", "lexical(page=0)"),
    "+ captions": ("bm25_index", "lexical(page=0)"),
    "lexical": ("bm25_index", "lexical"),  # and pages that are named
}
Numbers = npt.NDArray[np.float64]


def recalls(pages: DocumentSet, index: str, retriever: str) -> Numbers:
    """(n_questions, 8): page recall at each cutoff inside the document, then over all."""
    found = make(retriever, station="retrievers", corpus=PageCorpus(pages.items, index))
    return np.array([_recalls_of(question, pages, lambda query, k: found.retrieve(query, k).item_ids) for question in pages.questions])


def _recalls_of(question: Question, pages: DocumentSet, find: Callable[[Query, int], tuple[str, ...]]) -> list[float]:
    everywhere = find(Query(text=question.text), CUTOFFS[-1])
    inside: tuple[str, ...] = everywhere
    if question.document_id is not None:
        own = pages.documents[question.document_id]
        inside = find(Query(text=question.text, filter=in_document(question.document_id)), len(own))
        inside += tuple(page for page in own if page not in set(inside))
    return [len(question.evidence & set(ids[:k])) / len(question.evidence) for ids in (inside, everywhere) for k in CUTOFFS]


def interval(values: Numbers, groups: list[npt.NDArray[np.int64]], draws: int = 2000) -> Numbers:
    """(2, ...) 95 % of the mean of (n, ...) values when their groups are drawn anew."""
    random = np.random.default_rng(0)
    sums = np.stack([values[group].sum(axis=0) for group in groups])  # (n_groups, ...)
    sizes = np.array([len(group) for group in groups])
    chosen = random.integers(0, len(groups), (draws, len(groups)))
    means = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1).reshape(-1, *[1] * (values.ndim - 1))
    return np.percentile(means, [2.5, 97.5], axis=0)


def groups_of(pages: DocumentSet, kept: list[int]) -> list[npt.NDArray[np.int64]]:
    """Positions in `kept` of the questions on each document; without documents each question is a group."""
    names = [pages.questions[n].document_id or pages.questions[n].question_id for n in kept]
    return [np.array([place for place, name in enumerate(names) if name == one]) for one in sorted(set(names))]


def row_of(name: str, values: Numbers) -> str:
    cells = [f"{value:.3f}" for value in values]
    return f"{name:26s}" + " ".join(cells[:4]) + "   " + " ".join(cells[4:])


def show_stages(pages: DocumentSet) -> dict[str, Numbers]:
    print(f"{'R@1, 3, 5, 10':26s}in the document           over the whole set")
    found = {}
    for name, (index, retriever) in STAGES.items():
        found[name] = recalls(pages, index, retriever)
        print(row_of(name, found[name].mean(axis=0)))
    groups = groups_of(pages, list(range(len(pages.questions))))
    difference = found["lexical"] - found["BM25 alone"]
    for name, values in (("lexical", found["lexical"]), ("lexical - BM25 alone", difference)):
        low, high = interval(values, groups)
        print(row_of(f"{name}, low", low), row_of(f"{name}, high", high), sep="\n")
    return found


def show_sources(pages: DocumentSet, found: dict[str, Numbers]) -> dict[str, Any]:
    """Prints and returns R@1 and R@5 by evidence source; a question with two sources counts in both."""
    results: dict[str, Any] = {}
    print(
        f"\n{'by evidence source':20s}{'n':>4s}  in the document: R@1 and R@5 with 95 %          over the whole set: R@1 and R@5 with 95 %"
    )
    for source, count in Counter(source for question in pages.questions for source in question.sources).most_common():
        kept = [n for n, question in enumerate(pages.questions) if source in question.sources]
        for name in ("BM25 alone", "lexical"):
            values = found[name][kept][:, [0, 2, 4, 6]]
            low, high = interval(values, groups_of(pages, kept))
            cells = [f"{m:.3f} ({a:.3f}, {b:.3f})" for m, a, b in zip(values.mean(axis=0), low, high, strict=True)]
            print(f"{source[:19]:20s}{count:4d}  {'   '.join(cells)}  {name}")
            results[f"{source}, {name}"] = {"n": count, "mean": values.mean(axis=0).round(4).tolist(), "low": low.round(4).tolist()}
    return results


def choices() -> Iterator[tuple[str, str]]:
    """The grid of `--choose`: index and retriever names."""
    for k1, b, opening, captions, page in itertools.product((1.2, 1.5, 2.0), (0.75, 0.9), (0, 0.2, 0.4, 0.6), (0, 3, 6, 9), (0, 2, 4, 8)):
        if (k1, b) == (1.5, 0.75) or (opening, captions, page) == (0.4, 6, 4):
            yield f"bm25_index(k1={k1}, b={b}, opening={opening}, captions={captions})", f"lexical(page={page})"


def choose(pages: DocumentSet) -> Numbers:
    """Prints and returns the recall when each document is judged by weights that were chosen without it."""
    names = list(choices())
    table = np.stack([recalls(pages, index, retriever) for index, retriever in names])  # (n_choices, n_questions, 8)
    documents = sorted(pages.documents)
    own = np.array([documents.index(question.document_id or "") for question in pages.questions])
    random, means, taken = np.random.default_rng(0), [], Counter[tuple[str, str]]()
    for _ in range(10):
        fold = (random.permutation(len(documents)) % 5)[own]
        judged = np.zeros_like(table[0])
        for one in range(5):
            best = int(table[:, fold != one].mean(axis=(1, 2)).argmax())
            taken[names[best]] += 1
            judged[fold == one] = table[best][fold == one]
        means.append(judged.mean(axis=0))
    print("\nchosen without the document that is judged, mean of 10 divisions")
    print(row_of("nested choice", np.mean(means, axis=0)))
    for (index, retriever), times in taken.most_common(5):
        print(f"  {times:2d} of 50: {index}, {retriever}")
    return np.mean(means, axis=0)


def seconds_per_query(pages: DocumentSet, repeats: int) -> dict[str, float]:
    """Median seconds of a question over all pages, k = 10, after a warm-up, without reading pages from a disk."""
    spent: dict[str, float] = {}
    for name in ("BM25 alone", "lexical"):
        index, retriever = STAGES[name]
        found, times = make(retriever, station="retrievers", corpus=PageCorpus(pages.items, index)), []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            for question in pages.questions:
                found.retrieve(Query(text=question.text), 10)
            times.append((time.perf_counter() - start) / len(pages.questions))
        spent[name] = statistics.median(times[1:])
    return spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ocr", default="never", choices=("never", "auto", "required"))
    parser.add_argument("--choose", action="store_true", help="cross-validate the choice of the weights; some minutes")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    start = time.perf_counter()
    pages = read_set(given.folder, ocr=given.ocr)
    read = time.perf_counter() - start
    textless = sum(not item.text for item in pages.items)
    print(f"{platform.machine()}, {os.cpu_count()} cores; bm25s {bm25s.__version__}, numpy {np.__version__}; {given.repeats} repeats")
    print(f"{len(pages.documents)} documents, {len(pages.items)} pages, {textless} without text, ocr={given.ocr}, read in {read:.1f} s;")
    print(f"{len(pages.questions)} questions with evidence\n")
    found = show_stages(pages)
    sources = show_sources(pages, found) if any(question.sources for question in pages.questions) else {}
    chosen = choose(pages).round(4).tolist() if given.choose else None
    spent = seconds_per_query(pages, given.repeats)
    print("\nms a query:", ", ".join(f"{name} {1000 * value:.2f}" for name, value in spent.items()))
    means = {name: values.mean(axis=0).round(4).tolist() for name, values in found.items()}
    print(json.dumps({"ocr": given.ocr, "recall": means, "sources": sources, "nested_choice": chosen, "seconds_per_query": spent}))


if __name__ == "__main__":
    main()
