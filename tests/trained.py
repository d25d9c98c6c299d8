"""What tests of training share: a few judged questions, tiny models, and recipes made small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny_models import saved

from mmrerank.parts import make
from mmrerank.training.data import Group
from mmrerank.training.recipe import Band, Draw, Recipe, Source, Stage, read_recipe
from mmrerank.types import Candidate, Item, Query

QUESTIONS = ("what makes honey", "who is the first user", "is this the answer", "which image is relevant", "what is the question")
WORDS = ("bees make honey of nectar", "the first user thinks", "this is an answer", "no image is shown", "the question is: yes")


def rows(count: int = 5) -> list[dict[str, Any]]:
    """Judged lists: of each question's five texts the one at its own place is right."""
    return [
        {"id": f"q{n}", "query": QUESTIONS[n], "candidates": [{"text": text, "grade": int(k == n)} for k, text in enumerate(WORDS)]}
        for n in range(count)
    ]


def written(folder: Path, name: str = "train.jsonl", count: int = 5) -> Path:
    """The lists as a file; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows(count)), encoding="utf-8")
    return folder


def group(n: int = 0) -> Group:
    """One question with its texts."""
    row = rows()[n]
    items = [Item(item_id=f"{row['id']}-{k}", text=one["text"]) for k, one in enumerate(row["candidates"])]
    grades = {item.item_id: one["grade"] for item, one in zip(items, row["candidates"], strict=True)}
    return Group(query=Query(query_id=row["id"], text=row["query"]), candidates=tuple(Candidate(item=i) for i in items), grades=grades)


def source(**options: Any) -> Source:
    """The lists as a source, with groups of one right and three wrong texts."""
    draw = Draw(negatives=(Band(last=100, count=3),))
    return Source(layout="lists", options={"files": ["train.jsonl"], "first_stage": "bm25", **options}, draw=draw)


def small(name: str, steps: int = 2) -> Recipe:
    """A shipped recipe over the tiny lists: so many steps a stage, and nothing frozen that a tiny model has not."""
    recipe = read_recipe(name)
    teacher = {"teacher": recipe.data.options["teacher"]} if "teacher" in recipe.data.options else {}
    stages = tuple(replace(stage, steps=steps, groups=2, save_every=1, options=_short(stage), data=_own(stage)) for stage in recipe.stages)
    frozen = min(recipe.model.frozen_layers, 1)
    model = replace(recipe.model, frozen_layers=frozen)
    return replace(recipe, data=replace(source(**teacher), draw=recipe.data.draw), stages=stages, heldout=(), model=model)


def _own(stage: Stage) -> Source | None:
    """The tiny lists where a stage has data of its own."""
    return None if stage.data is None else replace(source(), draw=stage.data.draw)


def _short(stage: Stage) -> dict[str, Any]:
    options = dict(stage.options)
    return options | {"max_tokens": 4, "answers": 2} if stage.method == "reinforce" else options


def worded(folder: Path, architecture: str) -> Path:
    """A tiny checkpoint whose tokenizer has the words that rerankers ask for in one token each."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = folder / f"{architecture}-worded"
    if not place.exists():
        plain = saved(folder, architecture)
        tokenizer, network = AutoTokenizer.from_pretrained(plain), AutoModelForCausalLM.from_pretrained(plain)
        tokenizer.add_tokens(["yes", "no", "0"])
        torch.manual_seed(1)
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        network.save_pretrained(place)
        tokenizer.save_pretrained(place)
    return place


def model(folder: Path, **options: Any) -> Any:
    """A tiny model as a backend."""
    listed = "".join(f", {name}={value!r}" for name, value in options.items())
    return make(f"local/{folder}(device=cpu{listed})", station="backends")
