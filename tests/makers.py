"""Small real files and a small real encoder that the tests make."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmrerank.testing.samples import InMemory as InMemory
from mmrerank.testing.samples import coloured as coloured
from mmrerank.types import Array, Modality


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A non-square picture of random blocks, unlike for unlike seeds."""
    blocks = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def write_pictures(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n in numbers:
        picture(n).save(folder / f"{n:03}.png")


def write_tar(path: Path, numbers: range) -> None:
    with tarfile.open(path, "w") as tar:
        for n in numbers:
            data = io.BytesIO()
            picture(n).save(data, "PNG")
            for name, content in ((f"{n:03}.png", data.getvalue()), (f"{n:03}.txt", f"picture number {n}".encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_embeddings(folder: Path, rows: Array, *, part: int = 0, described: bool = True, **columns: list[object]) -> None:
    """A part as clip-retrieval lays it down."""
    (folder / "img_emb").mkdir(parents=True, exist_ok=True)
    np.save(folder / "img_emb" / f"img_emb_{part}.npy", rows)
    if described:
        (folder / "metadata").mkdir(exist_ok=True)
        captions = {"caption": [f"picture {n} of part {part}" for n in range(len(rows))]}
        pq.write_table(pa.table({**captions, **columns}), folder / "metadata" / f"metadata_{part}.parquet")


class ColourEncoder:
    """Encodes a picture as its 4 x 4 thumbnail: a real function of the pixels, quick, and needs no weights."""

    name = "colour"
    dimension = 48
    takes: frozenset[Modality] = frozenset({"image"})
    reads: Modality = "image"
    batch_size = 8

    def __init__(self) -> None:
        self.encoded = 0

    def prepare(self, value: Image.Image) -> Array:
        return np.asarray(value.resize((4, 4), Image.Resampling.BOX), dtype=np.float32).ravel() + 1.0

    def encode(self, values: list[Image.Image | Array], *, normalise: bool = True) -> Array:
        self.encoded += len(values)
        rows = np.stack([value if isinstance(value, np.ndarray) else self.prepare(value) for value in values])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalise else rows
