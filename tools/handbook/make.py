"""Build the document collection that ships in `datasets/handbook/`.

    python -m tools.handbook.make --out datasets/handbook

Reads `source/` below the output folder and writes one PDF per source file: Markdown-like text becomes a set document
with a text layer, TOML a scanned one without. With the same libraries two runs write the same bytes; `card.toml` names the
libraries that made what ships. Takes some five seconds; needs the extra `train`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from mmrerank.errors import InputError, MissingExtra
from tools.handbook.source import read_source

try:
    from reportlab import rl_config

    from tools.handbook.layout import write_document
    from tools.handbook.scan import read_ledger, write_scan
except ModuleNotFoundError as error:  # ReportLab, or matplotlib behind the two modules
    raise MissingExtra.of(error.name or "ReportLab", "train", "building the documents") from error


@contextmanager
def _binary_streams() -> Iterator[None]:
    """ReportLab writes plain bytes instead of its printable encoding: files are a fifth smaller."""
    before, rl_config.useA85 = rl_config.useA85, 0
    try:
        yield
    finally:
        rl_config.useA85 = before


def build_document(source: Path, out: Path) -> Path:
    """Build one document from its source file; the PDF's path comes back."""
    path = out / f"{source.stem}.pdf"
    with _binary_streams():
        if source.suffix == ".toml":
            write_scan(read_ledger(source), path)
        else:
            write_document(read_source(source), path)
    return path


def build(source: Path, out: Path) -> list[Path]:
    """Build every document of a source folder, by file name.

    Raises:
        InputError: the folder holds no source file.
        FormatError: a source file is broken; path and line are named.
    """
    sources = sorted(path for path in source.glob("*") if path.suffix in (".md", ".toml"))
    if not sources:
        raise InputError(f"expected .md or .toml files in {source}, found none")
    out.mkdir(parents=True, exist_ok=True)
    return [build_document(path, out) for path in sources]


def libraries() -> dict[str, str]:
    """Versions of what the bytes of the PDFs depend on."""
    return {name: version(name) for name in ("matplotlib", "numpy", "pillow", "reportlab")} | {"zlib": zlib.ZLIB_RUNTIME_VERSION}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the collection and write, as one JSON line, each file's size and hash."""
    parser = argparse.ArgumentParser(prog="python -m tools.handbook.make", description="Build the shipped documents.")
    parser.add_argument("--out", type=Path, required=True, help="folder the PDFs go to")
    parser.add_argument("--source", type=Path, help="folder of the source files (default: OUT/source)")
    options = parser.parse_args(arguments)
    paths = build(options.source or options.out / "source", options.out)
    files = {path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths}
    sys.stdout.write(json.dumps({"files": files, "made_with": libraries()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
