"""The network that is trained: a backend's own, with adapters in it, and what losses read of it.

    rows --inputs--> tokens --layers from below, kept--> states --layers above, trained--> logits --> tensors by name

The backend answers by the same weights at once, since adapters are put into its network in place.

Frozen layers: where the lower layers of a text model stay as they are, what comes out of them is the same every time a row is seen. It
is computed once, each row by itself so that it does not depend on its neighbours, and kept in memory in half precision. For 22 of 30
layers a second pass over the same rows then costs less than half. The first batch is computed both ways and compared.

Source: Hu et al. 2021 (LoRA), by peft.  Kept states take 2 bytes x width x tokens, within a limit; the rest is computed again.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrerank.errors import InputError, MissingExtra
from mmrerank.protocols import TrainableBackend, Weighted
from mmrerank.training.collate import Collator, Rows
from mmrerank.training.losses import IGNORED
from mmrerank.training.noise import diffused
from mmrerank.training.recipe import Lora, Model, Stage
from mmrerank.types import Prompt

ROWS_AT_ONCE = 8  # of texts in one pass: more is padded more, and no faster on a CPU
STATE_BYTES = 2 << 30
HALF = 2e-2  # how far logits may move through half precision of kept states, times their size
PER_TOKEN = ("mm_token_type_ids", "token_type_ids")  # inputs beside ids and mask that grow with a prompt


class Student(torch.nn.Module):
    """The network of a backend, as rows go through it; `forward` gives the tensors that losses name."""

    def __init__(self, backend: TrainableBackend, model: Model, *, seed: int, state_bytes: int = STATE_BYTES) -> None:
        """
        Raises:
            InputError: layers are to be frozen that the network does not have, or it takes pictures; modules that it does not have.
            MissingExtra: peft is not installed.
        """
        super().__init__()
        self.backend = backend
        self.frozen_layers = model.frozen_layers
        self._check_frozen()
        torch.manual_seed(seed)  # of the adapters' first weights
        self.network = backend.network if model.lora is None else with_adapters(backend, model.lora, model.frozen_layers)
        if model.lora is None:
            _freeze(backend.network, model.frozen_layers)
        self._states: dict[tuple[int, ...], Tensor] = {}
        self._room, self._compared = state_bytes, False

    def _check_frozen(self) -> None:
        if self.frozen_layers == 0:
            return
        if "image" in self.backend.takes:
            raise InputError("frozen_layers keeps states of texts, and this model takes pictures", hint="Leave frozen_layers out.")
        count = len(_layers(self.backend.network))
        if self.frozen_layers >= count:
            raise InputError(f"frozen_layers is less than the model's {count} layers; got {self.frozen_layers}")

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The weights that are trained, by name."""
        return {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}

    @property
    def origin(self) -> str:
        """The folder or name on the hub of the model that this began as."""
        return self.backend.origin

    @property
    def weights_hash(self) -> str:
        """Of the backend; "" where it tells none."""
        return self.backend.weights_hash if isinstance(self.backend, Weighted) else ""

    def collator(self, stage: Stage) -> Collator:
        """Rows by the prompts of the stage's reranker."""
        return Collator(stage.reranker, self.backend, answer=stage.answer, beside=stage.beside)

    def save(self, folder: Path) -> None:
        """Writes what `local/` loads."""
        self.network.save_pretrained(folder)
        self.backend.processor.save_pretrained(folder)

    def gradient_checkpointing_enable(self) -> None:
        """From now on activations are computed again in the backward pass."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # transformers 5.24 is about to call it otherwise
            self.network.gradient_checkpointing_enable()
        self.network.enable_input_require_grads()

    def forward(self, rows: Rows, wanted: Collection[str] = ()) -> dict[str, Tensor | None]:
        """Tensors by the names that losses have for them, see `losses`; what these rows do not give is left out.

        Args:
            wanted: where `noisy_logits` is among it, rows are passed once more with noise over their pictures.
        """
        logits, states = self._logits(rows)  # (n_rows, 1 + longest following, vocabulary), (n_rows, 1 + ..., dim)
        tensors: dict[str, Tensor | None] = {"targets": _grouped([one.grades for one in rows.samples], logits)}
        tensors["mask"] = _grouped([[1.0] * len(one.grades) for one in rows.samples], logits).bool()
        if rows.samples[0].teacher:
            tensors["teacher"] = _grouped([one.teacher for one in rows.samples], logits)
        tensors |= self._written(rows, logits)
        if "noisy_logits" in wanted:
            tensors["noisy_logits"] = self._through_noise(rows)
        if rows.kind == "states":
            tensors["scores"] = _cosines(rows, states[:, 0])
        if any(rows.choices):
            tensors |= _of_choices(rows, logits[:, 0])
        if rows.kind == "likelihood":
            logprobs = _padded([_logprobs(logits[n], row) for n, row in enumerate(rows.following)])  # (n_rows, longest)
            by_token = _by_group(rows, logprobs)
            tensors["query_logprobs"] = by_token
            tensors["query_mask"] = _by_group(rows, _padded([torch.ones(len(row)) for row in rows.following])).bool().to(logits.device)
            tensors["scores"] = by_token.sum(-1)
        if rows.beside is not None:
            tensors["query_scores"] = self(rows.beside)["scores"]
        return tensors

    def _written(self, rows: Rows, logits: Tensor) -> dict[str, Tensor | None]:
        """Logits and labels of answers that are taught."""
        if rows.kind == "likelihood" or not any(rows.following):
            return {}
        labels = torch.full((len(rows.following), logits.shape[1] - 1), IGNORED, device=logits.device)
        for n, tokens in enumerate(rows.following):
            labels[n, : len(tokens)] = torch.tensor(tokens)
        return {"token_logits": logits[:, :-1], "labels": labels}

    @torch.no_grad()
    def _through_noise(self, rows: Rows) -> Tensor:
        """As `token_logits`, with noise over the pictures.

        Raises:
            InputError: there are none.
        """
        inputs = self._inputs(rows.prompts, rows.following)
        if inputs.get("pixel_values") is None:
            raise InputError("noise is laid over pictures, and these prompts show none", hint="Take another loss.")
        inputs["pixel_values"] = diffused(inputs["pixel_values"])
        return self._passed(inputs, 1 + max(map(len, rows.following)))[0][:, :-1]

    # ------------------------------------------------------------------ one pass

    def _logits(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """(n_rows, n, vocabulary) float32 logits from the last token of each prompt on, and the states that they come from.

        Rows go through in chunks of about the same length, so that little is padded; shorter ones are filled up behind with 0.
        """
        if "image" in self.backend.takes:
            return self._passed(self._inputs(rows.prompts, rows.following), 1 + max(map(len, rows.following), default=0))
        lengths = self.backend.inputs(rows.prompts)["attention_mask"].sum(dim=1).tolist()
        order = sorted(range(len(lengths)), key=lambda n: (lengths[n], n))
        logits: dict[int, Tensor] = {}
        states: dict[int, Tensor] = {}
        for start in range(0, len(order), ROWS_AT_ONCE):
            chunk = order[start : start + ROWS_AT_ONCE]
            some = self._chunk([rows.prompts[n] for n in chunk], [rows.following[n] for n in chunk])
            for values, rows_of in zip(some, (logits, states), strict=True):
                rows_of.update(zip(chunk, values, strict=True))
        return _padded([logits[n] for n in range(len(order))]), _padded([states[n] for n in range(len(order))])

    def _chunk(self, prompts: Sequence[Prompt], following: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """The logits and states of some rows of texts."""
        inputs, keep = self._inputs(prompts, following), 1 + max(map(len, following))
        if not self.frozen_layers:
            return self._passed(inputs, keep)
        if not self._compared:
            self._compare(inputs, keep)
        return self._from_states(inputs, keep)

    def _inputs(self, prompts: Sequence[Prompt], following: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Prompts padded on the left, what follows them on the right."""
        inputs = dict(self.backend.inputs(prompts))
        mask = inputs["attention_mask"]
        longest = max(map(len, following), default=0)
        ids = torch.zeros((len(mask), longest), dtype=torch.long, device=mask.device)
        more = torch.zeros((len(mask), longest), dtype=mask.dtype, device=mask.device)
        for n, tokens in enumerate(following):
            ids[n, : len(tokens)], more[n, : len(tokens)] = torch.tensor(tokens, dtype=torch.long), 1
        inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
        inputs["attention_mask"] = torch.cat([mask, more], dim=1)
        for name in PER_TOKEN:
            if inputs.get(name) is not None:
                inputs[name] = torch.cat([inputs[name], torch.zeros_like(more, dtype=inputs[name].dtype)], dim=1)
        if "image" not in self.backend.takes:  # of pictures the network counts positions itself
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return inputs

    def _passed(self, inputs: Mapping[str, Any], keep: int) -> tuple[Tensor, Tensor]:
        """The logits of the last `keep` places, and the states at the head's door."""
        states: list[Tensor] = []
        network = self.backend.network
        handle = network.get_output_embeddings().register_forward_pre_hook(lambda _, args: states.append(args[0]))
        try:
            output = self.network(**inputs, use_cache=False, logits_to_keep=keep)
        finally:
            handle.remove()
        return output.logits[:, -keep:].float(), states[0][:, -keep:].float()

    # ------------------------------------------------------------------ frozen layers

    def _from_states(self, inputs: Mapping[str, Any], keep: int) -> tuple[Tensor, Tensor]:
        """As `_passed`, with the layers from below out of what is kept."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        states = torch.zeros((*ids.shape, self.backend.network.config.get_text_config().hidden_size), device=ids.device)
        for n in range(len(ids)):
            states[n, mask[n]] = self._state(ids[n, mask[n]]).to(states)
        above = {**inputs, "inputs_embeds": states.to(self.backend.network.dtype)}
        del above["input_ids"]
        with _layers_from(self.backend.network, self.frozen_layers):
            return self._passed(above, keep)

    def _state(self, ids: Tensor) -> Tensor:
        """(n_tokens, dim) float16 what comes out of the frozen layers for one row."""
        key = tuple(ids.tolist())
        if key in self._states:
            return self._states[key]
        state = _below(self.backend.network, self.frozen_layers, ids).half()
        if self._room >= state.nbytes:
            self._states[key] = state
            self._room -= state.nbytes
        return state

    @torch.no_grad()
    def _compare(self, inputs: Mapping[str, Any], keep: int) -> None:
        """InputError where the two ways give different logits: an architecture whose lower layers do not stand alone. Without dropout,
        and without a draw from chance, so that a run that goes on draws as it would have."""
        trains = self.network.training
        self.network.eval()
        plain, short = self._passed(inputs, keep)[0], self._from_states(inputs, keep)[0]
        self.network.train(trains)
        open_places = inputs["attention_mask"][:, -keep:].bool()
        apart = float((plain - short).abs()[open_places].max() / plain.abs()[open_places].max())
        if not apart <= HALF:
            raise InputError(f"kept states move the logits by {apart:.1%} of their size here", hint="Leave frozen_layers out.")
        self._compared = True


def with_adapters(backend: TrainableBackend, lora: Lora, frozen_layers: int) -> Any:
    """The network with adapters in place, in the layers above the frozen ones."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtra.of("peft", "train", "training a LoRA adapter") from error
    if not backend.origin:
        raise InputError("an adapter over a merged adapter would not say what it changes", hint="Save the merged model, and name that.")
    layers = list(range(frozen_layers, len(_layers(backend.network)))) if frozen_layers else None
    options = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "target_modules": list(lora.modules)}
    above = {"layers_to_transform": layers, "layers_pattern": "layers"} if layers else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 asks transformers 5.24 by a name that is to go
            model = get_peft_model(backend.network, LoraConfig(**options, **above, task_type="CAUSAL_LM"))
    except ValueError as error:
        raise InputError(f"no adapter can be put into this model: {error}", hint="Look at modules in [model.lora].") from error
    place = Path(backend.origin)
    model.peft_config["default"].base_model_name_or_path = str(place.resolve()) if place.is_dir() else backend.origin
    return model


def _freeze(network: Any, layers: int) -> None:
    """Takes embeddings and lower layers out of what is trained."""
    for weight in network.parameters():
        weight.requires_grad_(True)
    if layers:
        for module in (network.get_input_embeddings(), *_layers(network)[:layers]):
            module.requires_grad_(False)


def _layers(network: Any) -> Any:
    return network.get_decoder().layers


@contextmanager
def _layers_from(network: Any, first: int) -> Iterator[None]:
    """While this is open, the network has its layers from this one on, and no others."""
    decoder, layers = network.get_decoder(), _layers(network)
    decoder.layers = layers[first:]
    try:
        yield
    finally:
        decoder.layers = layers


class _Reached(Exception):
    """The frozen layers are passed."""


@torch.no_grad()
def _below(network: Any, count: int, ids: Tensor) -> Tensor:
    """(n_tokens, dim) what goes into the layer number `count` for one row of tokens."""
    states: list[Tensor] = []

    def stop(_: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        states.append(args[0] if args else options["hidden_states"])
        raise _Reached

    handle = _layers(network)[count].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        network.get_decoder()(input_ids=ids[None], use_cache=False)
    except _Reached:
        pass
    finally:
        handle.remove()
    return states[0][0]


# ------------------------------------------------------------------ tensors


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _grouped(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """(n_groups, n_candidates), shorter lists filled up with 0."""
    return _padded([torch.tensor(row, dtype=torch.float32) for row in rows]).to(like.device)


def _by_group(rows: Rows, values: Tensor) -> Tensor:
    """(n_groups, n_candidates, ...) of (n_rows, ...)."""
    return _padded([values[list(group)] for group in rows.groups])


def _logprobs(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """(n_tokens,) the log-probability of each token behind a prompt."""
    ids = torch.tensor(tokens, device=logits.device)
    return logits[: len(tokens)].log_softmax(-1).gather(-1, ids[:, None])[:, 0]


def _of_choices(rows: Rows, logits: Tensor) -> dict[str, Tensor | None]:
    """Scores of single tokens at the first place behind each prompt."""
    ids = [torch.tensor(row, device=logits.device) for row in rows.choices]
    values = [logits[n, row] for n, row in enumerate(ids)]
    if rows.kind == "listwise":
        return {"scores": _padded(values)}
    each = _by_group(rows, torch.stack(values))  # (n_groups, n_candidates, n_choices)
    scores = each[..., 0] - each[..., 1] if each.shape[-1] == 2 else each[..., 0]
    return {"scores": scores, "logits": each}


def _cosines(rows: Rows, states: Tensor) -> Tensor:
    """(n_groups, n_candidates) cosine of each group's last row with its others."""
    unit = torch.nn.functional.normalize(states, dim=-1)
    return _padded([unit[list(group[:-1])] @ unit[group[-1]] for group in rows.groups])
