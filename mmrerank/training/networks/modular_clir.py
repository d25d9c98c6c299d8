"""Modules of languages and of ranking as they are trained: one a stage, upon a BERT that stays as it is.

    [model]  network = "modular_clir"
             base = "base"      a BERT as it was pretrained, with the head that names masked pieces and its tokenizer
             options = { kind = "adapters", languages = ["en", "de"] }

What a stage trains, its data and its reranker say:

    layout texts, loss language      the module of `document_language`, by masked language modelling of texts of that language alone; the
                                     first line of a text is the first segment, what follows it the second
    lists, bce or softmax            the module that ranks, with its head, upon the module of the language that the reranker's route takes

The head that names masked pieces stays as it is, as the rest of the BERT does. Of masks the first stage of a module moves every weight; a
second one of the same module takes the share of them that moved farthest, puts all back to where they began and moves those alone. A
ranking mask over `route=none` whose share is 1 and which has one stage is a whole BERT, tuned.

Source: Modular CLIR (arXiv 2204.02292, code rlitschk/ModularCLIR) and the lottery tickets of cambridgeltl/composable-sft, by their note:
layer norms stay in masks of languages and move in the ranking's; couplings are undone before masked pieces are named. Ours: no pull
towards the first weights but AdamW's on the differences (weight_decay), and the head of masked pieces stays in masks too.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmrerank.errors import InputError
from mmrerank.models.language_modules import Mask, ModularEncoder, Route, Stack, largest, mask_of, save_head, save_mask, save_stack
from mmrerank.parts import options_of
from mmrerank.rerankers.modular_clir import Options as RerankerOptions
from mmrerank.rerankers.modular_clir import modules_of, pairs_of
from mmrerank.training.collate import Sample
from mmrerank.training.losses import IGNORED
from mmrerank.training.networks._lists import NetworkTrainee, by_group, by_list, checked_options, loaded_bert, plain
from mmrerank.training.recipe import Model, Stage
from mmrerank.training.trainee import Collated

Share = Annotated[float, Field(gt=0, le=1)]
Reduction = Annotated[int, Field(ge=1)]
RANKING = "ranking"  # the name of the module that ranks, beside those of languages


@dataclass(frozen=True, kw_only=True)
class Options:
    kind: Literal["adapters", "masks"] = "adapters"
    languages: tuple[str, ...] = ()  # that stages train modules of
    reduction: Reduction = 2  # of adapters: the width over that within
    ranking_reduction: Reduction = 16
    couplings: bool = True  # of adapters: whether languages have one at the embeddings
    share: Share = 0.044  # of masks: how much of the weights a language's moves
    ranking_share: Share = 0.044
    masked: Share = 0.15  # of the pieces of a text


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tokens, each (n, L), with the lists that they are of or the pieces that are masked in them."""

    ids: Tensor
    attention: Tensor
    types: Tensor
    route: Route
    samples: tuple[Sample, ...] = ()  # of lists
    labels: Tensor | None = None  # of texts: (n, L), IGNORED where a piece is not masked


class Differences(nn.Module):
    """What a mask adds to the weights of an encoder: nothing at first."""

    def __init__(self, encoder: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        weights = dict(encoder.named_parameters())
        self.names = tuple(names)
        self.values = nn.ParameterList(torch.zeros_like(weights[name]) for name in names)
        self._ticket: dict[str, Tensor] = {}

    def added(self) -> dict[str, Tensor]:
        """Name of a weight -> what is added to it."""
        return {name: value * self._ticket[name] if self._ticket else value for name, value in zip(self.names, self.values, strict=True)}

    def draw_ticket(self, share: float) -> None:
        """Goes back to the beginning, and moves only that share of the weights that was moved farthest."""
        moved = dict(zip(self.names, self.values, strict=True))
        chosen = largest({name: torch.zeros_like(value) for name, value in moved.items()}, moved, round(share * self.count))
        self._ticket = {name: one.to(moved[name]) for name, one in chosen.items()}
        with torch.no_grad():
            for value in self.values:
                value.zero_()

    @property
    def count(self) -> int:
        """How many weights there are."""
        return sum(value.numel() for value in self.values)

    @property
    def is_new(self) -> bool:
        """Whether nothing has moved yet."""
        return not any(bool(value.any()) for value in self.values)

    def mask(self) -> Mask:
        """The differences where there are some."""
        values = self.added()
        return mask_of({name: torch.zeros_like(value) for name, value in values.items()}, values)


class ModularTrainee(NetworkTrainee):
    """The network with its modules, of which one is trained at a time."""

    def __init__(self, network: ModularEncoder, naming: nn.Module, tokenizer: Any, options: Options, *, origin: str, seed: int) -> None:
        """
        Args:
            naming: states -> logits of the pieces.
            tokenizer: with a mask token.
        """
        super().__init__(network, origin)
        self.naming, self._tokenizer, self._options, self._seed = naming, tokenizer, options, seed
        self.differences: Any = nn.ModuleDict()
        for name in (*options.languages, RANKING):
            if options.kind == "adapters":
                self._add_stack(name)
            else:
                self.differences[name] = Differences(network.encoder, _maskable(network.encoder, name))

    def _add_stack(self, name: str) -> None:
        config, own = self.network.encoder.config, self._options
        reduction, coupled = (own.ranking_reduction, False) if name == RANKING else (own.reduction, own.couplings)
        inner = max(1, config.hidden_size // reduction)
        stacks = self.network.ranking if name == RANKING else self.network.languages
        stacks[name] = Stack(config.hidden_size, inner, config.num_hidden_layers, coupled=coupled)

    def _module(self, name: str) -> Any:
        """The stack or the differences of a language, or of the ranking."""
        return next(part[name] for part in (self.differences, self.network.languages, self.network.ranking) if name in part)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The weights of all modules and of the head, by name; a stage moves those of one."""
        parts = {"languages": self.network.languages, RANKING: self.network.ranking, "differences": self.differences}
        parts["head"] = self.network.head
        return {f"{place}.{name}": weight for place, part in parts.items() for name, weight in part.named_parameters()}

    # ------------------------------------------------------------------ stages

    def collator(self, stage: Stage) -> Collated:
        """Texts with masked pieces, or pairs as the stage's reranker reads them.

        Raises:
            InputError: there is no module of the language, or the stage asks for what only a language model can do.
        """
        plain(stage)
        options, route = options_of(stage.reranker, RerankerOptions), self._route(stage)

        def texts(samples: Sequence[Sample]) -> Batch:
            return self._masked(samples, options.tokens, route, stage.name)

        def lists(samples: Sequence[Sample]) -> Batch:
            queries = [one.query.text or "" for one in samples for _ in one.candidates]
            inputs = pairs_of(self._tokenizer, queries, [text for one in samples for text in one.texts], options.tokens)
            return Batch(**_tokens(inputs), route=route, samples=tuple(samples))

        return texts if _is_of_texts(stage) else lists

    def _route(self, stage: Stage) -> Route:
        options = options_of(stage.reranker, RerankerOptions)
        own = options.document_language
        query, document = (own, own) if _is_of_texts(stage) else modules_of(options, own)
        for language in {query, document} - {None, *self._options.languages}:
            known = list(self._options.languages)
            raise InputError(f"[[stages]] {stage.name}: {language!r} is none of {known}", hint="Add it to languages.")
        is_ranked = not _is_of_texts(stage)
        return Route(query=query, document=document, ranked=is_ranked, coupled=options.couplings or not is_ranked)

    def begin(self, stage: Stage, samples: Sequence[Sample], *, resumes: bool) -> None:
        """Lets the weights of the stage's module move, and of the ranking's the head; of a mask that was trained before, its ticket.

        Raises:
            InputError: there is no module of the language.
        """
        is_ranking = not _is_of_texts(stage)
        module = self._module(RANKING if is_ranking else self._route(stage).document or "")
        self.requires_grad_(False)
        module.requires_grad_(True)
        if isinstance(module, Differences) and not module.is_new:
            module.draw_ticket(self._options.ranking_share if is_ranking else self._options.share)
        self.network.head.requires_grad_(is_ranking)

    def finish(self, stage: Stage, samples: Sequence[Sample]) -> None:
        """Nothing moves until another stage begins."""
        self.requires_grad_(False)

    def _masked(self, samples: Sequence[Sample], tokens: int, route: Route, stage: str) -> Batch:
        """Texts of which some pieces are hidden; which, the texts of the batch decide, so that a stage that goes on hides the same."""
        named = "/".join(one.query.query_id for one in samples)
        chance = torch.Generator().manual_seed(random.Random(f"{self._seed}/{stage}/{named}").getrandbits(63))
        inputs = segments(self._tokenizer, [one.query.text or "" for one in samples], tokens)
        ids, labels = with_masked_pieces(inputs["input_ids"], self._tokenizer, self._options.masked, chance)
        return Batch(**{**_tokens(inputs), "ids": ids}, route=route, labels=labels)

    # ------------------------------------------------------------------ one pass

    def forward(self, batch: Batch, wanted: Collection[str] = ()) -> dict[str, Tensor | None]:
        """Of lists `scores`, `targets` and `mask`; of texts `token_logits` (1, n_masked, vocabulary) and `labels` (1, n_masked)."""
        device = self.network.head.weight.device
        ids, attention, types = (one.to(device) for one in (batch.ids, batch.attention, batch.types))
        output = self.network.states(ids, attention, types, batch.route, self._weights(batch.route))
        if batch.labels is None:
            scores = by_list(self.network.head(output.pooler_output)[:, 0], batch.samples)
            return {**by_group(batch.samples, device), "scores": scores}
        labels = batch.labels.to(device)
        states = self.network.uncoupled(output.last_hidden_state[labels != IGNORED], batch.route)  # (n_masked, D)
        return {"token_logits": self.naming(states)[None], "labels": labels[labels != IGNORED][None]}

    def _weights(self, route: Route) -> dict[str, Tensor]:
        """The weights of the encoder that masks change, with what they add."""
        if not self.differences:
            return {}
        weights = dict(self.network.encoder.named_parameters())
        changed: dict[str, Tensor] = {}
        for module in dict.fromkeys((route.query, route.document, RANKING if route.ranked else None)):
            for name, value in self.differences[module].added().items() if module is not None else ():
                changed[name] = changed.get(name, weights[name]) + value
        return changed

    def save(self, folder: Path) -> None:
        """Writes what `modular_clir/FOLDER` loads: the BERT as it was, each language's module that a stage moved, and the ranking's."""
        self.network.encoder.save_pretrained(folder / "encoder")
        self._tokenizer.save_pretrained(folder / "encoder")
        for name in (*self._options.languages, RANKING):
            module, place = self._module(name), folder / RANKING if name == RANKING else folder / "languages" / name
            if name == RANKING or not module.is_new:
                save_mask(module.mask(), place) if isinstance(module, Differences) else save_stack(module, place)
        save_head(self.network.head, folder / RANKING)


def _is_of_texts(stage: Stage) -> bool:
    """Whether a language is learnt, and not ranking."""
    return stage.loss == "language"


def _maskable(encoder: nn.Module, module: str) -> list[str]:
    """Names of the weights that a mask may move."""
    fixed = () if module == RANKING else ("LayerNorm", "pooler")  # masked pieces are named without the pooler
    return [name for name, _ in encoder.named_parameters() if not any(one in name for one in fixed)]


def _tokens(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"ids": inputs["input_ids"], "attention": inputs["attention_mask"], "types": inputs["token_type_ids"]}


def segments(tokenizer: Any, texts: Sequence[str], tokens: int) -> Any:
    """Texts as `pairs_of` reads pairs: their first line, and what follows it."""
    parts = [text.partition("\n") for text in texts]
    return pairs_of(tokenizer, [first for first, _, _ in parts], [rest for _, _, rest in parts], tokens)


def with_masked_pieces(ids: Tensor, tokenizer: Any, share: float, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens in which that share of the pieces is to be named again, and these pieces, each (n, L).

    Source: BERT (Devlin et al. 2019): of ten chosen pieces eight are the mask, one is any other and one stays.

    Returns:
        ids, and labels that are `IGNORED` where a piece was not chosen.
    """
    special = torch.tensor([tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id])
    chosen = (torch.rand(ids.shape, generator=chance) < share) & ~torch.isin(ids, special)
    way = torch.rand(ids.shape, generator=chance)
    others = torch.randint(len(tokenizer), ids.shape, generator=chance)
    hidden = torch.where(way < 0.8, tokenizer.mask_token_id, torch.where(way < 0.9, others, ids))
    return torch.where(chosen, hidden, ids), ids.masked_fill(~chosen, IGNORED)


def build(model: Model, root: Path, seed: int) -> ModularTrainee:
    """The BERT of the base with new modules, which change nothing yet.

    Raises:
        InputError: no base is named, it is no pretrained BERT, or an option is of another kind.
        UnknownName: an option that there is none of.
    """
    options = checked_options(model, Options)
    pretrained, tokenizer = loaded_bert(model, root, with_heads=True)
    if tokenizer.mask_token_id is None:
        raise InputError(f"the tokenizer of {model.base} has no mask", hint="Name a BERT as it was pretrained.")
    torch.manual_seed(seed)
    network = ModularEncoder(pretrained.bert, nn.Linear(pretrained.config.hidden_size, 1))
    return ModularTrainee(network, pretrained.cls.predictions, tokenizer, options, origin=model.base, seed=seed)
