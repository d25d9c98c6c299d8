"""Scores pairs by a multilingual cross-encoder whose module of the language is changed with the language of the document.

    score = head(pool(BERT + module of the language + module that ranks))        ranked in English, asked in any language with a module

    modular_clir/FOLDER(query_language=en, document_language=de)

    FOLDER/encoder/           a BERT with its tokenizer, as transformers writes it
    FOLDER/languages/de/      adapters (adapter.safetensors, pytorch_adapter.bin) or a mask (diff.safetensors, pytorch_diff.bin)
    FOLDER/ranking/           the same, and the head (head.safetensors, pytorch_model_head.bin)

Source: Modular CLIR (arXiv 2204.02292, code rlitschk/ModularCLIR), by its note; the network is `models/language_modules.py`. Read there:
the language of the document by default, that of the query, or both (adapters split between the segments, masks added), couplings left
out, the first 100 candidates. Ours: the last batch is scored too (there candidates that fill none are lost), and a document that says its
language in its field `language` goes through that module.

`route` says which languages count: `document`, `query`, `both`, or `none` for the module that ranks alone, which is also what a language
without a module falls back to, and the notes say so. Texts only: pictures and exclusions are left aside, which is noted.

Cost per query: one forward pass a candidate, batched; changing masks costs a pass over the weights that they touch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mmrerank.errors import FormatError, InputError
from mmrerank.parts import always_named, printed, runtime_option
from mmrerank.rerankers._pointwise import AT_ONCE, Scores, pointwise, sigmoid
from mmrerank.rerankers._rankings import with_messages, without_text
from mmrerank.types import Array, Candidate, Item, Modality, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.models.language_modules import ModularEncoder, Route

LOOKS_AT: frozenset[Modality] = frozenset({"text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str = ""  # folder
    query_language: str = always_named("en")  # of queries
    document_language: str = always_named("en")  # of items that do not say theirs in the field `language`
    route: Literal["document", "query", "both", "none"] = "document"  # whose language chooses the module
    couplings: bool = False  # whether couplings at the embeddings are used where a language has one
    tokens: Annotated[int, Field(ge=16)] = 512  # of a pair; the longer side is cut first
    device: str = runtime_option("auto")
    batch_size: Annotated[int, Field(ge=1)] = runtime_option(16)


class ModularClir:
    """Reranks pointwise by modules of languages."""

    pointwise = True  # a score depends on the query and this candidate alone

    def __init__(self, options: Options, network: ModularEncoder, tokenizer: Any) -> None:
        self.name = printed("modular_clir", options, argument=True) if options.checkpoint else printed("modular_clir", options)
        self._options, self._network, self._tokenizer = options, network, tokenizer

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by their logit, equal ones in the incoming order; those without text behind, with the reason.

        A query without text leaves the order as it came.
        """
        if not query.text:
            return without_text(query, candidates)
        text, lost = query.text, set[str]()

        def judge(items: Sequence[Item]) -> Scores:
            return Scores(raw=self._scores(text, items, lost))

        ranking = pointwise(query, candidates, show=_with_text, judge=judge, to_score=sigmoid, at_once=max(AT_ONCE, len(candidates)))
        without = [f"no module of the language {language!r}: the module that ranks was asked alone" for language in sorted(lost)]
        return with_messages(ranking, [*query.left_aside("text"), *without] if candidates else [])

    def _scores(self, query: str, items: Sequence[Item], lost: set[str]) -> Array:
        """(n,) logits; `lost` takes the languages that there is no module of."""
        by_route: dict[Route, list[int]] = {}
        for n, item in enumerate(items):
            by_route.setdefault(self._route(item, lost), []).append(n)
        scores = np.zeros(len(items), dtype=np.float32)
        for route, places in by_route.items():  # those of one language together: masks are changed once
            places.sort(key=lambda n: -len(items[n].text or ""))
            for start in range(0, len(places), self._options.batch_size):
                some = places[start : start + self._options.batch_size]
                scores[some] = self._batch(query, [items[n].text or "" for n in some], route)
        return scores

    def _route(self, item: Item, lost: set[str]) -> Route:
        from mmrerank.models.language_modules import Route

        options = self._options
        language = item.metadata.get("language")
        wanted = modules_of(options, language if isinstance(language, str) and language else options.document_language)
        known = self._network.known
        lost |= {language for language in wanted if language is not None and language not in known}
        ours, theirs = (language if language in known else None for language in wanted)
        return Route(query=ours, document=theirs, coupled=options.couplings)

    def _batch(self, query: str, texts: list[str], route: Route) -> Array:
        import torch

        inputs = pairs_of(self._tokenizer, [query] * len(texts), texts, self._options.tokens)
        device = self._network.head.weight.device
        ids, mask, types = (inputs[name].to(device) for name in ("input_ids", "attention_mask", "token_type_ids"))
        with torch.inference_mode():
            scores: Array = self._network(ids, mask, types, route).float().cpu().numpy()
        return scores


def modules_of(options: Options, document: str) -> tuple[str | None, str | None]:
    """The languages whose modules tokens of the query and of a document go through, by the route; None where none."""
    query = options.query_language
    return {"document": (document, document), "query": (query, query), "both": (query, document), "none": (None, None)}[options.route]


def pairs_of(tokenizer: Any, queries: Sequence[str], texts: Sequence[str], tokens: int) -> Any:
    """What the network reads of pairs: `input_ids`, `attention_mask` and `token_type_ids`, each (n, L) with L at most `tokens`."""
    limit = {"truncation": "longest_first", "max_length": tokens}
    return tokenizer(
        list(queries), list(texts), **limit, padding=True, return_tensors="pt", return_token_type_ids=True, split_special_tokens=True
    )


def _with_text(item: Item) -> Item:
    if not (item.text or "").strip():
        raise InputError("it has no text")
    return item


def build(options: Options) -> ModularClir:
    """The reranker with the modules of its folder.

    Raises:
        InputError: no folder is named.
        FormatError: the encoder, the ranking module or one of a language cannot be read.
    """
    if not options.checkpoint:
        raise InputError("modular_clir needs a folder", hint="Write modular_clir/FOLDER, with encoder, languages and ranking in it.")
    import torch

    network, tokenizer = _load(Path(options.checkpoint))
    place = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    return ModularClir(options, network.to(place).eval(), tokenizer)


def _load(folder: Path) -> tuple[ModularEncoder, Any]:
    from torch import nn
    from transformers import AutoTokenizer, BertModel

    from mmrerank.models.language_modules import HEAD_FILES, ModularEncoder, read_module

    ranking = folder / "ranking"
    if not any((ranking / name).is_file() for name in HEAD_FILES):
        raise FormatError(f"no head of the module that ranks ({', '.join(HEAD_FILES)}); it would be random", path=ranking)
    try:
        encoder, report = BertModel.from_pretrained(folder / "encoder", local_files_only=True, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder / "encoder", local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise FormatError(f"no BERT with its tokenizer: {' '.join(str(error).split())[:300]}", path=folder / "encoder") from error
    if missing := sorted(report.get("missing_keys") or ()):
        raise FormatError(f"missing in the weights: {', '.join(missing[:3])}; they would be random", path=folder / "encoder")
    network = ModularEncoder(encoder, nn.Linear(encoder.config.hidden_size, 1))
    read_module(ranking, network)
    for language in sorted(path for path in (folder / "languages").glob("*") if path.is_dir()):
        read_module(language, network, language=language.name)
    return network, tokenizer


def tiny() -> ModularClir:
    """A BERT over letters with seeded random weights and modules of two languages, whose scores mean nothing."""
    return ModularClir(Options(), *_tiny())


@cache
def _tiny() -> tuple[ModularEncoder, Any]:
    import torch
    from torch import nn
    from transformers import BertConfig, BertModel

    from mmrerank.models.language_modules import ModularEncoder, Stack
    from mmrerank.rerankers.cross_encoder import letter_tokenizer

    tokenizer = letter_tokenizer()
    torch.manual_seed(0)
    sizes: Mapping[str, int] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    network = ModularEncoder(BertModel(BertConfig(vocab_size=len(tokenizer), initializer_range=0.4, **sizes)), nn.Linear(16, 1))
    network.languages.update({language: Stack(16, 4, 2) for language in ("de", "en")})
    network.ranking["ranking"] = Stack(16, 4, 2)
    for weight in (*network.languages.parameters(), *network.ranking.parameters(), *network.head.parameters()):
        nn.init.normal_(weight, std=0.3)
    return network.eval(), tokenizer
