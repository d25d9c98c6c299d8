"""Descriptors of texts by any sentence-transformers checkpoint.

    sentence//path/to/folder               a saved checkpoint: modules.json beside its parts
    sentence/organisation/name             the same, on the hub; without an organisation it is sentence-transformers
    sentence/name(words=60, step=30)       passages of 60 words, one every 30; the printed name always says how long they are

Source: sentence-transformers 6.2, whose loading was read for what follows. Needs the extra `sentence`.

- Queries and documents may have different prompts: `encode` encodes what is searched (the document's prompt and route),
  `encode_queries` what is asked. Where a checkpoint has no prompts the two agree.
- A text of more than `words` words is cut into passages, one every `step` words, so that nothing of a long page is left out:
  `encode_tokens` gives a row a passage, by which the best passage scores its page (`dense`); `encode` their mean, by which the
  ordinary index proposes pages. A passage, as a query, is cut at `max_tokens` tokens. What counts as a word where there are no
  blanks, as in Chinese, is said at `passages`.
- A bare transformers folder is refused: sentence-transformers would guess how to pool it. So are weights that miss a key,
  which transformers would fill at random; only BERT's own pooler may be absent, since sentence pooling does not use it.
- No code from a checkpoint is run. Weights are safetensors where it has them, else *.bin, which torch reads with `weights_only`:
  a pickle that names anything but tensors and plain values is refused.

Cost per query: one pass through the text model.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from transformers import PreTrainedModel

from mmrerank.encoders import _torch
from mmrerank.errors import BackendError, FormatError, InputError, MissingExtra
from mmrerank.parts import always_named, printed, runtime_option
from mmrerank.types import Array, Download, Modality

_WEIGHTS = ("*.safetensors", "*.bin")
_CONFIGURATION = ("*.json", "*.txt", "*.model")
_EXPORTS = ("onnx/*", "openvino/*")
_NO_BLANKS = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3001-\u9fff\uf900-\ufaff\uff01-\uffef\U00020000-\U0003ffff"
"""Characters of scripts that put no blanks between words: Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese, and their marks."""
_WORD = re.compile(rf"[{_NO_BLANKS}]|[^\s{_NO_BLANKS}]+")
_LONGEST, _LETTERS = 60, 6  # hardly a word, name or address has more; the usual number of letters, a blank included
_OFFLINE = "Without a network, name a local folder, sentence/PATH; BM25 over the text needs no weights at all."


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str
    words: int = always_named(100)  # of a passage
    step: int = always_named(50)  # words from the beginning of a passage to that of the next
    precision: _torch.Precision = "auto"  # moves entries of a row by less than 0.01 between machines
    batch_size: int | None = runtime_option(None)  # 32 on a CPU, 256 on a GPU
    device: str = runtime_option("auto")

    def __post_init__(self) -> None:
        if not 1 <= self.step <= self.words:
            raise InputError(f"a passage begins every step words, 1 to words, so that none is left out; got {self.step} of {self.words}")


class Sentence:
    """A sentence-transformers model."""

    takes: frozenset[Modality] = frozenset({"text"})
    reads: Modality = "text"

    def __init__(self, options: Options) -> None:
        self.name = printed("sentence", options, argument=True)
        self.device = _torch.device_of(options.device)
        self.precision = _torch.precision_of(options.precision, self.device)
        self.batch_size = _torch.batch_size_of(options.batch_size, self.device)
        self.folder = folder_of(options.checkpoint)
        self._model = _load(self.folder, self.device, _torch.DTYPES[self.precision])
        self.dimension = int(self._model.get_embedding_dimension())
        self.max_tokens: int | None = self._model.max_seq_length
        self._options = options

    @cached_property
    def weights_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 over the names and hashes of the weights files and of modules.json."""
        digest = hashlib.sha256()
        for file in sorted(f for pattern in (*_WEIGHTS, "modules.json") for f in self.folder.rglob(pattern)):
            digest.update(f"{file.relative_to(self.folder)} {_torch.file_hash(file)}\n".encode())
        return digest.hexdigest()[:16]

    def prepare(self, value: Any) -> str:
        """The text itself: padding depends on the batch, so tokens are made by `encode`.

        Raises:
            InputError: it is no text.
        """
        if not isinstance(value, str):
            raise InputError(f"{self.name!r} takes text; got {type(value).__name__}")
        return value

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32: the mean over the passages of each text that is searched, at length 1 or as it comes.

        Raises:
            InputError: a value is not a string, or a row is not finite.
        """
        return self.pooled(self.encode_tokens(values), normalise=normalise)

    def encode_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_passages, dimension) float32 unit rows of each text, in the order of its passages; errors as in `encode`."""
        passage_lists = [passages(self.prepare(value), self._options.words, self._options.step) for value in values]
        rows = self._encoded([passage for texts in passage_lists for passage in texts], self._model.encode_document, normalise=True)
        return np.split(rows, np.cumsum([len(texts) for texts in passage_lists])[:-1]) if passage_lists else []

    def pooled(self, tokens: Sequence[Array], *, normalise: bool = True) -> Array:
        """(n, dimension) means of the rows of passages, as `encode` gives them."""
        return _torch.mean_rows(tokens, self.name, self.dimension, normalise=normalise)

    def encode_queries(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of texts that are asked, each as a whole; unit rows, or as the checkpoint leaves them.

        Raises:
            InputError: as in `encode`.
        """
        return self._encoded([self.prepare(value) for value in values], self._model.encode_query, normalise=normalise)

    def _encoded(self, texts: Sequence[str], method: Any, *, normalise: bool) -> Array:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        rows = method(texts, batch_size=self.batch_size, convert_to_tensor=True, show_progress_bar=False)
        return _torch.finished_rows(rows, self.name, normalise=normalise)


def passages(text: str, words: int, step: int) -> list[str]:
    """The text itself; of one that is longer the first `words` words, and so on every `step` words up to its end.

    Words stand between blanks. Where a script has none, each character counts as a word, which is about a token; any other piece
    of more than 60 letters (a text that lost its blanks, a long address) counts as a word every six.

    >>> passages("a b c d e f", 3, 2), passages("東京 タワー", 3, 2)
    (['a b c', 'c d e', 'e f'], ['東京 タ', 'タワー'])
    """
    spans = list(_words(text))
    if len(spans) <= words:
        return [text]
    windows = (spans[start : start + words] for start in range(0, len(spans) - words + step, step))
    return [" ".join(text[some[0][0] : some[-1][1]].split()) for some in windows]


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Where each word begins and ends."""
    for match in _WORD.finditer(text):
        begin, end = match.span()
        size = _LETTERS if end - begin > _LONGEST else end - begin
        yield from ((start, min(start + size, end)) for start in range(begin, end, size))


def _is_local(checkpoint: str) -> bool:
    return Path(checkpoint).expanduser().exists() or checkpoint.startswith(("/", ".", "~")) or checkpoint.count("/") > 1


def download(options: Options) -> Download | None:
    """What is fetched from the hub for these options."""
    checkpoint = options.checkpoint
    if not checkpoint or _is_local(checkpoint):
        return None
    name = checkpoint if "/" in checkpoint else f"sentence-transformers/{checkpoint}"
    return _torch.fetched(printed("sentence", options, argument=True), name, ("modules.json",))


def folder_of(checkpoint: str) -> Path:
    """The folder of a checkpoint, fetched from the hub where it is not there yet.

    Raises:
        InputError: a path that is no sentence-transformers folder, or a name that the hub cannot have.
        BackendError: the hub did not give it.
    """
    if _is_local(checkpoint):
        local = Path(checkpoint).expanduser()
        if not (local / "modules.json").is_file():
            raise InputError(f"{local} is no sentence-transformers folder: it has no modules.json")
        return local
    name = checkpoint if "/" in checkpoint else f"sentence-transformers/{checkpoint}"
    try:
        folder = Path(snapshot_download(name, allow_patterns=[*_CONFIGURATION, _WEIGHTS[0]], ignore_patterns=[*_EXPORTS]))
        if not any(folder.rglob(_WEIGHTS[0])):
            folder = Path(snapshot_download(name, allow_patterns=[*_CONFIGURATION, _WEIGHTS[1]], ignore_patterns=[*_EXPORTS]))
    except HFValidationError as error:
        raise InputError(f"the hub can have no checkpoint called {name!r}: {_torch.brief(error)}") from error
    except OSError as error:
        reachable = not isinstance(error, RepositoryNotFoundError)
        raise BackendError(f"the hub did not give {name!r}: {_torch.brief(error)}", retryable=reachable, hint=_OFFLINE) from error
    if not (folder / "modules.json").is_file():
        raise FormatError("is no sentence-transformers checkpoint: it has no modules.json", path=name)
    return folder


def _load(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtra.of("sentence-transformers", "sentence", "the encoder 'sentence'") from error
    try:
        model = SentenceTransformer(str(folder), device=str(device), local_files_only=True, model_kwargs={"dtype": dtype})
        for part in _transformers_in(model):
            _all_keys(part)
    except (OSError, *_torch.BROKEN) as error:
        raise FormatError(f"not a complete sentence-transformers checkpoint: {_torch.brief(error)}", path=folder) from error
    return model.eval()


def _transformers_in(module: torch.nn.Module) -> Iterator[Any]:
    """The outermost transformers models in a module."""
    if isinstance(module, PreTrainedModel):
        yield module
    else:
        for child in module.children():
            yield from _transformers_in(child)


def _all_keys(model: Any) -> None:
    """Loads once more what a model was loaded from, since only transformers' own report tells what it made up."""
    report = type(model).from_pretrained(model.name_or_path, config=model.config, local_files_only=True, output_loading_info=True)[1]
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ValueError(f"its weights lack {', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}")


def build(options: Options) -> Sentence:
    """The encoder that the options name."""
    return Sentence(options)


def tiny() -> Sentence:
    """A real but minute BERT (2 layers of width 16) over letters, with seeded random weights, mean pooling and a query
    prompt. A test double: it is written to a temporary folder and loaded as any checkpoint; its descriptors mean nothing."""
    return build(Options(checkpoint=str(_tiny_folder()), device="cpu"))


@cache
def _tiny_folder() -> Path:
    folder = _torch.temporary_folder()
    save_tiny(folder, seed=0)
    return folder


def save_tiny(folder: Path, *, seed: int) -> None:
    """Writes the checkpoint folder of `tiny()` with the weights of a seed."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, initializer_range=0.5, **sizes))
    tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)}, model_max_length=32)
    with tempfile.TemporaryDirectory() as bare:
        model.save_pretrained(bare)
        tokenizer.save_pretrained(bare)
        parts = [Transformer(bare), Pooling(16)]
    whole = SentenceTransformer(modules=parts, prompts={"query": "query: ", "document": ""}, device="cpu")
    whole.save(str(folder), create_model_card=False)
