"""Trials as a picture: the query, the first stage's order, the reranker's, and what the model said."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mmrerank.types import Candidate, ImageHandle
from tools.mini_mllm.trials import Trial

CELL_PX, GAP_PX, HEAD_PX, COLUMNS = 84, 8, 150, 9
INK, FAINT, RIGHT = "#15181c", "#5f6b7a", "#12813f"
LINE_LETTERS, NOTE_LINES = 130, 3


def draw_trials(trials: Sequence[Trial], labels: tuple[str, str] = ("first stage", "reranked")) -> Image.Image:
    """The trials one below the other; right items have a green frame.

    Args:
        labels: what stands before the candidates before and after.
    """
    rows = [_trial(trial, labels) for trial in trials]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + GAP_PX for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + GAP_PX
    return sheet


def _trial(trial: Trial, labels: tuple[str, str]) -> Image.Image:
    before, after = (_place(trial, candidates) for candidates in (trial.before, trial.after))
    lines = textwrap.wrap(" | ".join([*trial.notes.messages, _best_reason(trial)]), LINE_LETTERS)[:NOTE_LINES]
    columns = min(COLUMNS, len(trial.before))
    size = (HEAD_PX + columns * (CELL_PX + GAP_PX) + GAP_PX, 22 + 2 * (CELL_PX + GAP_PX) + 16 * len(lines) + GAP_PX)
    sheet = Image.new("RGB", (max(size[0], HEAD_PX + 7 * LINE_LETTERS), size[1]), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PX, 2), f"{trial.judged.query.text}   (first right item: {before} -> {after})", fill=INK, font=_font(15))
    if trial.judged.query.images:
        sheet.paste(_fitted(trial.judged.query.images[0]), (GAP_PX, 24))
    for row, (label, candidates) in enumerate(zip(labels, (trial.before, trial.after), strict=True)):
        top = 22 + row * (CELL_PX + GAP_PX)
        draw.text((HEAD_PX - 8, top + CELL_PX // 2), label, fill=FAINT, font=_font(12), anchor="rm")
        _line(sheet, trial, candidates[:columns], top)
    for n, line in enumerate(lines):
        draw.text((GAP_PX, 22 + 2 * (CELL_PX + GAP_PX) + 16 * n), line, fill=FAINT, font=_font(12))
    return sheet


def _place(trial: Trial, candidates: Sequence[Candidate]) -> str:
    """The rank of the first right item; where there is none, that it stands behind all that were kept."""
    rank = trial.rank(candidates)
    return str(rank) if rank <= len(candidates) else f">{len(candidates)}"


def _line(sheet: Image.Image, trial: Trial, candidates: Sequence[Candidate], top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    for n, candidate in enumerate(candidates):
        left = HEAD_PX + n * (CELL_PX + GAP_PX)
        if candidate.item.image is not None:
            sheet.paste(_fitted(candidate.item.image), (left, top))
        if candidate.item.item_id in trial.judged.relevant:
            draw.rectangle((left - 2, top - 2, left + CELL_PX + 1, top + CELL_PX + 1), outline=RIGHT, width=3)


def _best_reason(trial: Trial) -> str:
    return " ".join(trial.notes.reasons.get(trial.after[0].item.item_id, "").split()) if trial.after else ""


def _fitted(handle: ImageHandle) -> Image.Image:
    picture = handle.open().convert("RGB")
    picture.thumbnail((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (CELL_PX, CELL_PX), "white")
    cell.paste(picture, ((CELL_PX - picture.width) // 2, (CELL_PX - picture.height) // 2))
    return cell


@cache
def _font(size_px: int) -> Any:
    return ImageFont.load_default(size_px)
