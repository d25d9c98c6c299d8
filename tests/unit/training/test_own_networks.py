"""mvp, mtm and ranknovo as they are trained: what a batch holds, what a stage moves, and that what is saved ranks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trained import rows, written

from mmrerank.errors import InputError, UnknownName
from mmrerank.models.peptides import peptide_distance, tokens_of, weights
from mmrerank.parts import make
from mmrerank.rerankers.mtm import _tiny
from mmrerank.rerankers.mvp import _tiny_views
from mmrerank.training.collate import Sample
from mmrerank.training.data import read_groups
from mmrerank.training.losses import named_loss
from mmrerank.training.networks import mtm, mvp, ranknovo, ranknovo_union
from mmrerank.training.recipe import Band, Draw, Model, Recipe, Source, Stage, read_recipe
from mmrerank.training.run import Training
from mmrerank.training.supervised import sample_of
from mmrerank.types import Candidate, Item, Query
from tools.peptides.make import lines

OF_STAGE = {"mvp": Stage(reranker="mvp(length=64)", loss="mvp"), "mtm": Stage(reranker="mtm", loss="bce", groups=2)}
QUOTES = Stage(reranker="mtm", loss="overlap")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data with a tiny BERT for each network, judged lists and spectra."""
    folder = tmp_path_factory.mktemp("data")
    for name, network in (("views", _tiny_views(4)), ("sentences", _tiny())):
        network.encoder.save_pretrained(folder / name)
        network.tokenizer.save_pretrained(folder / name)
    (folder / "peptides").mkdir()
    (folder / "peptides" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines("train", 6)), encoding="utf-8")
    (folder / "union.jsonl").write_text("".join(json.dumps(union(n)) + "\n" for n in range(4)), encoding="utf-8")
    return written(folder)


def union(n: int) -> dict[str, Any]:
    """A question whose three candidates come from two stages; the one that both have is right."""
    stages: dict[str, dict[str, Any]] = {"a": {"bm25": [1, 3.0]}, "b": {"bm25": [2, 2.0]}, "c": {"dense": [2, 0.1]}}
    stages["b"]["dense"] = [1, 0.5 + n / 10]
    candidates = [{"id": f"{n}-{name}", "metadata": {"stages": one}} for name, one in stages.items()]
    return {"id": f"u{n}", "query": f"question {n}", "candidates": candidates, "qrels": {f"{n}-b": 2, f"{n}-c": 1}}


def sample(n: int = 0, count: int = 5) -> Sample:
    """A question of the tests' lists with the first of its texts."""
    row = rows()[n]
    some = row["candidates"][:count]
    candidates = tuple(Candidate(item=Item(item_id=f"{n}-{k}", text=one["text"])) for k, one in enumerate(some))
    grades = tuple(float(one["grade"]) for one in some)
    return Sample(query=Query(query_id=row["id"], text=row["query"]), candidates=candidates, grades=grades)


def begun(name: str, root: Path, **options: Any) -> Any:
    """A network as its recipe begins it, in evaluation mode."""
    base, module, own = {"mvp": ("views", mvp, {}), "mtm": ("sentences", mtm, {"sentences": 2, "patterns": 1})}[name]
    return module.build(Model(network=name, base=base, options=own | options), root, 0).eval()


def test_a_batch_of_mvp_scores_as_its_reranker_does_whatever_stands_beside_it(root: Path) -> None:
    trainee = begun("mvp", root)
    batch = trainee.collator(OF_STAGE["mvp"])([sample(0, 3), sample(1)])
    tensors = trainee(batch)
    for n, one in enumerate((sample(0, 3), sample(1))):
        expected = trainee.network.view_scores(one.query.text, one.texts, length=64, batch=2).mean(dim=0)
        np.testing.assert_allclose(tensors["scores"][n, : len(one.texts)].detach(), expected, atol=1e-5)
    assert tensors["mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert tensors["anchors"].shape == (2, 4, 16)


def test_anchors_of_mvp_begin_with_length_one(root: Path) -> None:
    anchors = begun("mvp", root)(begun("mvp", root).collator(OF_STAGE["mvp"])([sample(1)]))["anchors"]
    np.testing.assert_allclose(anchors.detach().norm(dim=-1), np.ones((1, 4)), atol=1e-3)


def test_the_right_candidate_is_first_for_mvp_whatever_the_teacher_says() -> None:
    """Teacher: B > A > C, A is right: wanted is the order A > B > C."""
    loss, anchors = named_loss("mvp", {"upright": 0.0}), torch.eye(2)[None]
    scores = torch.tensor([[0.3, -0.2, 1.0]])
    own = loss(scores=scores, targets=torch.tensor([[1, 0, 0]]), teacher=torch.tensor([[2.0, 5.0, 1.0]]), anchors=anchors)
    wanted = named_loss("listnet", {"temperature": 0.8, "by": "inverse_rank"})(scores=scores, targets=torch.tensor([[3, 2, 1]]))
    assert float(own) == pytest.approx(float(wanted))


def test_anchors_that_are_alike_cost_mvp_what_the_note_says() -> None:
    tensors = {"scores": torch.zeros(1, 2), "targets": torch.tensor([[1, 0]])}
    upright, alike = (named_loss("mvp")(**tensors, anchors=anchors) for anchors in (torch.eye(4)[None], torch.ones(1, 4, 4)))
    assert float(alike - upright) == pytest.approx(12.0, abs=1e-4)


def test_mvp_learns_a_few_lists_by_heart(root: Path) -> None:
    trainee, loss = begun("mvp", root), named_loss("mvp", {"temperature": 0.2})
    batch = trainee.collator(OF_STAGE["mvp"])([sample(n) for n in range(4)])
    optimiser = torch.optim.AdamW(trainee.trained.values(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss(**trainee(batch)).backward()
        optimiser.step()
    assert trainee(batch)["scores"].argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_the_first_stage_of_mtm_moves_embeddings_and_the_first_layer_alone(root: Path) -> None:
    trainee = begun("mtm", root)
    trainee.begin(QUOTES, [sample()], resumes=False)
    open_weights = {name for name, weight in trainee.named_parameters() if weight.requires_grad}
    assert open_weights == {
        name for name, _ in trainee.named_parameters() if ".embeddings." in name or ".layer.0." in name or name.startswith("rouge.")
    }
    batch = trainee.collator(QUOTES)([sample(n) for n in range(5)])
    assert len(set(batch.rouge)) == len(batch.rouge)  # equal overlaps count once
    named_loss("overlap")(**trainee(batch)).backward()
    assert all(weight.grad is not None for name, weight in trainee.named_parameters() if name in open_weights and "type" not in name)


def test_articles_leave_what_the_first_stage_of_mtm_has_taught(root: Path) -> None:
    trainee = begun("mtm", root)
    trainee.begin(OF_STAGE["mtm"], [sample(n) for n in range(5)], resumes=False)
    named_loss("bce")(**trainee(trainee.collator(OF_STAGE["mtm"])([sample(0), sample(1, 3)]))).backward()
    moved = {name for name, weight in trainee.named_parameters() if weight.grad is not None}
    assert not any(".embeddings." in name or ".layer.0." in name for name in moved)
    assert any(".layer.1." in name for name in moved)
    assert any("maps" in name for name in moved)


def test_scores_of_mtm_are_those_of_its_reranker(root: Path, tmp_path: Path) -> None:
    trainee = begun("mtm", root)
    trainee.begin(OF_STAGE["mtm"], [sample(n) for n in range(5)], resumes=False)
    trainee.save(tmp_path)
    ranking = make(f"mtm/{tmp_path}", station="rerankers").rerank(sample().query, list(sample().candidates))
    raw = {one.item.item_id: one.raw_score for one in ranking.candidates}
    scores = trainee(trainee.collator(OF_STAGE["mtm"])([sample()]))["scores"][0]
    np.testing.assert_allclose(scores.detach(), [raw[one.item.item_id] for one in sample().candidates], atol=1e-5)


def test_the_memory_of_mtm_is_made_once_and_moved_after_a_stage(root: Path) -> None:
    trainee, some = begun("mtm", root), [sample(n) for n in range(5)]
    trainee.begin(OF_STAGE["mtm"], some, resumes=False)
    first = trainee.network.memory.clone()
    trainee.begin(OF_STAGE["mtm"], some, resumes=False)
    assert first.any()
    assert torch.equal(trainee.network.memory, first)
    trainee.finish(OF_STAGE["mtm"], some)
    np.testing.assert_allclose((trainee.network.memory - first).norm(), 0.3 * first.norm(), rtol=1e-4)  # one pattern, one step
    assert "network.memory" in trainee.trained


def test_too_few_right_articles_make_no_memory(root: Path) -> None:
    trainee = begun("mtm", root, patterns=9)
    with pytest.raises(InputError, match="9 patterns"):
        trainee.begin(OF_STAGE["mtm"], [sample()], resumes=False)


def spectrum(n: int = 0) -> tuple[dict[str, Any], Sample]:
    """A line of the training file, and the sample that training makes of it."""
    line = list(lines("train", n + 1))[n]
    candidates = tuple(Candidate(item=Item(item_id=one["id"], text=one["text"])) for one in line["candidates"])
    grades = tuple(float(line["qrels"].get(one["id"], 0)) for one in line["candidates"])
    return line, Sample(query=Query(query_id=line["id"], text=line["query"]), candidates=candidates, grades=grades)


def test_the_truth_of_a_spectrum_is_measured_to_and_not_shown() -> None:
    pairs = [spectrum(n) for n in range(4)]
    batch = ranknovo.batch_of([one for _, one in pairs])
    place = 0
    for (line, _), some in zip(pairs, batch.proposals, strict=True):
        assert 2 <= len(some) <= 4
        truth = weights(tokens_of(line["truth"]))
        for one in some:
            assert float(batch.distances[place]) == pytest.approx(peptide_distance(weights(one), truth), abs=1e-5)
            place += 1
    assert place == len(batch.distances)
    assert len(batch.offsets) == sum(len(one) for some in batch.proposals for one in some)


def test_a_batch_of_ranknovo_guesses_what_its_network_does() -> None:
    trainee = ranknovo.build(Model(network="ranknovo", options={"width": 16, "hidden": 16, "layers": 1, "peaks": 10}), Path(), 0).eval()
    batch = ranknovo.batch_of([spectrum(0)[1], spectrum(1)[1]])
    tensors = trainee(batch)
    parts = [trainee.network.distances(one, some) for one, some in zip(batch.spectra, batch.proposals, strict=True)]
    np.testing.assert_allclose(tensors["distances"].detach(), np.concatenate([distances for distances, _ in parts]), atol=1e-4)
    offsets = np.concatenate([row for _, rows_of in parts for row in rows_of])
    np.testing.assert_allclose(tensors["offsets"].detach(), offsets, atol=1e-4)


def test_a_spectrum_without_a_truth_of_its_own_grade_is_refused() -> None:
    _, one = spectrum()
    with pytest.raises(InputError, match="highest grade"):
        ranknovo.batch_of([replace(one, grades=(1.0,) * len(one.grades))])


def test_distances_of_unions_are_what_their_grades_say(root: Path) -> None:
    groups = read_groups(Source(layout="lists", options={"files": ["union.jsonl"]}), root, root).groups
    trainee = ranknovo_union.build(Model(network="ranknovo_union", options={"width": 16, "layers": 1}), Path(), 0).eval()
    tensors = trainee(trainee.collator(Stage(reranker="ranknovo_union"))([sample_of(groups[0], groups[0].candidates)]))
    assert tensors["true_distances"].tolist() == [1.0, 0.0, 0.5]
    # what a stage has: 1 - 1 / rank, less the distance; row by row, bm25 before dense
    np.testing.assert_allclose(tensors["true_offsets"], [0 - 1, 0.5 - 0, 0 - 0, 0.5 - 0.5])
    np.testing.assert_allclose(tensors["scores"][0].detach(), -tensors["distances"].detach())


def test_a_candidate_of_no_first_stage_is_not_learnt_from() -> None:
    with pytest.raises(InputError, match="no first stages"):
        ranknovo_union.batch_of([sample()])


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (Model(network="mvp"), InputError, "begins with a BERT"),
        (Model(network="mvp", base="views", options={"view": 4}), UnknownName, "views"),
        (Model(network="mvp", base="views", options={"views": "four"}), InputError, "views"),
        (Model(network="mvp", base="views", frozen_layers=3), InputError, "at most 2"),
        (Model(network="mvp", base="peptides"), InputError, "no BERT"),
    ],
)
def test_what_cannot_be_begun_with_is_refused(model: Model, error: type[Exception], words: str, root: Path) -> None:
    with pytest.raises(error, match=words):
        mvp.build(model, root, 0)


def short(name: str) -> Recipe:
    """The shipped recipe of a network, two steps a stage, over the tests' data."""
    recipe = read_recipe(name)
    source = Source(layout="lists", options={"files": ["train.jsonl"]}, draw=Draw(negatives=(Band(count=4),)))
    base = {"mvp": "views", "mtm": "sentences"}.get(name, "")
    if name == "ranknovo_union":
        source = replace(source, options={"files": ["union.jsonl"]})
    options = {"mtm": {"sentences": 2, "patterns": 1}, "ranknovo": {"width": 16, "hidden": 16, "layers": 1, "peaks": 10}}
    model = replace(recipe.model, base=base, options=options.get(name, recipe.model.options))
    stages = tuple(replace(stage, steps=2, groups=2, save_every=1, precision="fp32", data=None) for stage in recipe.stages)
    return replace(recipe, model=model, stages=stages, data=recipe.data if name == "ranknovo" else source, heldout=())


@pytest.mark.parametrize("name", ["mvp", "mtm", "ranknovo", "ranknovo_union"])
def test_a_recipe_trains_two_steps_a_stage_and_what_it_leaves_ranks(name: str, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    card = Training.of(short(name), out, data=root, cache=tmp_path / "cache").run()
    assert card["trained_weights"] > 0
    part = make(f"{name}/{out / 'model'}", station="rerankers")
    chosen = spectrum()[1] if name == "ranknovo" else sample()
    ranking = part.rerank(chosen.query, list(chosen.candidates))
    assert sorted(ranking.item_ids) == sorted(one.item.item_id for one in chosen.candidates)
    assert all(one.score is not None for one in ranking.candidates)


def test_a_training_of_mtm_that_was_stopped_ends_with_the_same_weights_and_memory(root: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def watch(what: str) -> Any:
        def advance(done: int, steps: int) -> None:
            if what == "tweets" and done == 2:
                raise Stopped

        return advance

    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    Training.of(short("mtm"), whole, data=root, cache=tmp_path / "cache").run()
    with pytest.raises(Stopped):
        Training.of(short("mtm"), stopped, data=root, cache=tmp_path / "cache", watch=watch).run()
    assert (stopped / "stages" / "3-tweets" / "checkpoint-1").is_dir()
    Training.of(short("mtm"), stopped, data=root, cache=tmp_path / "cache").run()
    for name in ("mtm.safetensors", "model.safetensors"):
        ours, theirs = (load_file(folder / "model" / name) for folder in (whole, stopped))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
