"""Measures an MLLM as the reranker of the shipped emoji: what each method gains over its first stage.

    python -m tools.mini_mllm.evaluate --data datasets/emoji --out runs/mini-measures

The model is the embedded one unless --backend names another. Targets are of the test split, whose combinations of role, gender and
skin tone no training has seen. `--out` gets measures.json and, of each method, the best and the ten worst queries as pictures.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from mmrerank.backends import open_backend
from mmrerank.collection import Collection
from mmrerank.parts import make
from mmrerank.protocols import Backend, Reranker, Retriever
from tools.mini_clip.data import Table, read_table
from tools.mini_mllm.gallery import draw_trials
from tools.mini_mllm.measures import area_interval, summary
from tools.mini_mllm.train import PICTURE_PX
from tools.mini_mllm.trials import (
    CARDS,
    PICTURES,
    Pair,
    Trial,
    candidates,
    card_questions,
    compare,
    composed,
    indexed,
    pairs,
    rerank,
    write_cards,
)

logger = logging.getLogger(__name__)
BEST = 4  # queries in the picture of a method, worst ones apart
WORST = 10
COLOURS = 96


class Evaluation:
    """One model over the queries of one split; `work` holds the collections and gets what is measured."""

    def __init__(self, backend: Backend, data: Path, work: Path, split: str, most: int) -> None:
        self.backend, self.data, self.work, self.split, self.most = backend, data, work, split, most
        work.mkdir(parents=True, exist_ok=True)
        self.table: Table = read_table(data, PICTURE_PX)
        self.emoji: Collection = indexed(work / "emoji", data / PICTURES)

    def square(self) -> dict[str, Any]:
        """Composed queries, `square` over `composed` at depth 9, in cells of the size of the pictures."""
        return self._reranked("square", "square(depth=9, cell_px=72, gutter_px=0)", 9, self.most)

    def square_16(self) -> dict[str, Any]:
        """The same at depth 16, in the grid that `square` draws by default."""
        return self._reranked("square_16", "square(depth=16)", 16, self.most // 2)

    def ragllava_composed(self) -> dict[str, Any]:
        """Composed queries, `ragllava` over `composed` at depth 9."""
        return self._reranked("ragllava_composed", "ragllava(modality=image)", 9, self.most)

    def square_fusion(self) -> dict[str, Any]:
        """Composed queries, `square_fusion` in place of `composed`, R@10 and R@1; every query of the split."""
        queries = composed(self.emoji, self.data, self.split, 10_000)
        trials = list(
            compare(queries, self._retriever("composed"), partial(self.emoji.version.retriever, "square_fusion"), 10, self.backend)
        )
        self._draw("square_fusion", trials, ("composed", "square_fusion"))
        return {"first_stage": "composed", **_of_stages(summary(trials, cutoff=10)), "at 1": _of_stages(summary(trials))}

    def mm_r5(self) -> dict[str, Any]:
        """Which card shows a picture, `mm_r5` at depth 5 over `lexical` (BM25 over the words on the cards)."""
        if not (self.work / CARDS).exists():
            write_cards(self.table, self.work / CARDS)
        cards = indexed(self.work / "cards", self.work / CARDS)
        retriever, questions = cards.version.retriever("lexical", None), card_questions(self.table, self.split, self.most)
        trials = list(rerank(questions, retriever, partial(_reranker, "mm_r5"), 5, self.backend))
        self._draw("mm_r5", trials)
        return {"first_stage": f"{retriever.name} over the words on the cards", **summary(trials)}

    def ragllava(self) -> dict[str, Any]:
        """Areas under the curve: pictures of the split against pictures one attribute off, by caption and by change."""
        measures: dict[str, Any] = {}
        for change in (False, True):
            questions = pairs(self.table, self.emoji, self.split, self.most, change=change)
            scores = [self._scores(pair) for pair in questions]
            measures["changes" if change else "captions"] = {"queries": len(questions), "AUC": area_interval(scores)}
        return measures

    def _scores(self, pair: Pair) -> Any:
        pictures = candidates(self.emoji, (pair.target, *pair.negatives))
        ranking = _reranker("ragllava(modality=image)", self.backend).rerank(pair.query, pictures)
        by_id = {candidate.item.item_id: candidate.score for candidate in ranking.candidates}
        return np.array([by_id[candidate.item.item_id] for candidate in pictures], dtype=np.float64)

    def _reranked(self, label: str, name: str, depth: int, most: int) -> dict[str, Any]:
        retriever = self._retriever("composed")
        queries = composed(self.emoji, self.data, self.split, most)
        trials = list(rerank(queries, retriever, partial(_reranker, name), depth, self.backend))
        self._draw(label, trials)
        return {"first_stage": retriever.name, "reranker": name, **summary(trials)}

    def _retriever(self, name: str) -> Retriever:
        return self.emoji.version.retriever(name, None)

    def _draw(self, label: str, trials: Sequence[Trial], stages: tuple[str, str] = ("first stage", "reranked")) -> None:
        """The queries that gained most, and those that lost most."""
        ordered = sorted(trials, key=lambda trial: trial.ranks[1] - trial.ranks[0])
        self._save(draw_trials(ordered[:BEST], stages), f"{label}-best.png")
        worst = [trial for trial in reversed(ordered) if trial.ranks[1] > trial.ranks[0]][:WORST]
        if worst:
            self._save(draw_trials(worst, stages), f"{label}-worst.png")

    def _save(self, picture: Image, name: str) -> None:
        picture.quantize(COLOURS).save(self.work / name, optimize=True)  # a third of the bytes, and nobody sees it


def _reranker(name: str, backend: Backend) -> Reranker:
    reranker: Reranker = make(name, station="rerankers", backend=backend)
    return reranker


def _of_stages(measures: dict[str, Any]) -> dict[str, Any]:
    """Without what only a reranker has, which is bound by the candidates it gets."""
    return {name: value for name, value in measures.items() if name not in ("ceiling", "share of the way")}


MEASURES: dict[str, Callable[[Evaluation], dict[str, Any]]] = {
    "ragllava": Evaluation.ragllava,
    "square": Evaluation.square,
    "square_16": Evaluation.square_16,
    "ragllava_composed": Evaluation.ragllava_composed,
    "mm_r5": Evaluation.mm_r5,
    "square_fusion": Evaluation.square_fusion,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure an MLLM as a reranker of the shipped emoji.")
    parser.add_argument("--backend", default="mini")
    parser.add_argument("--data", type=Path, required=True, help="datasets/emoji")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="test", choices=("dev", "test"))
    parser.add_argument("--queries", type=int, default=300, help="of each method, where the split has as many")
    parser.add_argument("--only", nargs="+", choices=tuple(MEASURES), default=list(MEASURES))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    backend = open_backend(options.backend, cache=None)
    evaluation = Evaluation(backend, options.data, options.out, options.split, options.queries)
    path = options.out / "measures.json"
    measures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measures |= {"model": backend.name, "weights": getattr(backend, "weights_hash", ""), "split": options.split}
    for name in options.only:
        measures[name] = MEASURES[name](evaluation)
        logger.info("%s %s", name, json.dumps(measures[name]))
        path.write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
