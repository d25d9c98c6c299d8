"""What a real small language model is worth as a reranker of texts, without any training: by likelihood, and by asking it yes or no.

Which cost dominates: the forward passes, one a candidate; a core runs some 150 to 350 tokens of this model a second, so that twenty
passages are most of half a minute. Baselines: the order that the data have, BM25, and BM25 fused with the likelihood; ceiling: the best
order of the same candidates. Gains are paired by query over BM25, with 95 % intervals.

    make real-models
    python tests/bench/bench_text_rerank.py [--sets wikiqa-dev dl19] [--limit N] [--out runs/text_rerank]

Rankings are kept below --out, and a second run goes on where the first was stopped. Texts are cut to 100 words. The wording of the
request was written and not chosen by any figure; another goes by --prompt, to be chosen on WikiQA train or TrecQA train. TREC DL 2019
and the dev sets are for reporting. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # read when numpy is imported

from measuring import processor_name  # noqa: E402
from reranked import DATA, MODELS, Answers, JudgedSet, Method, ceiling, dl19, figures, first_stage, fused, run, sentences, table  # noqa: E402

from mmrerank.backends import open_backend  # noqa: E402
from mmrerank.parts import make  # noqa: E402
from mmrerank.protocols import Backend  # noqa: E402

SETS = ("wikiqa-dev", "trecqa-dev", "dl19", "wikiqa-train", "trecqa-train")  # the last two for choosing a wording
WORDS = 100  # of each text, for every method
METHODS = {
    "likelihood": f"query_likelihood(passage_words={WORDS})",
    "yes or no": f"ragllava(modality=text, caption_words={WORDS})",
}


def judged_set(name: str, data: Path, depth: int) -> JudgedSet:
    if name == "dl19":
        return dl19(data, depth)
    return sentences(data, *name.split("-"))


def by_words(judged: JudgedSet, out: Path) -> Answers:
    """BM25: that of the data where they have one, else over the candidates of each query."""
    if judged.name == "dl19":
        return first_stage(judged)
    return run(judged, Method(label="bm25", reranker=make("bm25", station="rerankers")), out)


def measured(judged: JudgedSet, backend: Backend, out: Path, prompt: str) -> list[dict[str, Any]]:
    """The figures of every method on one set, over BM25."""
    words = by_words(judged, out)
    methods = {**METHODS, **({"likelihood": f"query_likelihood(passage_words={WORDS}, prompt={prompt!r})"} if prompt else {})}
    answers = {
        label: run(judged, Method(label=label, reranker=make(name, station="rerankers", backend=backend), backend=backend), out)
        for label, name in methods.items()
    }
    both = fused("BM25 fused with likelihood", words, answers["likelihood"])
    order = [] if judged.name == "dl19" else [first_stage(judged)]
    return [figures(judged, words, one) for one in (*order, words, *answers.values(), both, ceiling(judged))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["wikiqa-dev", "dl19"])
    parser.add_argument("--model", type=Path, default=MODELS / "smollm2", help="a folder that local/PATH reads")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--depth", type=int, default=20, help="candidates of TREC DL that are reranked")
    parser.add_argument("--prompt", default="", help="a TOML file with another wording of the request")
    parser.add_argument("--limit", type=int, help="queries of each set; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/text_rerank"))
    options = parser.parse_args(arguments)
    missing = "no model: make real-models" if not options.model.is_dir() else "no evaluation data beside the repository"
    if not (options.model.is_dir() and options.data.is_dir()):
        print(json.dumps({"bench": "text_rerank", "skipped": missing}))
        return
    backend = open_backend(f"local/{options.model}", cache=None)
    print(f"{processor_name()}, Python {platform.python_version()}, {options.model.name}")
    results = {}
    for name in options.sets:
        judged = judged_set(name, options.data, options.depth).some(options.limit)
        results[name] = measured(judged, backend, options.out, options.prompt)
        print(f"\n{name}, {len(judged.queries)} queries, up to {judged.depth} candidates\n\n{table(judged, results[name])}\n", flush=True)
    print(json.dumps({"bench": "text_rerank", "model": options.model.name, "depth": options.depth, "sets": results}))


if __name__ == "__main__":
    main()
