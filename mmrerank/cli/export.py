"""`mmrerank export COLLECTION --into FOLDER`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _output


def export(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    into: Annotated[Path, typer.Option("--into", help="New or empty folder for the embeddings.")],
    encoder: Annotated[str | None, typer.Option(help="Whose embeddings; may be left out where the collection has one encoder.")] = None,
    layout: Annotated[str, typer.Option(help="clip-retrieval (npy and Parquet), parquet (Hugging Face) or lance.")] = "clip-retrieval",
    filter: Annotated[str | None, typer.Option(help="SQL over the fields of the items: which to write.")] = None,
    part_rows: Annotated[int, typer.Option(help="Rows in a file.", min=1)] = 1_000_000,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Write the embeddings of a collection as files, which other programs and `mmrerank index` read."""
    from mmrerank.collection import Collection
    from mmrerank.collection.exporting import export as written

    version = Collection.open(collection).version
    with _output.progress_bar("exporting") as progress:
        report = written(version, into, encoder=encoder, layout=layout, filter=filter, part_rows=part_rows, progress=progress)
    if json:
        _output.emit({"collection": str(collection), "into": str(into), **asdict(report)})
    else:
        _output.out().print(f"{report.items} rows of {report.dimension} numbers in {len(report.files)} files below {into}", markup=False)
    return 0
