"""A search result for people and for programs; search and rerank show theirs alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmrerank.cli import _output
from mmrerank.errors import InputError

SHEETS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".pdf")


def sheet_file(sheet: Path | None) -> Path | None:
    """The file that a sheet is asked for in, looked at before any work is done for it.

    Raises:
        InputError: no picture can be written there.
    """
    if sheet is None:
        return None
    if sheet.suffix.lower() not in SHEETS:
        raise InputError(f"a sheet is written as {', '.join(SHEETS)}; got {str(sheet)!r}")
    if not sheet.parent.is_dir() or sheet.is_dir():
        raise InputError(f"{sheet} is a folder" if sheet.is_dir() else f"{sheet} cannot be written: its folder does not exist")
    if not os.access(sheet if sheet.exists() else sheet.parent, os.W_OK):
        raise InputError(f"{sheet} may not be written")
    return sheet


def written(sheet: Path | None, draw: Callable[[], Any]) -> bool:
    """Whether the sheet could be written, or none is wanted; why not is said on stderr, since the result is worth showing without."""
    try:
        if sheet is not None:
            draw().save(sheet)
    except (OSError, ValueError, OverflowError) as error:
        _output.say(f"the sheet {sheet} could not be written: {error}")
        return False
    return True


def drawn(result: Any) -> Any:
    """The result as one picture."""
    from mmrerank.sheet import draw_sheet  # pulls in Pillow's fonts and the reader of PDFs

    return draw_sheet(result)


def as_json(result: Any, paths: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """The search result in the shape programs depend on; `path` only where the items have one, `explanation` where there is one."""
    hits = [
        {
            "rank": hit.rank,
            "item_id": hit.item.item_id,
            "score": hit.score,
            "raw_score": hit.raw_score,
            "calibrated_score": hit.calibrated_score,
            **({} if paths is None else {"path": str(paths[hit.item.item_id])}),
            "document_id": hit.item.document_id,
            "page_number": hit.item.page_number,
            "reason": hit.reason,
            **({} if hit.explanation is None else {"explanation": explained(hit.explanation)}),
        }
        for hit in result.hits
    ]
    stages = [
        {
            "name": stage.name,
            "seconds": round(stage.seconds, 4),
            "calls": stage.cost.calls,
            "tokens": stage.cost.tokens,
            **({"reused_tokens": stage.cost.reused_tokens} if stage.cost.reused_tokens else {}),
            "notes": list(stage.notes),
        }
        for stage in result.stages
    ]
    return {"query_id": result.query.query_id, "hits": hits, "stages": stages}


def explained(explanation: Any) -> dict[str, Any]:
    """What a method has to say of a hit beyond its reason, in the shape programs depend on."""
    return {"reasoning": explanation.reasoning, "scores": dict(explanation.scores), "steps": list(explanation.steps)}


def show(result: Any, sheet: Path | None = None) -> None:
    """The hits, each with its reason, and what every stage took."""
    from mmrerank.collection.items import headings_of

    console = _output.out()
    for hit in result.hits:
        score = "" if hit.score is None else f"{hit.score:.3f}"
        pieces = (
            f"{hit.rank:>3}",
            f"{score:>7}",
            _output.one_line(hit.item.item_id),
            headings_of(hit.item),
            f"({hit.reason})" if hit.reason else "",
        )
        console.print("  ".join(filter(None, pieces)), markup=False)
    if not result.hits:
        console.print("nothing found")
    for stage in result.stages:
        console.print(_line(stage), markup=False, style="dim")
    if sheet is not None:
        console.print(f"sheet: {sheet}", markup=False)


def _line(stage: Any) -> str:
    cost = stage.cost
    pieces = [f"{stage.name}: {stage.seconds * 1000:.0f} ms"]
    pieces += [f"{cost.calls} calls, {cost.tokens} tokens"] if cost.calls else []
    pieces += [f"{cost.reused_tokens} of them at hand"] if cost.reused_tokens else []
    pieces += [f"{cost.cached} answers from the cache"] if cost.cached else []
    return "; ".join([", ".join(pieces), *stage.notes])
