"""The network that is trained: kept states are those of the plain way, and adapters stand where they should."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import saved
from trained import group, model, worded

from mmrerank.errors import InputError
from mmrerank.training.collate import Collator, Rows
from mmrerank.training.losses import named_loss
from mmrerank.training.network import Student
from mmrerank.training.recipe import Lora, Model
from mmrerank.training.supervised import sample_of

ARCHITECTURES = ("llama", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("network")


def rows(backend: object, reranker: str = "query_likelihood") -> Rows:
    samples = [sample_of(one, one.candidates[: 5 - n]) for n, one in enumerate((group(0), group(2)))]
    return Collator(reranker, backend)(samples)  # type: ignore[arg-type]


def gradients(student: Student, batch: Rows) -> dict[str, torch.Tensor]:
    student.zero_grad()
    named_loss("query_likelihood", {})(**student(batch)).backward()
    return {name: weight.grad.clone() for name, weight in student.trained.items() if weight.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lora", [None, Lora(modules=("q_proj", "down_proj"))], ids=["all weights", "lora"])
def test_kept_states_give_the_scores_and_gradients_of_the_plain_way(architecture: str, lora: Lora | None, folder: Path) -> None:
    backend = model(saved(folder, architecture))
    student = Student(backend, Model(frozen_layers=1, lora=lora), seed=0)
    batch = rows(backend)
    kept_scores, kept = student(batch)["scores"], gradients(student, batch)
    student.frozen_layers = 0  # the same network, gone through from its first layer
    torch.testing.assert_close(kept_scores, student(batch)["scores"], rtol=2e-3, atol=2e-3)
    plain = gradients(student, batch)
    assert set(kept) == set(plain)
    for name, gradient in kept.items():
        torch.testing.assert_close(gradient, plain[name], rtol=2e-2, atol=2e-4)


def test_kept_states_do_not_depend_on_the_neighbours_of_a_row(folder: Path) -> None:
    backend = model(saved(folder, "llama"))
    both, alone = (Student(backend, Model(frozen_layers=1), seed=0) for _ in range(2))
    both(rows(backend))
    one = group(2)
    alone(Collator("query_likelihood", backend)([sample_of(one, one.candidates[:4])]))
    assert alone._states
    for key, state in alone._states.items():
        assert torch.equal(state, both._states[key])


def test_what_does_not_fit_is_computed_again(folder: Path) -> None:
    backend = model(saved(folder, "llama"))
    roomy, narrow = (Student(backend, Model(frozen_layers=1), seed=0, state_bytes=size) for size in (1 << 20, 0))
    assert torch.equal(roomy(rows(backend))["scores"], narrow(rows(backend))["scores"])
    assert not narrow._states


def test_adapters_stand_above_the_frozen_layers_only(folder: Path) -> None:
    student = Student(model(saved(folder, "llama")), Model(frozen_layers=1, lora=Lora()), seed=0)
    assert student.trained
    assert all("lora_" in name and ".layers.1." in name for name in student.trained)


def test_frozen_weights_are_not_trained(folder: Path) -> None:
    student = Student(model(saved(folder, "llama")), Model(frozen_layers=1), seed=0)
    assert not any("layers.0." in name or "embed_tokens" in name for name in student.trained)
    assert any("layers.1." in name for name in student.trained)


def test_layers_above_those_of_the_model_cannot_be_frozen(folder: Path) -> None:
    with pytest.raises(InputError, match="less than the model's 2 layers"):
        Student(model(saved(folder, "llama")), Model(frozen_layers=2), seed=0)


def test_states_of_pictures_are_not_kept(folder: Path) -> None:
    with pytest.raises(InputError, match="takes pictures"):
        Student(model(saved(folder, "qwen2_5_vl")), Model(frozen_layers=1), seed=0)


def test_modules_that_a_model_lacks_are_an_error(folder: Path) -> None:
    with pytest.raises(InputError, match="no adapter can be put"):
        Student(model(saved(folder, "llama")), Model(lora=Lora(modules=("nothing",))), seed=0)


def test_an_untrained_adapter_changes_nothing(folder: Path) -> None:
    place = worded(folder, "llama")
    plain = Student(model(place), Model(), seed=0)
    adapted = Student(model(place), Model(lora=Lora()), seed=0)
    for reranker in ("query_likelihood", "qwen3_reranker", "first"):
        expected = plain(rows(plain.backend, reranker))["scores"]
        torch.testing.assert_close(adapted(rows(adapted.backend, reranker))["scores"], expected)
