"""The recipes over pictures: each trains for two steps on the embedded model and leaves a folder that ranks; noise over pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from trained import small

from mmrerank.backends import open_backend
from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.pictures import picture
from mmrerank.training.collate import Collator, Sample
from mmrerank.training.data import Judged, read_groups
from mmrerank.training.journal import Journal
from mmrerank.training.losses import named_loss
from mmrerank.training.network import Student
from mmrerank.training.noise import diffused
from mmrerank.training.recipe import Band, Draw, Model, Source, read_recipe, shipped
from mmrerank.training.run import Training
from mmrerank.types import Candidate, Item, Query

COLOURS = ("red", "green", "blue")
PICTURES = [name for name in shipped() if read_recipe(name).data.layout in ("card", "captions", "collection")]
LISTS = Source(layout="lists", options={"files": ["cards.jsonl"]}, draw=Draw(negatives=(Band(count=2),)))


def cards(folder: Path) -> Path:
    """Three questions over three pictures each, as a file beside them."""
    folder.mkdir(exist_ok=True)
    for name in COLOURS:
        Image.new("RGB", (36, 36), name).save(folder / f"{name}.png")
    shown = [{"id": name, "image": f"{name}.png", "text": f"a {name} card"} for name in COLOURS]
    rows = [{"query": f"the {wanted}", "candidates": [{**one, "grade": int(one["id"] == wanted)} for one in shown]} for wanted in COLOURS]
    (folder / "cards.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_recipes_over_pictures_ship() -> None:
    assert {"ragllava", "ragllava_noise", "mm_r5", "lychee"} <= set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_recipe_trains_two_steps_and_what_it_leaves_ranks(name: str, tmp_path: Path) -> None:
    recipe = replace(small(name), data=LISTS)
    card = Training.of(recipe, tmp_path / "out", data=cards(tmp_path / "data"), cache=tmp_path / "cache").run()
    assert [stage["steps"] for stage in card["stages"]] == [2] * len(recipe.stages)
    assert (tmp_path / "out" / "curves.png").is_file()
    backend = open_backend(f"local/{tmp_path / 'out' / 'model'}(device=cpu)", cache=None)
    part = make(recipe.stages[-1].reranker.replace("mm_r5", "mm_r5(max_tokens=8)"), station="rerankers", backend=backend)
    candidates = read_groups(LISTS, tmp_path / "data", tmp_path).groups[0].candidates
    assert sorted(part.rerank(Query(text="the red"), candidates).item_ids) == sorted(COLOURS)


def test_what_no_prompt_has_of_a_query_is_said_before_it_is_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = replace(small("mm_r5", steps=1), stages=small("mm_r5", steps=1).stages[:1])
    query = Query(query_id="q", text="the same in red", images=(picture(Image.new("RGB", (36, 36), "blue")),))
    group = read_groups(LISTS, cards(tmp_path / "data"), tmp_path).groups[0]
    training = Training.of(replace(recipe, data=LISTS), tmp_path / "out", data=tmp_path / "data", cache=tmp_path / "cache")
    judged = Judged(groups=(replace(group, query=query),), first_stage="as given")
    training.out.mkdir()
    student = Student(make("mini(device=cpu)", station="backends"), Model(), seed=0)
    training._stage(recipe.stages[0], student, judged, tmp_path / "stage", Journal(training.out))
    assert "left aside, since this method does not use it: 1 picture" in (training.out / "log.txt").read_text(encoding="utf-8")
    assert "1 picture" in caplog.text


def test_a_picture_that_a_list_names_lies_beside_it(tmp_path: Path) -> None:
    group = read_groups(LISTS, cards(tmp_path), tmp_path).groups[1]
    assert [one.item.image.open().getpixel((0, 0)) for one in group.candidates if one.item.image] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert [group.grade(one) for one in group.candidates] == [0, 1, 0]


# ------------------------------------------------------------------ noise


def test_noise_has_the_mean_and_deviation_of_its_schedule() -> None:
    torch.manual_seed(0)
    noisy = diffused(torch.ones(200_000))
    assert float(noisy.mean()) == pytest.approx(0.863, abs=0.01)
    assert float(noisy.std()) == pytest.approx(0.505, abs=0.01)


def _rows(student: Student, image: bool) -> Collator:
    return Collator("mm_r5" if image else "mm_r5(modality=text)", student.backend, answer="judged_ids")  # type: ignore[arg-type]


def _sample() -> Sample:
    items = [Item(item_id=name, text=f"a {name} card", image=picture(Image.new("RGB", (36, 36), name))) for name in COLOURS]
    return Sample(query=Query(text="the red"), candidates=tuple(Candidate(item=item) for item in items), grades=(1.0, 0.0, 0.0))


def test_a_batch_is_also_passed_with_noise_where_the_loss_asks_for_it() -> None:
    student = Student(make("mini(device=cpu)", station="backends"), Model(), seed=0)
    rows = _rows(student, image=True)([_sample()])
    assert "noisy_logits" not in student(rows)
    tensors = student(rows, {"noisy_logits"})
    assert tensors["noisy_logits"].shape == tensors["token_logits"].shape
    assert not tensors["noisy_logits"].requires_grad
    assert not torch.allclose(tensors["noisy_logits"], tensors["token_logits"])
    assert float(named_loss("noise_injected")(**tensors).detach()) > 0


def test_noise_over_texts_is_refused() -> None:
    student = Student(make("mini(device=cpu)", station="backends"), Model(), seed=0)
    with pytest.raises(InputError, match="pictures"):
        student(_rows(student, image=False)([_sample()]), {"noisy_logits"})
