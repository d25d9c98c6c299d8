"""A sentence-transformers model that makes one descriptor of pictures and texts together, on this machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmrerank.encoders import _torch
from mmrerank.encoders._checkpoints import MODULES, hash_of, load
from mmrerank.encoders._collating import Features, batched, collated, halving
from mmrerank.encoders._fused_values import control_tokens, plain
from mmrerank.errors import FormatError, InputError
from mmrerank.types import Array, EncodedPart

QUERY, DOCUMENT = ("query",), ("document", "passage", "corpus")  # what checkpoints call the prompt of each side
PART = "universal"


class LocalModel:
    """A loaded checkpoint. Prompts, roles, the order of a turn and the token that is read are its own."""

    def __init__(self, folder: Path, device: torch.device, precision: str, *, batch_size: int, remote_code: bool) -> None:
        if not (folder / MODULES).is_file():
            hint = "sentence-transformers would guess how to make one vector of its states. Late interaction: multivector/PATH."
            raise InputError(f"{folder} is no sentence-transformers folder: it has no {MODULES}", hint=hint)
        self.folder, self._batch_size = folder, batch_size
        self._model = load("SentenceTransformer", folder, device, precision, part=PART, remote_code=remote_code)
        self._device, self._first = device, self._model[0]
        self._takes_messages = "message" in self._model.modalities
        if not self._model.supports(("image", "text")):
            raise FormatError(self._cannot_fuse(), path=folder, hint="universal/... is for checkpoints that fuse.")
        self.dimension = int(self._model.get_embedding_dimension())
        self._tokenizer = self._first.tokenizer
        self._control = control_tokens(self._tokenizer)
        self._lock = threading.Lock()  # a tokenizer that pads changes its own state

    @property
    def weights_hash(self) -> str:
        return hash_of(self.folder)

    def prepare(self, parts: Sequence[EncodedPart], instruction: str | None, *, query: bool) -> Features:
        """What the processor makes of one value.

        Args:
            instruction: None: the checkpoint's own for that side.

        Raises:
            InputError: the processor does not take it.
        """
        prompt = self._prompt(query) if instruction is None else instruction
        task = "query" if query else "document"
        try:
            with self._lock:
                features = self._model.preprocess([self._input(parts)], prompt=prompt, task=task)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            raise InputError(f"the processor of {self.folder.name} does not take the value: {_torch.brief(error)}") from error
        return dict(features)

    def rows(self, features: Sequence[Features], *, query: bool) -> Array:
        """(n, dimension) float32 rows as the model leaves them."""
        rows: dict[int, Array] = {}

        def run(places: Sequence[int]) -> list[Array]:
            return list(self._forward([features[place] for place in places], query=query))

        for places in batched(features, self._batch_size):
            rows.update(zip(places, halving(run, places), strict=True))
        return np.stack([rows[place] for place in range(len(features))])

    @torch.inference_mode()
    def _forward(self, features: Sequence[Features], *, query: bool) -> Array:
        pad = self._tokenizer.pad_token_id or 0
        batch = collated(features, pad_token=pad, pad_left=self._tokenizer.padding_side == "left")
        inputs = {name: value.to(self._device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        rows: Array = self._model(inputs, task="query" if query else "document")["sentence_embedding"].float().cpu().numpy()
        return rows

    def _prompt(self, query: bool) -> str | None:
        prompts: dict[str, str] = self._model.prompts
        names = [name for name in (QUERY if query else DOCUMENT) if name in prompts]
        return prompts[names[0]] if names else prompts.get(self._model.default_prompt_name or "")

    def _input(self, parts: Sequence[EncodedPart]) -> Any:
        """The value in the library's words. Texts never stand alone: it would open those that look like the address of a picture."""
        if self._takes_messages:
            content = [{"type": "text", "text": self._plain(p)} if isinstance(p, str) else {"type": "image", "image": p} for p in parts]
            return [{"role": "user", "content": content}]
        pictures = [part for part in parts if isinstance(part, Image.Image)]
        text = "\n".join(self._plain(part) for part in parts if isinstance(part, str))
        if len(pictures) > 1:
            raise ValueError(f"it takes one picture at a time; got {len(pictures)}")
        return {**({"image": pictures[0]} if pictures else {}), **({"text": text} if len(pictures) < len(parts) else {})}

    def _plain(self, text: str) -> str:
        return plain(text, self._control)

    def _cannot_fuse(self) -> str:
        takes = ", ".join("+".join(one) if isinstance(one, tuple) else one for one in self._model.modalities)
        return f"it makes no one vector of a picture and a text; it takes {takes}. Text encoders: sentence/PATH"
