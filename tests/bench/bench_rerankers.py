"""Rerankers side by side: every one that ships and can be made from a model alone, over the same candidates and the same model.

    python tests/bench/bench_rerankers.py --set emoji          300 composed queries over the shipped emoji, `composed`, with `mini`
    python tests/bench/bench_rerankers.py --set cards          cards with a picture and its name, `lexical`, with `mini`
    python tests/bench/bench_rerankers.py --set dl19           TREC DL 2019, BM25, with SmolLM2 (make real-models)

Which cost dominates: the model. Methods are found, not listed, and run with their default options; --also adds names with options of their
own, --only takes some. Each keeps a JSON line a query below --out, so that what was stopped goes on where it stopped, and a method that
is new is run alone. --max-tokens cuts the answers of those that write, for a model that would write on for minutes. --budget-s stops a
method behind the query that reaches so many seconds: all methods see the queries in one order drawn by a fixed seed, and each is
compared with the first stage over its own queries.

Baselines: the first stage, and `bm25`, which asks no model; ceiling: the best order of the same candidates. Gains are paired by query with
95 % intervals; a method whose interval lies below 0 harms, and stands there as one that does. With twenty queries or more each method
stands once more behind a guard, whose rule is fitted on one half of the queries and measured on the other, and the reverse. Ends with a
table in Markdown and one JSON line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # read when numpy is imported

from measuring import processor_name  # noqa: E402
from reranked import DATA, MODELS, ROOT, Answers, JudgedSet, Method, ceiling, dl19, figures, first_stage, guarded, run, table  # noqa: E402

sys.path.insert(0, str(ROOT))  # for tools/, which is not installed

from mmrerank.backends import open_backend  # noqa: E402
from mmrerank.collection import capabilities  # noqa: E402
from mmrerank.errors import MMRerankError  # noqa: E402
from mmrerank.parts import WrappingPart, make, module, options_of, parse, stage_of  # noqa: E402
from mmrerank.protocols import Backend, DeclaredView, Retriever  # noqa: E402
from mmrerank.rerankers._guarding import FEWEST  # noqa: E402

EMOJI = ROOT / "datasets" / "emoji"
DEPTHS = {"emoji": 9, "cards": 5, "dl19": 10}
ALSO = {  # options that the embedded model was trained for: cells of the size of its pictures, a picture without its name
    "emoji": ("square(depth=9, cell_px=72, gutter_px=0)", "ragllava(modality=image)", "query_likelihood(modality=image)"),
    "cards": (),
    "dl19": (),
}


def emoji(data: Path, out: Path, depth: int) -> JudgedSet:
    """Composed queries of the test split: a picture and what shall change."""
    from tools.mini_mllm.trials import PICTURES, composed, indexed

    collection = indexed(out / "emoji", EMOJI / PICTURES)
    return _judged("emoji", "R@1", composed(collection, EMOJI, "test", 300), collection.version.retriever("composed", None), depth)


def cards(data: Path, out: Path, depth: int) -> JudgedSet:
    """Which card shows a picture that is described in other words than those on it."""
    from tools.mini_clip.data import read_table
    from tools.mini_mllm.train import PICTURE_PX
    from tools.mini_mllm.trials import CARDS, card_questions, indexed, write_cards

    pictures = read_table(EMOJI, PICTURE_PX)
    if not (out / CARDS).exists():
        out.mkdir(parents=True, exist_ok=True)
        write_cards(pictures, out / CARDS)
    collection = indexed(out / "cards", out / CARDS)
    return _judged("cards", "R@1", card_questions(pictures, "test", 300), collection.version.retriever("lexical", None), depth)


def _judged(name: str, measure: str, queries: Sequence[Any], retriever: Retriever, depth: int) -> JudgedSet:
    from tools.mini_mllm.trials import first

    return JudgedSet(
        name=name,
        first_stage=retriever.name,
        measure=measure,
        depth=depth,
        queries=tuple((one.query, first(one, retriever, depth)) for one in queries),
        qrels={one.query.query_id: dict.fromkeys(one.relevant, 1) for one in queries},
    )


def passages(data: Path, out: Path, depth: int) -> JudgedSet:
    return dl19(data, depth)


SETS: dict[str, Callable[[Path, Path, int], JudgedSet]] = {"emoji": emoji, "cards": cards, "dl19": passages}


# ------------------------------------------------------------------


def answered(judged: JudgedSet, names: Sequence[str], backend: Backend, out: Path, budget_s: float) -> Iterator[Answers]:
    """What each method makes of the set, one after the other; one that cannot be made, or looks at what is not there, says so."""
    for name in names:
        if why := _unfit(judged, name):
            yield Answers(label=name, records={}, refusal=why)
            continue
        try:
            method = Method(label=name, reranker=make(name, station="rerankers", backend=backend), backend=backend)
        except MMRerankError as error:
            yield Answers(label=name, records={}, refusal=error.message)
            continue
        yield run(judged, method, out, budget_s)


def _unfit(judged: JudgedSet, name: str) -> str:
    """Why a method has nothing to look at in this set; "" where it has."""
    factory = module(stage_of(name, station="rerankers").part.part, station="rerankers")
    texts_alone = all(candidate.item.image is None for _, candidates in judged.queries for candidate in candidates)
    if texts_alone and isinstance(factory, DeclaredView) and "text" not in factory.LOOKS_AT:
        return "it looks at pictures, and there are none"
    return ""


def shortened(name: str, most: int) -> str:
    """The name with answers of at most so many tokens, where the method, or the one within it, has such an option.

    >>> shortened("rebel(group=5)", 96), shortened("bm25", 96)
    ('rebel(group=5, max_tokens=96)', 'bm25')
    """
    part = parse(name)
    factory = module(part.part, station="rerankers")
    options = dict(part.options)
    if "max_tokens" in (field.name for field in dataclasses.fields(factory.Options)):
        options["max_tokens"] = most
    if isinstance(factory, WrappingPart):
        options["rerank"] = shortened(factory.inner(options_of(part, factory.Options)), most)
    return str(dataclasses.replace(part, options=options))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=tuple(SETS), default="emoji")
    parser.add_argument("--backend", help="mini for pictures, SmolLM2 for texts, where none is named")
    parser.add_argument("--depth", type=int, help="candidates; 9 emoji, 5 cards, 10 passages by default")
    parser.add_argument("--queries", type=int, default=40, help="of each method, where the set has as many")
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="of each method")
    parser.add_argument("--max-tokens", type=int, help="of an answer that is written; each method's own by default")
    parser.add_argument("--only", nargs="+", help="these alone")
    parser.add_argument("--also", nargs="+", default=[], help="these too, such as cross_encoder/PATH")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("runs/rerankers"))
    options = parser.parse_args(arguments)
    backend = options.backend or ("mini" if options.set != "dl19" else f"local/{MODELS / 'smollm2'}")
    if options.set == "dl19" and not options.data.is_dir():
        print(json.dumps({"bench": "rerankers", "skipped": "no evaluation data beside the repository"}))
    elif backend.startswith("local/") and not Path(backend.removeprefix("local/").partition("(")[0]).is_dir():
        print(json.dumps({"bench": "rerankers", "skipped": "no model: make real-models, or --backend"}))
    else:
        compare(options, backend)


def compare(options: argparse.Namespace, backend: str) -> None:
    """Runs and prints everything; the figures of a method as soon as it is done."""
    judged = SETS[options.set](options.data, options.out, options.depth or DEPTHS[options.set]).some(options.queries)
    names = options.only or [*capabilities.rerankers({"backend"}), *ALSO[options.set], *options.also]
    if options.max_tokens:
        names = [shortened(name, options.max_tokens) for name in names]
    print(f"{processor_name()}, Python {platform.python_version()}, {backend.rpartition('/')[2]}")
    base = first_stage(judged)
    rows = [figures(judged, base, base)]
    for answers in answered(judged, names, open_backend(backend, cache=None), options.out, options.budget_s):
        rows.append(figures(judged, base, answers))
        print(json.dumps(rows[-1]), flush=True)
        if len(answers.records) >= 2 * FEWEST:
            rows.append(figures(judged, base, guarded(judged, answers)))
    rows.append(figures(judged, base, ceiling(judged)))
    print(f"\n{judged.name}, {judged.first_stage}, depth {judged.depth}, {backend.rpartition('/')[2]}\n\n{table(judged, rows)}\n")
    result = {"bench": "rerankers", "set": judged.name, "first_stage": judged.first_stage, "depth": judged.depth, "methods": rows}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
