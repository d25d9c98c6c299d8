"""What a reranker can be trained to bring down: each loss a function of tensors, found by its name.

A loss takes tensors first and options, which a recipe sets, behind `*`. The tensors' names are the same everywhere:

    scores          (n_groups, n_candidates) float, one group a query, higher is better
    targets         (n_groups, n_candidates) grades, higher is better; 0 is not relevant
    teacher         (n_groups, n_candidates) scores of another model
    mask            (n_groups, n_candidates) bool, False where a shorter list was filled up; None: all lists are full
    logits          (n_groups, n_candidates, 2) of yes and no, where an answer begins
    query_scores    as `scores`, by another reading of the same candidates
    query_logprobs  (n_groups, n_candidates, n_tokens) of each token of the query behind this candidate
    query_mask      as `query_logprobs`, bool, False where a shorter query was filled up; None: all are full
    token_logits    (n_sequences, length, vocabulary), each where the next token is foretold
    noisy_logits    as `token_logits`, of the same tokens beside pictures with noise over them
    labels          (n_sequences, length) that next token, `IGNORED` where it is none of the answer's
    anchors         (n_groups, n_anchors, dim)
    overlaps        (n_pairs, 2) of two texts: how much of each stands in the other, as a network guesses
    rouge           as `overlaps`, as it is
    distances       (n_candidates,) of all groups, one after the other: how far from the truth, as a network guesses; 0 is the truth
    offsets         (n_parts,) of all candidates, likewise
    true_distances, true_offsets   as these, as they are
    drift           () squared distance of weights from where they began

What stands under a False of a mask never moves a loss. A group without a positive, or without a pair, adds nothing where the loss needs
one; where none of them has one the loss is 0, and its gradient too. Sources stand with each; formulas were read where it says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from mmrerank.errors import InputError, UnknownName

IGNORED = -100  # as transformers marks labels that are not learnt
Switch: TypeAlias = Literal["sft", "cl", "constant"]
Direction: TypeAlias = Literal["sft", "cl"]
PairWeights: TypeAlias = Literal["none", "inverse_rank_sum"]
Wanted: TypeAlias = Literal["grade", "inverse_rank"]


# ------------------------------------------------------------------ one candidate at a time


def yes_no(logits: Tensor, targets: Tensor, mask: Tensor | None = None, *, balanced: bool = False) -> Tensor:
    """Mean over candidates of -log p(answer | yes or no), the softmax over these two tokens alone.

    Args:
        balanced: positives and negatives weigh the same, however many there are of each; else every candidate does.

    Source: RagLLaVA, Qwen3-Reranker, the SFT of Lychee-rerank-mm (arXiv 2510.14824).

    >>> z = torch.tensor([[[1.0, 0.0], [0.5, 0.0], [-1.0, 1.0]]])
    >>> round(float(yes_no(z, torch.tensor([[1, 0, 0]]))), 5)
    0.47142
    """
    return bce(logits[..., 0] - logits[..., 1], targets, mask, balanced=balanced)


def bce(scores: Tensor, targets: Tensor, mask: Tensor | None = None, *, balanced: bool = False) -> Tensor:
    """Mean binary cross entropy of sigmoid(score); a grade above 1 counts as 1, one between 0 and 1 is a probability."""
    wanted = targets.to(scores).clamp(0, 1)
    losses = functional.binary_cross_entropy_with_logits(_filled(scores, mask, 0.0), _filled(wanted, mask, 0.0), reduction="none")
    if not balanced:
        return _mean(losses, _open(scores, mask))
    sides = [_open(scores, mask) & side for side in (wanted > 0.5, wanted <= 0.5)]
    return torch.stack([_mean(losses, side) for side in sides if side.any()]).mean()


def mse(scores: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of score and grade."""
    return _mean((_filled(scores, mask, 0.0) - _filled(targets.to(scores), mask, 0.0)).square(), _open(scores, mask))


# ------------------------------------------------------------------ one positive against negatives


def infonce(scores: Tensor, targets: Tensor, mask: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
    """Mean over positives of -log softmax of the positive against all negatives of its group; other positives are left out.

    Source: the contrastive loss of Lychee-rerank-mm (scores are the logits of yes) and of E2Rank (cosines, temperature .03).

    >>> round(float(infonce(torch.tensor([[1.0, 0.5, -1.0]]), torch.tensor([[1, 0, 0]]))), 5)
    0.55496
    """
    x, positive, negative = scores / temperature, _positive(targets, mask), _negative(targets, mask)
    rivals = _logsumexp(x, negative)[:, None]  # (n_groups, 1)
    return _mean(functional.softplus(rivals - _filled(x, positive, 0.0)), positive & negative.any(1, keepdim=True))


def softmax(scores: Tensor, targets: Tensor, mask: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
    """Mean over groups of the cross entropy of a softmax over the list; a group's grades, over their sum, are what is wanted."""
    wanted = _filled(targets.to(scores), mask, 0.0)
    sums = wanted.sum(1, keepdim=True)
    losses = -(wanted / sums.clamp_min(1e-9) * _log_softmax(scores / temperature, mask)).sum(1)
    return _mean(losses, sums[:, 0] > 0)


def query_likelihood(
    query_logprobs: Tensor,
    targets: Tensor,
    query_mask: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    scale: float = 0.5,
    mean: bool = False,
) -> Tensor:
    """The softmax over a list, where a candidate's score is what the model gives the query behind it: the sum of its log-probabilities.

    Args:
        scale: times the sum; a sum over a query's tokens differs by more from one candidate to the next than a logit does.
        mean: of the tokens, in place of their sum.

    Source: ours, over query likelihood (Ponte & Croft 1998; Sachan et al. 2022).
    """
    open_tokens = torch.ones_like(query_logprobs, dtype=torch.bool) if query_mask is None else query_mask
    sums = query_logprobs.masked_fill(~open_tokens, 0.0).sum(-1)
    scores = sums / open_tokens.sum(-1).clamp_min(1) if mean else sums
    return softmax(scores * scale, targets, mask)


def unified(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    weight_positive: Switch = "sft",
    weight_negative: Switch = "sft",
    direction_positive: Direction = "sft",
    direction_negative: Direction = "sft",
    tau: float = 0.0,
) -> Tensor:
    """The gradient of SFT or of contrastive learning, taken apart: how strongly, and which way, for positives and for negatives.

    The gradient of either towards a candidate is a weight times a direction. The value is a stand-in, mean over groups of
    -sum W+ d+ + sum W- d-, in which the weights are constants: its gradient is what counts, and it need not go down.

        direction sft    yes minus no           cl    yes alone
        weight sft       what is missing to the right answer, of this candidate alone
        weight cl        the share of the negatives in the softmax; of a negative, its own share
        weight constant  1; 0 for a positive above 1 - tau, and for a negative below tau, as sigmoid(yes - no)

    All four `sft` give the gradient of `yes_no` summed over a group, all four `cl` that of `infonce` over the logits of yes.

    Source: Lychee-rerank-mm (arXiv 2510.14824), second-hand; the surrogate is ours.
    """
    positive, negative = _positive(targets, mask), _negative(targets, mask)
    yes, margin = _filled(logits[..., 0], mask, 0.0), _filled(logits[..., 0] - logits[..., 1], mask, 0.0)
    weights = _unified_weights(yes.detach(), margin.detach(), positive, negative, tau)
    lines = {"sft": margin, "cl": yes}
    up = weights[weight_positive][0] * lines[direction_positive]
    down = weights[weight_negative][1] * lines[direction_negative]
    return (down - up).sum() / len(logits)


def _unified_weights(yes: Tensor, margin: Tensor, positive: Tensor, negative: Tensor, tau: float) -> dict[str, tuple[Tensor, Tensor]]:
    """By name, the weights of positives and of negatives, each (n_groups, n_candidates) and 0 for the others."""
    rivals = _logsumexp(yes, negative)
    against = torch.sigmoid(rivals[:, None] - yes) * positive  # (n_groups, n_candidates) the negatives' share beside each positive
    count = positive.sum(1, keepdim=True).clamp_min(1)
    share = _log_softmax(yes, negative).exp() * negative
    chance = torch.sigmoid(margin)
    return {
        "sft": (torch.sigmoid(-margin) * positive, chance * negative),
        "cl": (against / count, share * against.sum(1, keepdim=True) / count),
        "constant": (positive * (chance <= 1 - tau).to(yes), negative * (chance >= tau).to(yes)),
    }


# ------------------------------------------------------------------ pairs


def ranknet(
    scores: Tensor, targets: Tensor, mask: Tensor | None = None, *, weights: PairWeights = "none", temperature: float = 1.0
) -> Tensor:
    """Mean over all pairs of unequal grades of log(1 + exp(worse - better)).

    Args:
        weights: `inverse_rank_sum` is FIRST's, 1 / (r_i + r_j), where r is the place by grade, from 1.

    Source: Burges et al. 2005; FIRST (code gangiswag/llm-reranker at 2d7cba4); E2Rank (temperature .1).

    >>> grades = torch.tensor([[2, 0, 3, 1]])  # C > A > D > B
    >>> round(float(ranknet(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), grades, weights="inverse_rank_sum")), 5)
    0.23595
    """
    pairs = _pairs(targets, mask)
    losses = functional.softplus(-_differences(_filled(scores, mask, 0.0) / temperature))
    if weights == "inverse_rank_sum":
        places = _places(targets, mask)
        losses = losses / (places[:, :, None] + places[:, None, :])
    return _mean(losses, pairs)


def soft_ranknet(scores: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over pairs of the cross entropy of sigmoid(s_i - s_j) against the teacher's sigmoid(t_i - t_j).

    Source: DeAR (code DataScienceUIBK/DeAR-Reranking at c31c739), `ranknet_teacher`; with grades as the teacher, `ranknet_binary`,
    whose target for a pair one grade apart is .731.

    >>> round(float(soft_ranknet(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 1.0]]))), 5)
    0.43246
    """
    open_places = _open(scores, mask)
    wanted = torch.sigmoid(_differences(_filled(teacher.detach().to(scores), mask, 0.0)))
    losses = functional.binary_cross_entropy_with_logits(_differences(_filled(scores, mask, 0.0)), wanted, reduction="none")
    upper = torch.ones_like(losses, dtype=torch.bool).triu(1)
    return _mean(losses, upper & open_places[:, :, None] & open_places[:, None, :])


def margin_mse(scores: Tensor, targets: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over pairs of unequal grades of the squared difference of the margin and the teacher's margin.

    Source: Hofstätter et al. 2020 (arXiv 2010.02666).
    """
    margins = _differences(_filled(scores, mask, 0.0)) - _differences(_filled(teacher.detach().to(scores), mask, 0.0))
    return _mean(margins.square(), _pairs(targets, mask))


def lambda_loss(
    scores: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    scheme: Literal["lambdarank", "ndcg2", "ndcg2pp"] = "ndcg2pp",
    cutoff: int = 0,
    mu: float = 10.0,
) -> Tensor:
    """Mean over pairs of unequal grades of log2(1 + exp(worse - better)), times how much of nDCG the pair stands for.

    Args:
        scheme: by what a swap of the two changes (lambdarank), by how far apart they stand (ndcg2), or mu times the second plus the first.
        cutoff: pairs of which one stands so far in front count; 0: all.

    Source: Wang et al. 2018 (LambdaLoss). Ours: nothing flows back through order or gains.
    """
    order = _filled(scores, mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    sorted_scores, grades = _filled(scores, mask, 0.0).gather(1, order), _filled(targets.to(scores), mask, 0.0).gather(1, order)
    pairs = _pairs(grades, _open(scores, mask).gather(1, order))
    places = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    discounts = 1 / torch.log2(places.to(scores) + 1)
    in_front = places <= (cutoff or scores.shape[1])
    best = ((2 ** grades.sort(dim=1, descending=True).values - 1) * discounts * in_front).sum(1, keepdim=True)
    gains = ((2**grades - 1) / best.clamp_min(1e-10)).detach()
    weights = _lambda_weights(discounts, scheme, mu) * _differences(gains).abs()
    losses = weights * functional.softplus(-_differences(sorted_scores)) / torch.log(scores.new_tensor(2.0))
    return _mean(losses, pairs & (in_front[:, None] | in_front[None, :]))


def _lambda_weights(discounts: Tensor, scheme: str, mu: float) -> Tensor:
    """(n_candidates, n_candidates) what a pair of places weighs."""
    swap = (discounts[:, None] - discounts[None, :]).abs()
    places = torch.arange(len(discounts), device=discounts.device)
    apart = (places[:, None] - places[None, :]).abs()  # 0 on the diagonal, which is no pair
    near = (1 / torch.log2(apart.clamp_min(1) + 1.0) - 1 / torch.log2(apart + 2.0)).abs().to(discounts)
    return {"lambdarank": swap, "ndcg2": near, "ndcg2pp": mu * near + swap}[scheme]


# ------------------------------------------------------------------ whole lists and teachers


def listnet(
    scores: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float = 1.0,
    by: Wanted = "grade",
    twice: bool = False,
) -> Tensor:
    """Mean over groups of the cross entropy of softmax(scores / T) against softmax(what is wanted / T).

    Args:
        by: wanted is the grade, or 1 / the place by grade, as MVP has it (temperature .8).
        twice: the shares of the scores go through a softmax once more, as in MVP's released code, which learns far slower.

    Source: Cao et al. 2007; MVP.

    >>> s, grades = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0]]), torch.tensor([[5, 4, 3, 2, 1]])
    >>> round(float(listnet(s, grades, temperature=0.8, by="inverse_rank")), 4)
    2.1909
    >>> round(float(listnet(s, grades, temperature=0.8, by="inverse_rank", twice=True)), 4)
    1.5345
    """
    wanted = 1 / _places(targets, mask).to(scores) if by == "inverse_rank" else targets.to(scores)
    shares = _log_softmax(wanted / temperature, mask).exp()
    own = _log_softmax(scores / temperature, mask)
    losses = -(shares * (_log_softmax(own.exp(), mask) if twice else own)).sum(1)
    return _mean(losses, _open(scores, mask).any(1))


def kl(scores: Tensor, teacher: Tensor, mask: Tensor | None = None, *, temperature: float = 2.0) -> Tensor:
    """Mean over groups of T^2 KL(softmax(teacher / T) || softmax(scores / T)); nothing flows back to the teacher.

    Source: Hinton et al. 2015; DeAR, whose temperature is 2.

    >>> round(float(kl(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 1.0]]))), 5)
    0.10538
    """
    wanted, own = (_log_softmax(x / temperature, mask) for x in (teacher.detach().to(scores), scores))
    losses = (wanted.exp() * (wanted - own)).sum(1)
    return temperature**2 * _mean(losses, _open(scores, mask).any(1))


def distil(
    scores: Tensor,
    targets: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    alpha: float = 0.1,
    temperature: float = 2.0,
    ranking: Literal["softmax", "soft_ranknet"] = "softmax",
) -> Tensor:
    """(1 - alpha) times a ranking loss plus alpha times `kl`: the first stage of DeAR.

    Args:
        ranking: the softmax over the list towards the grades, or the pairs of the teacher.

    >>> t = torch.tensor
    >>> round(float(distil(t([[1.0, 0.0]]), t([[1, 0]]), t([[3.0, 1.0]]))), 5)
    0.29247
    """
    own = softmax(scores, targets, mask) if ranking == "softmax" else soft_ranknet(scores, teacher, mask)
    return (1 - alpha) * own + alpha * kl(scores, teacher, mask, temperature=temperature)


def contrast_and_ranknet(
    query_scores: Tensor,
    scores: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float = 0.03,
    rank_temperature: float = 0.1,
    ranking_weight: float = 2.0,
) -> Tensor:
    """The second stage of E2Rank: `infonce` of the best candidate by the plain query, and `ranknet` by the query that saw the list.

    Source: E2Rank (arXiv 2510.22733, code Alibaba-NLP/E2Rank): the best by the teacher is the positive, pairs are averaged.
    """
    grades = _filled(targets.to(scores), mask, -torch.inf)
    best = functional.one_hot(grades.argmax(1), grades.shape[1])
    pairs = ranknet(scores, targets, mask, temperature=rank_temperature)
    return infonce(query_scores, best, mask, temperature=temperature) + ranking_weight * pairs


# ------------------------------------------------------------------ written answers


def language(token_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of the answers' tokens."""
    return _mean(_token_losses(token_logits, labels), labels != IGNORED)


def first(
    scores: Tensor,
    targets: Tensor,
    token_logits: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    ranking_weight: float = 10.0,
    weights: PairWeights = "inverse_rank_sum",
) -> Tensor:
    """`language` of the written order plus `ranking_weight` times `ranknet` over the logits of the identifiers, from the same pass.

    Source: FIRST (arXiv 2406.15657): scores are the logits of the identifiers where the first of them is foretold.
    """
    return language(token_logits, labels) + ranking_weight * ranknet(scores, targets, mask, weights=weights)


def noise_injected(
    token_logits: Tensor, noisy_logits: Tensor, labels: Tensor, *, least: float = 1.0, most: float = 5.0, width: int = 3
) -> Tensor:
    """`language` with more weight on tokens that the picture decides: those whose logit falls when noise lies over it.

    A token weighs by how far its logit falls, kept within `least` and `most`, then averaged over `width` tokens; what stands beside the
    answer counts as `least` there, as published. Nothing flows back through the weights.

    Source: RagLLaVA (arXiv 2407.21439, code IDEA-FinAI/RagLLaVA at d31de67) as CAL has it: the label's own logit is compared, where the
    released lines take the first of the vocabulary.
    """
    places = labels.clamp_min(0)[..., None]
    falls = (token_logits - noisy_logits).detach().gather(-1, places)[..., 0].masked_fill(labels == IGNORED, least)
    near = functional.avg_pool1d(falls.clamp(least, most)[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]
    open_tokens = labels != IGNORED
    return (near * _token_losses(token_logits, labels)).sum() / ((near * open_tokens).sum() + 1e-6)


def orthogonality(anchors: Tensor) -> Tensor:
    """Mean over groups of the squared distance of the anchors' cosines from the identity; 0 where all stand upright on one another.

    Source: MVP.

    >>> round(float(orthogonality(torch.ones(1, 4, 3))), 5)
    12.0
    """
    rows = functional.normalize(anchors, dim=-1)
    gram = rows @ rows.transpose(1, 2)  # (n_groups, n_anchors, n_anchors)
    return (gram - torch.eye(gram.shape[-1]).to(gram)).square().sum((1, 2)).mean()


def mvp(
    scores: Tensor,
    targets: Tensor,
    anchors: Tensor,
    mask: Tensor | None = None,
    teacher: Tensor | None = None,
    *,
    temperature: float = 0.8,
    upright: float = 1.0,
    by: Wanted = "inverse_rank",
    twice: bool = False,
) -> Tensor:
    """`listnet` towards the teacher's order, in which the right candidates are put first, plus `upright` times `orthogonality`.

    Without a teacher the grades are what is wanted.

    Source: MVP: temperature .8, weight 1, the gold candidate forced to the first place.
    """
    wanted = targets
    if teacher is not None:
        top = _filled(teacher.to(scores), mask, -torch.inf).max(1, keepdim=True).values
        wanted = torch.where(_positive(targets, mask), top + 1, teacher.to(scores))
    return listnet(scores, wanted, mask, temperature=temperature, by=by, twice=twice) + upright * orthogonality(anchors)


def overlap(overlaps: Tensor, rouge: Tensor, drift: Tensor, *, drift_weight: float = 0.05) -> Tensor:
    """Mean squared error of the precision and recall of ROUGE-2, plus `drift_weight` times how far the weights are from where they began.

    Source: MTM, its first stage: weight .05 on Twitter, .01 on Weibo; there the drift is always 0 by mistake, here it is not.
    """
    return functional.mse_loss(overlaps, rouge) + drift_weight * drift


def ranknovo(distances: Tensor, true_distances: Tensor, offsets: Tensor, true_offsets: Tensor, *, offset_weight: float = 1.0) -> Tensor:
    """Smooth-L1 of how far candidates are from the truth, plus `offset_weight` times that of how far their parts are.

    Source: RankNovo, where losses and weight are inferred: regression of both heads is what the shapes of its labels allow.
    """
    return functional.smooth_l1_loss(distances, true_distances) + offset_weight * functional.smooth_l1_loss(offsets, true_offsets)


# ------------------------------------------------------------------ by name

LOSSES: Mapping[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (
        yes_no, bce, mse, infonce, softmax, query_likelihood, unified, ranknet, soft_ranknet, margin_mse, lambda_loss,
        listnet, kl, distil, contrast_and_ranknet, language, first, noise_injected, orthogonality, mvp, overlap, ranknovo,
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss with its options; `loss(scores=..., targets=...)` takes the tensors it names, by name, and leaves others alone."""

    name: str
    tensors: tuple[str, ...]  # what it cannot do without
    extras: tuple[str, ...]  # what it takes where it is there, such as a mask
    function: Callable[..., Tensor]

    def __call__(self, **tensors: Tensor | None) -> Tensor:
        """The loss, a tensor without dimensions.

        Raises:
            InputError: a tensor that it needs is not there.
        """
        own = {name: value for name, value in tensors.items() if value is not None and name in (*self.tensors, *self.extras)}
        if missing := [name for name in self.tensors if name not in own]:
            present = ", ".join(name for name, value in tensors.items() if value is not None) or "nothing"
            raise InputError(f"the loss {self.name!r} needs {', '.join(missing)}; the batch has {present}")
        return self.function(**own)


def named_loss(name: str, options: Mapping[str, Any] | None = None) -> Loss:
    """The loss of that name with a recipe's options.

    Raises:
        UnknownName: no loss, or no option of this one, has the name.
    """
    if name not in LOSSES:
        raise UnknownName.among("loss", name, LOSSES)
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    names = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    for option in options or {}:
        if option not in names:
            raise UnknownName.among(f"option of the loss {name!r}", option, names)
    tensors = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
    return Loss(
        name=name,
        tensors=tuple(one.name for one in tensors if one.default is one.empty),
        extras=tuple(one.name for one in tensors if one.default is not one.empty),
        function=partial(LOSSES[name], **(options or {})),
    )


# ------------------------------------------------------------------


def _open(scores: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.bool()


def _positive(targets: Tensor, mask: Tensor | None) -> Tensor:
    return (targets > 0) & _open(targets, mask)


def _negative(targets: Tensor, mask: Tensor | None) -> Tensor:
    return (targets <= 0) & _open(targets, mask)


def _filled(values: Tensor, mask: Tensor | None, value: float) -> Tensor:
    """The values, with another where the mask is False, so that neither what stood there nor its gradient counts."""
    return values if mask is None else values.masked_fill(~mask.bool(), value)


def _mean(losses: Tensor, among: Tensor) -> Tensor:
    """The mean of those that count; 0, still with a gradient of 0, where none does."""
    return losses.masked_fill(~among, 0.0).sum() / among.sum().clamp_min(1)


def _log_softmax(x: Tensor, mask: Tensor | None) -> Tensor:
    """Along a group; 0 where the mask is False, so that no infinity is left to be multiplied."""
    lowest = torch.finfo(x.dtype).min / 4
    return _filled(functional.log_softmax(_filled(x, mask, lowest), dim=1), mask, 0.0)


def _logsumexp(x: Tensor, mask: Tensor) -> Tensor:
    return torch.logsumexp(_filled(x, mask, torch.finfo(x.dtype).min / 4), dim=1)


def _differences(x: Tensor) -> Tensor:
    """(n_groups, n, n) of each value and every other."""
    return x[:, :, None] - x[:, None, :]


def _pairs(targets: Tensor, mask: Tensor | None) -> Tensor:
    """(n_groups, n, n) bool: the first of the two is the better one."""
    open_places = _open(targets, mask)
    return (targets[:, :, None] > targets[:, None, :]) & open_places[:, :, None] & open_places[:, None, :]


def _places(targets: Tensor, mask: Tensor | None) -> Tensor:
    """(n_groups, n) places by grade from 1, equal grades at the same, the first of theirs; 1 where the mask is False."""
    return 1 + _pairs(targets, mask).sum(1)


def _token_losses(token_logits: Tensor, labels: Tensor) -> Tensor:
    flat = functional.cross_entropy(token_logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=IGNORED)
    return flat.view_as(labels)
