"""The losses: the values that the notes give, finite differences, what must not move them, and sentence-transformers' own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmrerank.errors import InputError, UnknownName
from mmrerank.training import losses
from mmrerank.training.losses import IGNORED, LOSSES, named_loss
from mmrerank.training.rewards import REWARDS

GROUPS, COUNT, TOKENS, WORDS = 3, 5, 4, 7
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "yes_no": [{}, {"balanced": True}],
    "ranknet": [{}, {"weights": "inverse_rank_sum"}, {"temperature": 0.1}],
    "lambda_loss": [{}, {"scheme": "lambdarank", "cutoff": 2}, {"scheme": "ndcg2"}],
    "listnet": [{}, {"by": "inverse_rank", "temperature": 0.8}],
    "distil": [{}, {"ranking": "soft_ranknet"}],
    "query_likelihood": [{}, {"mean": True}],
    "mvp": [{}, {"twice": True}],
}


def ids(cases: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    return ["-".join([name, *map(str, options.values())]) for name, options in cases]


CASES = [(name, options) for name in LOSSES for options in OPTIONS.get(name, [{}])]
SMOOTH = [case for case in CASES if case[0] not in ("unified", "noise_injected", "lambda_loss")]  # those have tests of their own
OVER_LISTS = [case for case in CASES if "mask" in named_loss(case[0]).extras]


def tensors(seed: int, groups: int = GROUPS, count: int = COUNT) -> dict[str, Tensor]:
    """What any loss may ask for, float64; one positive a group and graded negatives at 0."""
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64)

    targets = torch.zeros(groups, count, dtype=torch.int64)
    targets[:, 0], targets[0, 2] = 1, 1
    labels = torch.randint(0, WORDS, (groups, TOKENS), generator=chance)
    labels[:, 0] = IGNORED
    return {
        "scores": draw(groups, count),
        "targets": targets,
        "teacher": draw(groups, count),
        "logits": draw(groups, count, 2),
        "query_scores": draw(groups, count) / 10,
        "query_logprobs": -draw(groups, count, TOKENS).abs(),
        "token_logits": draw(groups, TOKENS, WORDS),
        "noisy_logits": draw(groups, TOKENS, WORDS),
        "labels": labels,
        "anchors": draw(groups, 3, 6),
        **{name: draw(groups, 2) for name in ("overlaps", "rouge")},
        **{name: draw(groups) for name in ("distances", "true_distances", "offsets", "true_offsets")},
        "drift": draw(1)[0].square(),
    }


def number(value: Tensor) -> float:
    return value.detach().item()


LISTS = {"scores", "targets", "teacher", "logits", "query_scores", "query_logprobs"}  # whose second dimension is the candidates


# ------------------------------------------------------------------ values of the notes


def test_the_values_of_lychee() -> None:
    logits, targets = torch.tensor([[[1.0, 0.0], [0.5, 0.0], [-1.0, 1.0]]], requires_grad=True), torch.tensor([[1, 0, 0]])
    assert number(losses.yes_no(logits, targets)) == pytest.approx(0.4714222, abs=1e-6)
    assert number(losses.infonce(logits[..., 0], targets)) == pytest.approx(0.5549569, abs=1e-6)
    (sft,) = torch.autograd.grad(losses.unified(logits, targets), logits)
    assert sft[0, :, 0].tolist() == pytest.approx([-0.2689414, 0.6224593, 0.1192029], abs=1e-6)
    assert sft[0, :, 1].tolist() == pytest.approx([0.2689414, -0.6224593, -0.1192029], abs=1e-6)
    switches = {f"{what}_{side}": "cl" for what in ("weight", "direction") for side in ("positive", "negative")}
    (cl,) = torch.autograd.grad(losses.unified(logits, targets, **switches), logits)  # type: ignore[arg-type]
    assert cl[0, :, 0].tolist() == pytest.approx([-0.4259030, 0.3482074, 0.0776955], abs=1e-6)
    assert cl[0, :, 1].abs().max() == 0


def test_the_values_of_first_and_e2rank_and_dear() -> None:
    scores, grades = torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([[2, 0, 3, 1]])
    assert number(losses.ranknet(scores, grades, weights="inverse_rank_sum")) == pytest.approx(0.2359531, abs=1e-6)
    assert number(losses.ranknet(scores, grades)) == pytest.approx(1.0403714, abs=1e-6)
    cosines = torch.tensor([[0.9, 0.5, 0.1]])
    assert number(losses.ranknet(cosines, torch.tensor([[3, 2, 1]]), temperature=0.1)) == pytest.approx(0.012212, abs=1e-6)
    assert number(losses.ranknet(cosines, torch.tensor([[1, 2, 3]]), temperature=0.1)) == pytest.approx(5.345545, abs=1e-5)
    equal = losses.ranknet(torch.zeros(1, 16), torch.arange(16)[None], temperature=0.1)
    assert number(equal) == pytest.approx(0.693147, abs=1e-6)
    x, y, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 0]]), torch.tensor([[3.0, 1.0]])
    assert number(losses.softmax(x, y)) == pytest.approx(0.3132617, abs=1e-6)
    assert number(losses.kl(x, t)) == pytest.approx(0.1053783, abs=1e-6)
    assert number(losses.distil(x, y, t)) == pytest.approx(0.2924734, abs=1e-6)
    assert number(losses.soft_ranknet(x, t)) == pytest.approx(0.4324646, abs=1e-6)
    assert number(losses.soft_ranknet(x, y)) == pytest.approx(0.5822031, abs=1e-6)


def test_infonce_over_a_batch_as_e2rank_has_it() -> None:
    queries, items = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])
    targets = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0]])
    assert number(losses.infonce(queries @ items.T, targets, temperature=0.03)) == pytest.approx(0.0012734, abs=1e-6)


def test_the_values_of_mvp() -> None:
    scores, grades = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0]]), torch.tensor([[5, 4, 3, 2, 1]])
    assert number(losses.listnet(scores, grades, temperature=0.8, by="inverse_rank")) == pytest.approx(2.1909, abs=1e-4)
    uniform = losses.listnet(torch.zeros(1, 5), grades, temperature=0.8, by="inverse_rank")
    assert number(uniform) == pytest.approx(1.6094, abs=1e-4)
    assert number(losses.orthogonality(torch.ones(1, 4, 3))) == pytest.approx(12)
    assert number(losses.orthogonality(7 * torch.eye(4)[None])) == pytest.approx(0, abs=1e-6)


def test_the_worked_example_of_noise() -> None:
    clean = torch.tensor([[[2, 0.5, -1], [0.2, 3, 0.1], [1, 1, 4], [0, 0, 0]]])
    noisy = torch.tensor([[[1.5, 0.4, -1], [0.9, 0.2, 0.1], [1, 1, -2.5], [0, 0, 0]]])
    labels = torch.tensor([[0, 1, 2, IGNORED]])
    assert number(losses.noise_injected(clean, noisy, labels)) == pytest.approx(0.136278, abs=1e-6)
    assert number(losses.noise_injected(clean, clean, labels)) == pytest.approx(0.148612, abs=1e-6)
    assert number(losses.language(clean, labels)) == pytest.approx(0.148612, abs=1e-6)


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize(("name", "options"), SMOOTH, ids=ids(SMOOTH))
def test_gradients_are_those_of_finite_differences(name: str, options: Mapping[str, Any]) -> None:
    loss, batch = named_loss(name, options), tensors(3)
    mask = torch.ones(GROUPS, COUNT, dtype=torch.bool)
    mask[1, 3:] = False
    names = [n for n in loss.tensors if n not in ("targets", "labels", "teacher")]

    def value(*inputs: Tensor) -> Tensor:
        return loss(**{**batch, **dict(zip(names, inputs, strict=True)), "mask": mask})

    assert torch.autograd.gradcheck(value, [batch[n].clone().requires_grad_() for n in names])


def test_unified_gives_the_gradients_of_both_losses() -> None:
    batch = tensors(5)
    logits, targets = batch["logits"].requires_grad_(), torch.zeros(GROUPS, COUNT, dtype=torch.int64)
    targets[:, 1] = 1
    cl = {f"{what}_{side}": "cl" for what in ("weight", "direction") for side in ("positive", "negative")}
    pairs = [
        (losses.unified(logits, targets), losses.yes_no(logits, targets) * COUNT),
        (losses.unified(logits, targets, **cl), losses.infonce(logits[..., 0], targets)),  # type: ignore[arg-type]
    ]
    for one, other in pairs:
        first, second = (torch.autograd.grad(value, logits)[0] for value in (one, other))
        assert torch.allclose(first, second, atol=1e-12)


def test_unified_with_a_foreign_weight_points_where_its_direction_does() -> None:
    batch = tensors(5)
    logits = batch["logits"].requires_grad_()
    mixed = losses.unified(logits, batch["targets"], direction_positive="cl", direction_negative="cl")
    plain = losses.unified(logits, batch["targets"])
    first, second = (torch.autograd.grad(value, logits)[0] for value in (mixed, plain))
    assert first[..., 1].abs().max() == 0
    assert torch.allclose(first[..., 0], second[..., 0])


@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_constant_weights_leave_out_what_is_mastered(tau: float) -> None:
    logits = torch.tensor([[[4.0, 0.0], [-4.0, 0.0], [0.1, 0.0]]], requires_grad=True)
    constant = {"weight_positive": "constant", "weight_negative": "constant", "tau": tau}
    value = losses.unified(logits, torch.tensor([[1, 0, 0]]), **constant)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient[0, :, 0].tolist() == ([-1, 1, 1] if tau == 0 else [0, 0, 1])


def test_lambda_loss_moves_the_pairs_of_its_order_only() -> None:
    batch = tensors(4)
    scores = batch["scores"].requires_grad_()
    (gradient,) = torch.autograd.grad(losses.lambda_loss(scores, batch["targets"]), scores)
    numeric = torch.zeros_like(scores)
    for place in itertools.product(range(GROUPS), range(COUNT)):
        for sign in (1, -1):
            moved = scores.detach().clone()
            moved[place] += sign * 1e-6
            numeric[place] += sign * losses.lambda_loss(moved, batch["targets"]) / 2e-6
    assert torch.allclose(gradient, numeric, atol=1e-6)


def test_noise_weights_are_constants() -> None:
    batch = tensors(6)
    clean, noisy = batch["token_logits"].requires_grad_(), batch["noisy_logits"].requires_grad_()
    value = losses.noise_injected(clean, noisy, batch["labels"])
    assert torch.autograd.grad(value, noisy, allow_unused=True, retain_graph=True)[0] is None
    (gradient,) = torch.autograd.grad(value, clean)
    shares = torch.autograd.grad(losses.language(clean, batch["labels"]), clean)[0]
    ratios = (gradient / shares)[batch["labels"] != IGNORED]  # one weight a token, whatever the word
    assert torch.allclose(ratios, ratios[:, :1].expand_as(ratios))


# ------------------------------------------------------------------ what must not move a loss


@pytest.mark.parametrize(("name", "options"), CASES, ids=ids(CASES))
def test_the_order_of_candidates_and_groups_does_not_matter(name: str, options: Mapping[str, Any]) -> None:
    loss, batch = named_loss(name, options), tensors(1)
    groups, places = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 4, 0, 2])
    turned = {n: value[groups][:, places] if n in LISTS else value[groups] if value.ndim else value for n, value in batch.items()}
    assert number(loss(**turned)) == pytest.approx(number(loss(**batch)), abs=1e-12)


@pytest.mark.parametrize(("name", "options"), OVER_LISTS, ids=ids(OVER_LISTS))
@pytest.mark.parametrize("junk", [1e4, -1e4, float("nan"), float("inf")])
def test_what_is_masked_does_not_matter(name: str, options: Mapping[str, Any], junk: float) -> None:
    loss, batch = named_loss(name, options), tensors(2)
    short = {n: value[:, :-1] if n in LISTS else value for n, value in batch.items()}
    long = {n: value.clone() for n, value in batch.items()}
    for n in LISTS - {"targets"}:
        long[n][:, -1] = junk
    long["targets"][:, -1] = 3
    leaves = [long[n].requires_grad_() for n in loss.tensors if long[n].is_floating_point() and n != "noisy_logits"]
    mask = torch.arange(COUNT).expand(GROUPS, COUNT) < COUNT - 1
    value = loss(**long, mask=mask)
    assert number(value) == pytest.approx(number(loss(**short)), abs=1e-9)
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    assert all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)


@pytest.mark.parametrize("name", ["infonce", "softmax", "ranknet", "margin_mse", "lambda_loss", "query_likelihood", "unified"])
def test_groups_without_a_positive_add_nothing(name: str) -> None:
    loss, batch = named_loss(name), tensors(2)
    batch["targets"][:] = 0
    if name == "unified":  # it pushes negatives down by themselves; where contrast weighs them there is nothing to contrast with
        loss = named_loss(name, {"weight_positive": "cl", "weight_negative": "cl"})
    leaf = batch[loss.tensors[0]].requires_grad_()
    value = loss(**batch)
    assert number(value) == 0
    assert not bool(torch.autograd.grad(value, leaf)[0].any())


def test_a_query_longer_than_another_is_masked() -> None:
    batch = tensors(2)
    query_mask = torch.ones_like(batch["query_logprobs"], dtype=torch.bool)
    query_mask[..., -1] = False
    masked = losses.query_likelihood(batch["query_logprobs"], batch["targets"], query_mask)
    assert torch.allclose(masked, losses.query_likelihood(batch["query_logprobs"][..., :-1], batch["targets"]))


def test_a_shift_of_all_scores_moves_no_loss_over_lists() -> None:
    batch = tensors(7)
    for name in ("infonce", "softmax", "ranknet", "soft_ranknet", "margin_mse", "lambda_loss", "listnet", "kl", "distil"):
        moved = {**batch, "scores": batch["scores"] + 3, "teacher": batch["teacher"] - 2}
        assert number(named_loss(name)(**moved)) == pytest.approx(number(named_loss(name)(**batch)), abs=1e-9), name
    moved = {**batch, "logits": batch["logits"] + 5}
    assert number(losses.yes_no(moved["logits"], batch["targets"])) == pytest.approx(
        number(losses.yes_no(batch["logits"], batch["targets"]))
    )


# ------------------------------------------------------------------ beside sentence-transformers


def _told() -> Any:
    """As much of a cross-encoder as those losses use: it gives the scores that stand in the documents."""
    from sentence_transformers import CrossEncoder

    class Told(CrossEncoder):  # type: ignore[misc]
        num_labels, device = 1, torch.device("cpu")

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def preprocess(self, pairs: list[tuple[str, str]], **_: object) -> dict[str, Tensor]:
            return {"scores": torch.tensor([[float(document)] for _, document in pairs])}

        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return features

    return Told()


def _lists(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor, list[Any], list[Tensor]]:
    """Scores, grades and mask for us, and for them queries with documents, and grades."""
    chance = torch.Generator().manual_seed(11)
    scores = torch.randn(len(lengths), max(lengths), generator=chance)
    grades = torch.randint(0, 4, scores.shape, generator=chance)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    texts = [[str(float(x)) for x in row[:n]] for row, n in zip(scores, lengths, strict=True)]
    return scores, grades, mask, [["q"] * len(lengths), texts], [row[:n].float() for row, n in zip(grades, lengths, strict=True)]


def test_losses_over_lists_are_those_of_sentence_transformers() -> None:
    peers = pytest.importorskip("sentence_transformers.cross_encoder.losses")
    scores, grades, mask, inputs, labels = _lists([5, 3, 4])
    ours: dict[str, tuple[Callable[..., Tensor], dict[str, Any], Any]] = {
        "ListNet": (losses.listnet, {}, peers.ListNetLoss(_told())),
        "RankNet": (losses.ranknet, {}, peers.RankNetLoss(_told(), reduction_log="natural")),
        "LambdaRank": (losses.lambda_loss, {"scheme": "lambdarank"}, peers.LambdaLoss(_told(), peers.LambdaRankScheme())),
        "NDCGLoss2": (losses.lambda_loss, {"scheme": "ndcg2"}, peers.LambdaLoss(_told(), peers.NDCGLoss2Scheme())),
        "NDCGLoss2++": (losses.lambda_loss, {}, peers.LambdaLoss(_told())),
        "NDCGLoss2++@2": (losses.lambda_loss, {"cutoff": 2}, peers.LambdaLoss(_told(), k=2)),
    }
    for name, (loss, options, peer) in ours.items():
        assert number(loss(scores, grades, mask, **options)) == pytest.approx(number(peer(inputs, labels)), rel=1e-5), name


def test_losses_over_pairs_are_those_of_sentence_transformers() -> None:
    peers = pytest.importorskip("sentence_transformers.cross_encoder.losses")
    scores, grades, _, (queries, texts), _ = _lists([4, 4])
    flat = [["q"] * 8, [text for row in texts for text in row]]
    binary = (grades > 1).float()
    assert number(losses.bce(scores, binary)) == pytest.approx(
        number(peers.BinaryCrossEntropyLoss(_told())(flat, binary.flatten())), rel=1e-5
    )
    assert number(losses.mse(scores, grades)) == pytest.approx(number(peers.MSELoss(_told())(flat, grades.flatten())), rel=1e-5)
    columns = [queries, *([row[n] for row in texts] for n in range(4))]
    teacher, one = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([[1, 0, 0, 0]] * 2)
    assert number(losses.margin_mse(scores, one, teacher)) == pytest.approx(
        number(peers.MarginMSELoss(_told())(columns, teacher)), rel=1e-5
    )
    contrast = peers.MultipleNegativesRankingLoss(_told(), activation_fn=torch.nn.Identity(), scale=10.0)
    value = contrast.calculate_loss(list(scores.T), 2)
    assert number(losses.infonce(scores, one, temperature=0.1)) == pytest.approx(number(value), rel=1e-5)


# ------------------------------------------------------------------ by name


def test_unknown_losses_and_options_are_refused() -> None:
    with pytest.raises(UnknownName, match="infonce"):
        named_loss("infonc")
    with pytest.raises(UnknownName, match="temperature"):
        named_loss("infonce", {"temprature": 1})
    with pytest.raises(InputError, match="teacher"):
        named_loss("kl")(scores=torch.zeros(1, 2), targets=torch.zeros(1, 2))


def test_the_guide_names_every_loss_and_reward() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guides" / "losses-and-rewards.md").read_text(encoding="utf-8")
    assert [name for name in (*LOSSES, *REWARDS) if f"`{name}`" not in page] == []
