"""What mteb hands over, as rows: texts the way mteb shows them to its own models, and pictures that are opened when looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmrerank import __version__
from mmrerank.errors import FormatError
from mmrerank.pictures import PilPicture

if TYPE_CHECKING:
    from PIL.Image import Image

TEXT_COLUMNS = ("id", "text", "title", "instruction")  # what mteb makes a text of


def batches(dataset: Any, task: Any, kind: Any, encode_kwargs: Mapping[str, Any], num_proc: int | None) -> Iterable[Mapping[str, Any]]:
    """Documents or queries as mteb shows them to its own models: dicts of lists. A text that is missing is empty, where mteb would stop."""
    from mteb._create_dataloaders import create_dataloader

    options = {"prompt_type": kind, "batch_size": encode_kwargs.get("batch_size", 32), "num_proc": num_proc}
    loader: Iterable[Mapping[str, Any]] = create_dataloader(_with_texts(dataset), task_metadata=task, **options)
    return loader if len(dataset) else ()


def _with_texts(dataset: Any) -> Any:
    """The dataset with "" for each text or title that is None."""
    columns = [name for name in ("text", "title") if name in dataset.column_names]
    empty = [name for name in columns if any(value is None for value in dataset[name])]
    return dataset.map(lambda row: {name: row[name] or "" for name in empty}) if empty else dataset


def texts(dataset: Any, task: Any, kind: Any, num_proc: int | None) -> list[tuple[str, str | None]]:
    """(id, text) of each row; no picture is decoded. None where the rows have no text."""
    columns = dataset.select_columns([name for name in TEXT_COLUMNS if name in dataset.column_names])
    rows: list[tuple[str, str | None]] = []
    for batch in batches(columns, task, kind, {"batch_size": 256}, num_proc):
        rows += [(row_id, text) for row_id, text, _ in rows_of(batch)]
    return rows


def rows_of(batch: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Id, text and picture of each row; None for what it has not, and for a text without words."""
    ids = batch["id"]
    without = [None] * len(ids)
    words = ((text if text and text.strip() else None) for text in batch.get("text", without))
    return zip(ids, words, batch.get("image", without), strict=True)


@dataclass(frozen=True, slots=True)
class CorpusPicture:
    """The picture of one row of a dataset, decoded when it is opened."""

    dataset: Any = field(repr=False)
    place: int

    def open(self) -> Image:
        """The picture as RGB; FormatError where it cannot be decoded."""
        try:
            picture = self.dataset[self.place]["image"]
        except Exception as error:  # whatever the decoder raises
            raise FormatError(f"cannot be decoded: {error}", path=f"row {self.place}") from error
        return PilPicture(picture).open()


def has_pictures(dataset: Any) -> npt.NDArray[np.bool_]:
    """(n,) whether each row has a picture; nothing is decoded."""
    if "image" not in dataset.column_names or not len(dataset):
        return np.zeros(len(dataset), dtype=np.bool_)
    tables = dataset.select_columns(["image"]).with_format("arrow").iter(batch_size=1000)
    return np.concatenate([np.asarray(table.column("image").is_valid().to_numpy(zero_copy_only=False)) for table in tables])


def model_meta(name: str, modalities: Iterable[str], about: Mapping[str, Any], **more: Any) -> Any:
    """What mteb knows a model by. Its names have one slash, and become names of folders."""
    from mteb.models import ModelMeta

    short = "+".join(stage.partition("(")[0].replace("/", "-") for stage in name.split("+"))
    own = {"name": f"mmrerank/{short}", "revision": __version__, "modalities": sorted(modalities), "experiment_kwargs": about}
    return ModelMeta.create_empty({**own, **more})
