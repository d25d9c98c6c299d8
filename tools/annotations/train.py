"""Trains the small multilingual BERT that modules of languages and of ranking are put into.

    python -m tools.annotations.make --out data/annotations
    python -m tools.annotations.train --data data/annotations --out data/annotations/base

Masked language modelling over pairs.jsonl: an emoji's words in one language are the first segment, its name in another the second, so that
a word that is masked can be read from its translation. The word pieces are those of the languages that are seen; of the others their
letters alone are in the vocabulary. The pooler, which this training does not reach, is the identity. Interrupted, it goes on from its last
checkpoint. The same data and seed give the same tokenizer; one that lies in the folder already is taken.

Source: BERT (Devlin et al. 2019), the pairs as XLM has them (Lample & Conneau 2019). Ours: .3 of the pieces are chosen, no dropout, batches
of about the same length. Cost: a step is 64 texts of at most 40 pieces through four layers; on one core some thousand take minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import nn
from transformers import BertConfig, BertForPreTraining, PreTrainedTokenizerFast

from mmrerank.errors import InputError
from mmrerank.training.networks.modular_clir import segments, with_masked_pieces
from tools.annotations.make import SEEN, UNSEEN

PIECES, TOKENS = 3000, 40
WIDTH, LAYERS, HEADS = 128, 4, 4
BATCH, RATE, SHARE = 64, 2e-3, 0.3
SHUFFLED = 16  # batches that are sorted by length together
SAVE_EVERY = 50  # steps


def read_texts(path: Path) -> list[str]:
    """The texts of a file.

    Raises:
        InputError: there is no such file, or none in it.
    """
    if not path.is_file():
        raise InputError(f"no file {path}", hint="Make it: python -m tools.annotations.make")
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def tokenizer_of(data: Path) -> Any:
    """Word pieces of the languages that are seen, in small letters with their accents; letters of all."""
    from tokenizers import BertWordPieceTokenizer

    texts = {language: read_texts(data / f"texts-{language}.jsonl") for language in (*SEEN, *UNSEEN)}
    letters = sorted({letter for some in texts.values() for text in some for letter in text.lower() if not letter.isspace()})
    marks = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    within = [f"##{letter}" for letter in letters]  # pieces within words have no place otherwise until they are met, and ties go by place
    cleaning = {"lowercase": True, "strip_accents": False}
    learner = BertWordPieceTokenizer(**cleaning)
    options = {"initial_alphabet": letters, "limit_alphabet": len(letters), "special_tokens": [*marks.values(), *within]}
    seen = [text for language in SEEN for text in texts[language]]
    learner.train_from_iterator(seen, vocab_size=PIECES, min_frequency=2, show_progress=False, **options)
    pieces = BertWordPieceTokenizer(learner.get_vocab(), **cleaning)
    return PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, **marks)


def network_of(tokenizer: Any) -> Any:
    """A new BERT with the head that names masked pieces."""
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH}
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    network = BertForPreTraining(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes, **without))
    pooler = network.bert.pooler.dense
    nn.init.eye_(pooler.weight)
    nn.init.zeros_(pooler.bias)
    return network


def batches(texts: Sequence[str], steps: int, seed: int) -> Iterator[list[str]]:
    """So many batches, each of texts of about the same length."""
    chance = random.Random(seed)
    left: list[list[str]] = []
    for _ in range(steps):
        if not left:
            some = sorted(chance.sample(texts, min(SHUFFLED * BATCH, len(texts))), key=len)
            left = [some[start : start + BATCH] for start in range(0, len(some), BATCH)]
            chance.shuffle(left)
        yield left.pop()


def loss_of(network: Any, tokenizer: Any, texts: Sequence[str], chance: torch.Generator) -> torch.Tensor:
    """The mean cross entropy of the masked pieces of some texts."""
    inputs = segments(tokenizer, texts, TOKENS)
    ids, labels = with_masked_pieces(inputs["input_ids"], tokenizer, SHARE, chance)
    states = network.bert(**{**inputs, "input_ids": ids}).last_hidden_state[labels >= 0]  # (n_masked, D)
    return nn.functional.cross_entropy(network.cls.predictions(states), labels[labels >= 0])


def resumed(parts: Mapping[str, Any], checkpoint: Path) -> list[float]:
    """Puts a checkpoint into network, optimiser and schedule where there is one; returns the losses of the steps so far."""
    if not checkpoint.is_file():
        return []
    state = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    losses: list[float] = state["losses"]
    return losses


def train(data: Path, out: Path, steps: int, seed: int = 0) -> list[float]:
    """Trains for so many steps and writes network and tokenizer; goes on where a checkpoint lies beside them. Returns each step's loss."""
    torch.manual_seed(seed)
    if not (out / "tokenizer.json").is_file():
        tokenizer_of(data).save_pretrained(out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    network = network_of(tokenizer).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.1)
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser, "schedule": schedule}
    checkpoint = out.with_suffix(".checkpoint")
    losses = resumed(parts, checkpoint)
    some = islice(batches(read_texts(data / "pairs.jsonl"), steps, seed), len(losses), None)
    for texts in track(some, "steps", steps - len(losses), console=Console(stderr=True)):
        loss = loss_of(network, tokenizer, texts, torch.Generator().manual_seed(seed + len(losses)))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if len(losses) % SAVE_EVERY == 0:
            torch.save({"losses": losses, **{name: part.state_dict() for name, part in parts.items()}}, checkpoint)
    network.save_pretrained(out)
    checkpoint.unlink(missing_ok=True)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    losses = train(arguments.data, arguments.out, arguments.steps)
    sys.stdout.write(f"loss of the last 50 steps {sum(losses[-50:]) / len(losses[-50:]):.3f}\n")


if __name__ == "__main__":
    main()
