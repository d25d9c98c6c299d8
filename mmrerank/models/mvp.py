"""MVP: each candidate is read beside the query as m views; one decoding step over all candidates gives an anchor a view.

    ids: m view tokens, query, passage --encoder--> e_ik, the states of the m view tokens
    a_k = one step that looks at e_1k ... e_nk            s_i = mean over k of a_k . e_ik

A view sees its own vectors only, and the step has no order of them, so that another order of candidates is another order of scores and no
more. Candidates are encoded by themselves, in batches; the anchors come from all of them at once, whatever their number.

Two networks do this. A folder of T5 (`T5Views`) is what is published: the sentinels `<extra_id_0>` and so on are its view tokens and its
own decoder gives the anchors. `EncoderViews` is ours: a BERT, whose unused tokens are the views, and a layer of attention for the anchors.

Source: MVP (arXiv 2509.07485, code PirateEra/MVP), by its note: layout, view tokens, one decoding step from the pad token, the mean over
views, no temperature in use. Ours: what looks like a control token in a text is read as letters.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.models.axial import Attention

ANCHORS = "anchors.safetensors"
SETTINGS = "mvp.json"
_FORM = "Expected a folder of T5, a folder that `mmrerank train` wrote, or the name of a T5 on the hub."


class Views(nn.Module):
    """A network over views: ids -> (n, m, D), and these -> (n,) scores."""

    views: int
    tokenizer: Any
    ending: list[int]  # token ids that close a sequence

    @abstractmethod
    def encoded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, m, D) states of the view tokens of (B, L) sequences."""

    @abstractmethod
    def anchors(self, views: Tensor, there: Tensor) -> Tensor:
        """(B, m, D) from (B, n, m, D) views of lists of candidates; `there` (B, n) says which are."""

    @abstractmethod
    def beginning(self, query: str) -> list[int]:
        """The ids before a passage: the view tokens and the query."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, ids: Tensor, mask: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n) scores and (B, m, D) anchors of (B, n, L) sequences."""
        views = self.encoded(ids.flatten(0, 1), mask.flatten(0, 1))
        views = views.reshape(*ids.shape[:2], *views.shape[1:])
        anchors = self.anchors(views, there)
        return by_anchors(views, anchors).mean(dim=1), anchors

    @torch.inference_mode()
    def view_scores(self, query: str, texts: Sequence[str], *, length: int, batch: int) -> Tensor:
        """(m, n) scores of n passages by each view, which their mean orders; `length` tokens a passage at most, beside the query."""
        views = self.states([self.ids(query, text, length) for text in texts], batch)[None]  # (1, n, m, D)
        there = torch.ones(views.shape[:2], dtype=torch.bool, device=views.device)
        return by_anchors(views, self.anchors(views, there))[0].float().cpu()

    def states(self, sequences: Sequence[Sequence[int]], batch: int) -> Tensor:
        """(n, m, D) states of the view tokens of n sequences, so many at once, those of about the same length together."""
        order = sorted(range(len(sequences)), key=lambda n: -len(sequences[n]))
        rows: dict[int, Tensor] = {}
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            rows |= dict(zip(places, self.encoded(*self.padded([sequences[n] for n in places])), strict=True))
        return torch.stack([rows[n] for n in range(len(order))])

    def ids(self, query: str, text: str, length: int) -> list[int]:
        """The sequence of a pair, of at most `length` tokens; the passage alone is cut.

        Raises:
            InputError: there is no room for a passage behind the query.
        """
        head = self.beginning(query)
        room = length - len(head) - len(self.ending)
        if room < 1:
            raise InputError(f"the query takes {len(head)} of {length} tokens, so that none is left for a passage")
        return [*head, *self.letters(text)[:room], *self.ending]

    def letters(self, text: str) -> list[int]:
        """The ids of a text as it is written: what looks like a control token in it is none."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def padded(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """(n, L) ids and mask of sequences, padded on the right."""
        width = max(map(len, sequences))
        fill = self.tokenizer.pad_token_id
        ids = torch.tensor([[*one, *[fill] * (width - len(one))] for one in sequences], device=self.device)
        mask = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in sequences], device=self.device)
        return ids, mask


def by_anchors(views: Tensor, anchors: Tensor) -> Tensor:
    """(B, m, n): how well the views (B, n, m, D) of each candidate fit the anchors (B, m, D)."""
    return torch.einsum("bkd,bnkd->bkn", anchors, views)


class T5Views(Views):
    """The published network, over transformers' T5."""

    def __init__(self, network: Any, tokenizer: Any, views: int) -> None:
        super().__init__()
        self.network, self.tokenizer, self.views = network, tokenizer, views
        self.view_ids = tokenizer.convert_tokens_to_ids([f"<extra_id_{k}>" for k in range(views)])
        if tokenizer.unk_token_id in self.view_ids or None in self.view_ids:
            raise InputError(f"the tokenizer has no {views} sentinels <extra_id_0> ..., which are the view tokens")
        self.ending = [tokenizer.eos_token_id]

    def encoded(self, ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.network.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return states[:, : self.views]

    def anchors(self, views: Tensor, there: Tensor) -> Tensor:
        lists = views.transpose(1, 2).flatten(0, 1)  # (B m, n, D): a view sees its own vectors only
        start = torch.full((len(lists), 1), self.network.config.pad_token_id, device=views.device)
        mask = there.repeat_interleave(self.views, dim=0).long()
        decoded = self.network.decoder(
            inputs_embeds=self.network.shared(start), encoder_hidden_states=lists, encoder_attention_mask=mask, use_cache=False
        )
        states: Tensor = decoded.last_hidden_state
        return states[:, 0].reshape(len(views), self.views, -1)

    def beginning(self, query: str) -> list[int]:
        return [*self.view_ids, *self.letters(f" | Query: {query} | Context: ")]


class EncoderViews(Views):
    """A BERT with view tokens, and one layer of attention to a list of candidates."""

    def __init__(self, encoder: Any, tokenizer: Any, views: int, heads: int = 4) -> None:
        super().__init__()
        self.encoder, self.tokenizer, self.views, self.heads = encoder, tokenizer, views, heads
        self.view_ids = tokenizer.convert_tokens_to_ids([f"[unused{k}]" for k in range(views)])
        if tokenizer.unk_token_id in self.view_ids or None in self.view_ids:
            raise InputError(f"the tokenizer has no {views} tokens [unused0] ..., which are the view tokens")
        self.ending = [tokenizer.sep_token_id]
        width = encoder.config.hidden_size
        self.start = nn.Parameter(torch.randn(views, width) * 0.02)
        self.look = Attention(width, heads)
        last = nn.LayerNorm(width)
        nn.init.constant_(last.weight, width**-0.5)  # anchors begin with length 1, so that scores begin within a loss's reach
        self.norms = nn.ModuleList([nn.LayerNorm(width), last])
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def encoded(self, ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return states[:, : self.views]

    def anchors(self, views: Tensor, there: Tensor) -> Tensor:
        lists = views.transpose(1, 2)  # (B, m, n, D)
        start = self.start[None, :, None].expand(len(views), -1, -1, -1)
        x = self.norms[0](start + self.look(start, lists, there[:, None].expand(-1, self.views, -1)))
        result: Tensor = self.norms[1](x + self.feed(x))
        return result[:, :, 0]

    def beginning(self, query: str) -> list[int]:
        return [*self.view_ids, self.tokenizer.cls_token_id, *self.letters(query), self.tokenizer.sep_token_id]

    def head(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that are not the encoder's."""
        return ((name, parameter) for name, parameter in self.named_parameters() if not name.startswith("encoder."))

    def save(self, folder: Path) -> None:
        """Writes the encoder with its tokenizer, the anchors' layer and the settings."""
        from safetensors.torch import save_file

        self.encoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_file({name: parameter.detach().contiguous() for name, parameter in self.head()}, folder / ANCHORS)
        (folder / SETTINGS).write_text(json.dumps({"views": self.views, "heads": self.heads}, indent=2) + "\n", encoding="utf-8")


def load_views(checkpoint: str, *, views: int, revision: str = "main", device: str = "auto") -> Views:
    """The network of a folder or a name on the hub, in evaluation mode.

    Args:
        views: m of a T5, whose files do not say it; a folder of ours knows its own, and another number is refused.

    Raises:
        InputError: no such folder, or other views than the folder has.
        FormatError: neither a T5 nor a folder of ours, or weights are missing.
        BackendError: the hub did not give it.
    """
    folder = Path(checkpoint)
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if not checkpoint or (not folder.is_dir() and checkpoint.count("/") != 1):
        raise InputError(f"{checkpoint or 'nothing'} is no folder, and no name on the hub", hint=_FORM)
    try:
        network = _ours(folder, views) if (folder / SETTINGS).is_file() else _t5(checkpoint, views, revision)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, FormatError | InputError):
            raise
        why = " ".join(str(error).split())[:300]
        if not folder.is_dir():
            raise BackendError(f"the hub did not give {checkpoint!r}: {why}", hint="Without a network, name a folder.") from error
        raise FormatError(f"no network of MVP can be loaded: {why}", path=checkpoint, hint=_FORM) from error
    return network.to(place).eval()


def _t5(checkpoint: str, views: int, revision: str) -> T5Views:
    from transformers import AutoConfig, AutoTokenizer, T5ForConditionalGeneration

    where: dict[str, Any] = {"local_files_only": True} if Path(checkpoint).is_dir() else {"revision": revision}
    kind = AutoConfig.from_pretrained(checkpoint, **where).model_type
    if kind != "t5":
        raise FormatError(f"a checkpoint of {kind}, not of T5", path=checkpoint, hint=_FORM)
    network, report = T5ForConditionalGeneration.from_pretrained(checkpoint, output_loading_info=True, dtype=torch.float32, **where)
    _whole(checkpoint, report)
    return T5Views(network, AutoTokenizer.from_pretrained(checkpoint, **where), views)


def _ours(folder: Path, views: int) -> EncoderViews:
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    if settings["views"] != views:
        raise InputError(f"{folder} was trained with {settings['views']} views, not {views}", hint=f"Write views={settings['views']}.")
    encoder, report = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True, add_pooling_layer=False)
    _whole(str(folder), report)
    network = EncoderViews(encoder, AutoTokenizer.from_pretrained(folder, local_files_only=True), views, settings["heads"])
    tensors = load_file(folder / ANCHORS)
    left = [name for name, _ in network.head() if name not in tensors]
    if left:
        raise FormatError(f"missing in {ANCHORS}: {', '.join(left[:3])}", path=folder)
    network.load_state_dict(tensors, strict=False)
    return network


def _whole(checkpoint: str, report: dict[str, Any]) -> None:
    """FormatError where weights are missing, which would be random."""
    missing = sorted(map(str, [*(report.get("missing_keys") or ()), *(report.get("mismatched_keys") or ())]))
    if missing:
        raise FormatError(f"missing in the weights: {', '.join(missing[:3])}; they would be random", path=checkpoint)
