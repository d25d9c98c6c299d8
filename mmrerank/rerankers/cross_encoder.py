"""Reranks by any cross-encoder of sentence-transformers: a network that reads the query and a candidate together and scores the pair.

    cross_encoder//path/to/folder                     a saved checkpoint
    cross_encoder/BAAI/bge-reranker-v2-m3             the same, on the hub
    cross_encoder/ORG/NAME(revision='...')            at one commit of it

Source: sentence-transformers 6.2 (`CrossEncoder`). Needs the extra `sentence`. It loads sequence classification over text pairs, and what
has a `modules.json`: LogitScore over language and image-text models, pooled heads, adapters, with the prompts and the template that the
checkpoint brings along. Ours: raw scores are the head's own, before the activation that a checkpoint may have, and ranking is by them;
what is shown is their sigmoid.

A checkpoint that takes pictures is shown picture and text of an item, pictures of the query too, as `modality` says; one that takes none is
shown texts. An instruction, the query's or that of the options, stands where the checkpoint's own prompt would. Exclusions cannot be told
to such a network, which is noted. Texts are cut by words, and by the library where that is still too long.

Refused, since their scores would be noise: heads that are missing or random, language models whose folder does not say how they score, and
code from a checkpoint unless `remote_code` says that it may run.

Cost per query: one forward pass a candidate, batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.prompting.items import MAX_PIXELS, ModalityChoice
from mmrerank.rerankers._cross_encoder import cross_encoder
from mmrerank.rerankers._pair_model import PairModel, load_pair_model
from mmrerank.rerankers._pointwise import sigmoid
from mmrerank.rerankers._rankings import with_messages
from mmrerank.types import Candidate, Modality, Query, Ranking

LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    model: str = ""  # folder or name on the hub
    revision: str = "main"  # of a name on the hub
    modality: ModalityChoice = "both"  # what of a candidate is shown; texts where the checkpoint takes no pictures
    instruction: str = ""  # the task in a sentence; the checkpoint's own prompt where it is empty
    words: Annotated[int, Field(ge=1)] = 400  # of each item's text
    query_words: Annotated[int, Field(ge=1)] = 64  # of the query's
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS  # of each picture
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "fp32"  # auto: as saved
    remote_code: bool = False  # whether code that comes with the checkpoint may run
    device: str = runtime_option("auto")
    batch_size: Annotated[int, Field(ge=1)] = runtime_option(16)


class CrossEncoder:
    """Reranks pointwise by a network over pairs."""

    pointwise = True  # a score depends on the query and this candidate alone
    takes_instruction = True

    def __init__(self, options: Options, model: PairModel) -> None:
        self.name = printed("cross_encoder", options, argument=True)
        self._options, self._model = options, model

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by raw score, equal ones in the incoming order; what cannot be shown behind, with the reason.

        Raises:
            InputError: the query is pictures alone, and the checkpoint takes none.
            FormatError: a picture of the query cannot be opened.
        """
        options = self._options
        modality: ModalityChoice = options.modality if self._model.takes_pictures else "text"
        ranking = cross_encoder(
            query,
            candidates,
            self._model.with_prompt(query.instruction or options.instruction or None),
            modality=modality,
            words=options.words,
            query_words=options.query_words,
            max_pixels=options.max_pixels,
            batch=options.batch_size,
            to_score=sigmoid,
        )
        blind = modality != options.modality and any(candidate.item.image is not None for candidate in candidates)
        return with_messages(ranking, ["the checkpoint takes no pictures: items are shown by their text"] if blind else [])


def build(options: Options) -> CrossEncoder:
    """The reranker; errors as of `load_pair_model`.

    Raises:
        InputError: items are to be shown as pictures, and the checkpoint takes none.
    """
    model = load_pair_model(
        options.model,
        revision=options.revision,
        precision=options.precision,
        device=options.device,
        remote_code=options.remote_code,
    )
    if options.modality == "image" and not model.takes_pictures:
        raise InputError(f"{options.model!r} takes no pictures", hint="Leave modality out, or take a checkpoint that does.")
    return CrossEncoder(options, model)


def tiny() -> CrossEncoder:
    """A BERT with seeded random weights over letters, whose scores lie apart and mean nothing."""
    return CrossEncoder(Options(), _tiny_model())


@cache
def _tiny_model() -> PairModel:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        save_tiny(Path(folder), seed=0)
        return load_pair_model(folder, device="cpu")


def save_tiny(folder: Path, *, seed: int) -> None:
    """Writes the checkpoint folder of `tiny()` with the weights of a seed."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = letter_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, initializer_range=0.5, max_position_embeddings=128, **sizes)
    BertForSequenceClassification(config).eval().save_pretrained(folder)


def letter_tokenizer() -> Any:
    """A tokenizer of BERT's whose tokens are letters, for tiny networks."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789 "]
    tokenizer = Tokenizer(models.WordLevel({letter: n for n, letter in enumerate(letters)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)
