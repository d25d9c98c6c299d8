"""Modules of languages as they are trained: what a stage moves and what it leaves, lottery tickets, and that what is saved ranks alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trained import rows, written

from mmrerank.errors import InputError, UnknownName
from mmrerank.models.language_modules import Route
from mmrerank.parts import make
from mmrerank.rerankers.cross_encoder import letter_tokenizer
from mmrerank.training.collate import Sample
from mmrerank.training.losses import IGNORED, named_loss
from mmrerank.training.networks.modular_clir import Differences, ModularTrainee, build, segments, with_masked_pieces
from mmrerank.training.recipe import Model, Recipe, Stage, read_recipe
from mmrerank.training.run import Training
from mmrerank.types import Candidate, Item, Query

TEXTS = Stage(name="german", reranker="modular_clir(document_language=de)", loss="language", groups=4)
LISTS = Stage(name="ranking", reranker="modular_clir(document_language=en)", loss="softmax", groups=2)
LANGUAGES = ("en", "de")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a tiny BERT as it was pretrained, judged lists, and texts of every language that recipes name."""
    from transformers import BertConfig, BertForPreTraining

    folder = written(tmp_path_factory.mktemp("data"))
    tokenizer = letter_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertForPreTraining(BertConfig(vocab_size=len(tokenizer), initializer_range=0.4, **sizes, **without)).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for language in ("en", "de", "fr", "fi", "ru", "nl", "uk"):
        lines = [json.dumps({"text": f"{one['query']}\n{language}"}) + "\n" for one in rows()]
        (folder / f"texts-{language}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "train-en.jsonl").write_text((folder / "train.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def begun(root: Path, **options: Any) -> ModularTrainee:
    """A network with new modules."""
    return build(Model(network="modular_clir", base="base", options={"languages": LANGUAGES, **options}), root, 0)


def samples(*, listed: bool) -> list[Sample]:
    """The questions of the tests, with their texts or alone."""
    result = []
    for row in rows():
        items = [Item(item_id=f"{row['id']}-{n}", text=one["text"]) for n, one in enumerate(row["candidates"])] if listed else []
        grades = tuple(float(one["grade"]) for one in row["candidates"]) if listed else ()
        query = Query(query_id=row["id"], text=row["query"])
        result.append(Sample(query=query, candidates=tuple(Candidate(item=item) for item in items), grades=grades))
    return result


def weights_of(trainee: ModularTrainee) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in trainee.state_dict(keep_vars=True).items()}


def trained(trainee: ModularTrainee, stage: Stage, steps: int = 3, rate: float = 1e-2) -> set[str]:
    """A few steps of a stage; returns the names of the weights that moved."""
    some = samples(listed=stage.loss != "language")
    trainee.begin(stage, some, resumes=False)
    collate, loss, before = trainee.collator(stage), named_loss(stage.loss), weights_of(trainee)
    optimiser = torch.optim.AdamW([weight for weight in trainee.parameters() if weight.requires_grad], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(**trainee(collate(some))).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return {name for name, weight in weights_of(trainee).items() if not torch.equal(weight, before[name])}


@pytest.mark.parametrize("kind", ["adapters", "masks"])
def test_a_stage_moves_its_module_alone(root: Path, kind: str) -> None:
    trainee = begun(root, kind=kind)
    place = {"adapters": "network.languages.de.", "masks": "differences.de."}[kind]
    moved = trained(trainee, TEXTS)
    assert moved
    assert all(name.startswith(place) for name in moved)
    moved = trained(trainee, LISTS)
    place = {"adapters": "network.ranking.ranking.", "masks": "differences.ranking."}[kind]
    assert {name for name in moved if not name.startswith("network.head.")}
    assert all(name.startswith((place, "network.head.")) for name in moved)


def test_the_mask_of_a_language_leaves_norms_and_pooler_and_that_of_the_ranking_does_not(root: Path) -> None:
    trainee = begun(root, kind="masks")
    names = {module: set(trainee.differences[module].names) for module in ("de", "ranking")}
    assert names["ranking"] == {name for name, _ in trainee.network.encoder.named_parameters()}
    assert names["ranking"] - names["de"] == {name for name in names["ranking"] if "LayerNorm" in name or "pooler" in name}


def test_a_ticket_moves_its_share_of_the_weights_and_leaves_the_others_bit_for_bit(root: Path) -> None:
    trainee = begun(root, kind="masks", share=0.05)
    trained(trainee, TEXTS)
    dense = {name: value.clone() for name, value in trainee.differences["de"].mask().items() for value in [value[1]]}
    total = sum(map(len, dense.values()))
    trained(trainee, TEXTS)
    sparse = trainee.differences["de"]
    share = sum(len(places) for places, _ in sparse.mask().values())
    assert 0 < share <= round(0.05 * sparse.count) < total
    assert sum(int((value != 0).sum()) for value in sparse.values) == sum(int((value != 0).sum()) for value in sparse.added().values())


def test_a_ticket_is_the_weights_that_moved_farthest(root: Path) -> None:
    differences = Differences(begun(root).network.encoder, ["embeddings.word_embeddings.weight"])
    with torch.no_grad():
        differences.values[0].view(-1)[[3, 8, 21]] = torch.tensor([0.5, -2.0, 1.0])
    differences.draw_ticket(2 / differences.count)
    assert differences.is_new
    with torch.no_grad():
        differences.values[0].fill_(1.0)
    assert differences.mask()["embeddings.word_embeddings.weight"][0].tolist() == [8, 21]


@pytest.mark.parametrize("kind", ["adapters", "masks"])
def test_what_is_saved_scores_as_what_was_trained(root: Path, kind: str, tmp_path: Path) -> None:
    trainee = begun(root, kind=kind, ranking_reduction=2)
    for stage in (TEXTS, replace(TEXTS, reranker="modular_clir(document_language=en)"), LISTS):
        trained(trainee, stage)
    trainee.save(tmp_path)
    sample = samples(listed=True)[0]
    for name, language in (("document_language=en", "en"), ("document_language=de", "de"), ("route=none", None)):
        stage = replace(LISTS, reranker=f"modular_clir({name})")
        with torch.no_grad():
            expected = trainee(trainee.collator(stage)([sample]))["scores"][0]
        part = make(f"modular_clir/{tmp_path}({name}, device=cpu)", station="rerankers")
        scores = {one.item.item_id: one.raw_score for one in part.rerank(sample.query, list(sample.candidates)).candidates}
        np.testing.assert_allclose([scores[one.item.item_id] for one in sample.candidates], expected, atol=1e-5, err_msg=str(language))


def test_a_module_that_no_stage_trained_is_not_written(root: Path, tmp_path: Path) -> None:
    trainee = begun(root)
    trained(trainee, TEXTS)
    trainee.save(tmp_path)
    assert [path.name for path in (tmp_path / "languages").iterdir()] == ["de"]


def test_pieces_are_named_behind_the_inverse_of_the_coupling(root: Path) -> None:
    trainee = begun(root)
    collate = trainee.collator(TEXTS)
    torch.nn.init.normal_(trainee.network.languages["de"].coupling.F[2].weight)
    batch = collate(samples(listed=False))
    states = trainee.network.states(batch.ids, batch.attention, batch.types, Route(query="de", document="de", ranked=False, coupled=True))
    expected = trainee.naming(trainee.network.languages["de"].coupling.inverse(states.last_hidden_state))[batch.labels != IGNORED]
    tensors = trainee(batch)
    torch.testing.assert_close(tensors["token_logits"][0], expected)
    assert torch.equal(tensors["labels"][0], batch.labels[batch.labels != IGNORED])


def test_masked_pieces_are_as_many_as_asked_never_marks_and_the_same_for_the_same_texts(root: Path) -> None:
    trainee = begun(root)
    tokenizer = trainee._tokenizer
    ids = segments(tokenizer, ["what makes honey\nbees"] * 400, 64)["input_ids"]
    hidden, labels = with_masked_pieces(ids, tokenizer, 0.3, torch.Generator().manual_seed(0))
    chosen, special = labels != IGNORED, torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    assert not (chosen & special).any()
    assert 0.27 < float(chosen.sum() / (~special).sum()) < 0.33
    assert 0.77 < float((hidden == tokenizer.mask_token_id)[chosen].float().mean()) < 0.83
    assert torch.equal(hidden[~chosen], ids[~chosen])
    batches = [trainee.collator(TEXTS)(samples(listed=False)) for _ in "ab"]
    assert torch.equal(batches[0].ids, batches[1].ids)


def test_the_first_line_of_a_text_is_its_first_segment(root: Path) -> None:
    tokenizer = begun(root)._tokenizer
    inputs = segments(tokenizer, ["ab\ncd", "ab"], 64)
    assert inputs["token_type_ids"][0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert inputs["input_ids"][1].tolist() == [2, 4, 5, 3, 3, 0, 0]


def test_a_language_without_a_module_a_base_without_a_head_and_an_unknown_option_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'sv' is none of \['en', 'de'\]"):
        begun(root).collator(replace(TEXTS, reranker="modular_clir(document_language=sv)"))
    trainee = begun(root)
    trainee.network.encoder.save_pretrained(tmp_path / "base")
    trainee._tokenizer.save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match=r"lacks weights: cls\.predictions"):
        begun(tmp_path)
    with pytest.raises(UnknownName, match="langages"):
        begun(root, langages=["en"])
    with pytest.raises(InputError, match="modular_clir begins with a BERT"):
        build(Model(network="modular_clir"), root, 0)


def small(name: str) -> Recipe:
    """A shipped recipe with two steps a stage, of the languages English and Ukrainian alone."""
    recipe = read_recipe(name)
    some = [
        stage for stage in recipe.stages if stage.loss != "language" or "language=en" in stage.reranker or "language=uk" in stage.reranker
    ]
    stages = tuple(replace(stage, steps=2, groups=2, save_every=1) for stage in some)
    return replace(recipe, stages=stages, heldout=())


@pytest.mark.parametrize("name", ["modular_clir_adapters", "modular_clir_masks", "modular_clir_full"])
def test_a_recipe_trains_two_steps_a_stage_and_what_it_leaves_ranks(name: str, root: Path, tmp_path: Path) -> None:
    training = Training.of(small(name), tmp_path / name, data=root, cache=tmp_path / "cache")
    card = training.run()
    assert card["trained_weights"] > 0
    assert f"modular_clir/{training.result}" in card["use"]
    part = make(f"modular_clir/{training.result}(query_language=uk, route=query, device=cpu)", station="rerankers")
    ranking = part.rerank(Query(text="which"), [Candidate(item=Item(item_id=letter, text=letter * 3)) for letter in "abc"])
    assert sorted(ranking.item_ids) == ["a", "b", "c"]
    assert ("no module" in " ".join(ranking.notes.messages)) == (name == "modular_clir_full")


def test_a_stage_of_a_ticket_that_was_stopped_goes_on_to_the_same_weights(root: Path, tmp_path: Path) -> None:
    recipe = small("modular_clir_masks")
    of_english = tuple(stage for stage in recipe.stages if "document_language=en" in stage.reranker and stage.loss == "language")
    recipe = replace(recipe, stages=of_english)
    whole = Training.of(recipe, tmp_path / "whole", data=root, cache=tmp_path / "cache")
    whole.run()
    stopped = Training.of(recipe, tmp_path / "stopped", data=root, cache=tmp_path / "cache")
    stopped.run()
    done = stopped.out / "stages" / f"2-{of_english[1].name}"
    (done / "done" / "trained.safetensors").unlink()
    (done / "checkpoint-2" / "trained.safetensors").unlink()  # so that the last whole one is that of the first step
    (stopped.out / "facts.json").unlink()
    Training.of(recipe, tmp_path / "stopped", data=root, cache=tmp_path / "cache").run()
    modules = [Path(one.out) / "model" / "languages" / "en" / "diff.safetensors" for one in (whole, stopped)]
    assert modules[0].read_bytes() == modules[1].read_bytes()
