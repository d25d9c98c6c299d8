"""`mmrerank info COLLECTION`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _output

SHOWN = 20  # pages without words


def info(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Say what a collection holds, where it came from and which files could not be read."""
    from mmrerank.collection import Collection
    from mmrerank.collection.verify import describe

    held = describe(Collection.open(collection))
    if json:
        _output.emit(held)
        return 0
    console = _output.out()
    console.print(f"[bold]{held['collection']}[/]: {held['items']} items, {held['with_text']} with text, {held['bytes'] / 1e6:.1f} MB")
    for encoder in held["encoders"]:
        console.print(f"  encoder {encoder['name']}: {encoder['dimension']} dims, {encoder['items']} items", markup=False)
    console.print(f"  index {held['index']}", markup=False)
    for root in held["roots"]:
        console.print(f"  from {root['path']}" + (f" as {root['prefix']}" if root["prefix"] else ""), markup=False)
    console.print(f"  fields {', '.join(held['fields'])}", markup=False)
    notes = held["text_notes"]
    for page in notes["first"][:SHOWN]:
        console.print(f"  text of {page['item_id']}: {page['reason']}", markup=False)
    if notes["count"] > SHOWN:
        console.print(f"  ... and of {notes['count'] - SHOWN} more: --json lists them", markup=False)
    for failure in held["failed"]:
        console.print(f"  failed: {failure['path']}: {failure['reason']}", markup=False)
    return 0
