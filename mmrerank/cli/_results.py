"""A search result for people and for programs; search and rerank show theirs alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank.cli import _output
from mmrerank.errors import InputError

if TYPE_CHECKING:
    from mmrerank.results import Hit, SearchResult, Stage
    from mmrerank.types import Cost, Explanation

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


def drawn(result: SearchResult) -> Any:
    """The result as one picture."""
    from mmrerank.sheet import draw_sheet  # pulls in Pillow's fonts and the reader of PDFs

    return draw_sheet(result)


def as_json(result: SearchResult, paths: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """The search result in the shape programs depend on; `path` only where the items have one, `explanation` where there is one."""
    hits = [_hit(hit, {} if paths is None else {"path": str(paths[hit.item.item_id])}) for hit in result.hits]
    stages = [stage_as_json(stage.name, stage.seconds, stage.cost, stage.notes) for stage in result.stages]
    return {"query_id": result.query.query_id, "hits": hits, "stages": stages}


def _hit(hit: Hit, path: Mapping[str, str]) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "item_id": hit.item.item_id,
        "score": hit.score,
        "raw_score": hit.raw_score,
        "calibrated_score": hit.calibrated_score,
        **path,
        "document_id": hit.item.document_id,
        "page_number": hit.item.page_number,
        "reason": hit.reason,
        **({} if hit.explanation is None else {"explanation": explained(hit.explanation)}),
    }


def stage_as_json(name: str, seconds: float, cost: Cost, notes: Sequence[str]) -> dict[str, Any]:
    """A stage, or what answered, in the shape programs depend on; `reused_tokens` only where there are any."""
    return {
        "name": name,
        "seconds": round(seconds, 4),
        "calls": cost.calls,
        "tokens": cost.tokens,
        **({"reused_tokens": cost.reused_tokens} if cost.reused_tokens else {}),
        "notes": list(notes),
    }


def explained(explanation: Explanation) -> dict[str, Any]:
    """What a method has to say of a hit beyond its reason, in the shape programs depend on."""
    return {"reasoning": explanation.reasoning, "scores": dict(explanation.scores), "steps": list(explanation.steps)}


def show(result: SearchResult, sheet: Path | None = None) -> None:
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


def _line(stage: Stage) -> str:
    cost = stage.cost
    pieces = [f"{stage.name}: {stage.seconds * 1000:.0f} ms"]
    pieces += [f"{cost.calls} calls, {cost.tokens} tokens"] if cost.calls else []
    pieces += [f"{cost.reused_tokens} of them at hand"] if cost.reused_tokens else []
    pieces += [f"{cost.cached} answers from the cache"] if cost.cached else []
    return "; ".join([", ".join(pieces), *stage.notes])
