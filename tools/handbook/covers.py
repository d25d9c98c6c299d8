"""Cover pages of the shipped documents: a coloured field, a drawn motif and the title."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm

from tools.handbook.theme import Theme

WIDTH, HEIGHT = A4
FIELD_BOTTOM = 118 * mm


def _tiles(canvas: Any, theme: Theme) -> None:
    """A contact sheet with one picture found: the book's subject in one drawing."""
    side, gap, left, bottom = 15.2 * mm, 3.2 * mm, 23 * mm, FIELD_BOTTOM + 18 * mm
    for row in range(6):
        for column in range(9):
            x, y = left + column * (side + gap), bottom + row * (side + gap)
            hit = (row, column) == (3, 6)
            shade = (row * 5 + column * 3 + (row * column) % 4) % 5
            canvas.setFillColor(HexColor(theme.palette[1] if hit else theme.palette[2]), alpha=1.0 if hit else 0.18 + 0.13 * shade)
            canvas.roundRect(x, y, side, side, 2 * mm, stroke=0, fill=1)
    x, y = left + 6 * (side + gap) + side / 2, bottom + 3 * (side + gap) + side / 2
    canvas.setStrokeColor(white)
    canvas.setLineWidth(3)
    canvas.circle(x, y, 13 * mm, stroke=1, fill=0)
    canvas.setLineWidth(6)
    canvas.line(x + 9.4 * mm, y - 9.4 * mm, x + 20 * mm, y - 20 * mm)


def _waves(canvas: Any, theme: Theme) -> None:
    """A tide curve over layers of water, with the mast of a station."""
    for layer in range(6):
        outline = canvas.beginPath()
        outline.moveTo(0, FIELD_BOTTOM)
        for step in range(0, 61):
            x = WIDTH * step / 60
            height = (96 - 15 * layer) * mm + 5 * mm * math.sin(step / 60 * math.tau * (1.4 + 0.25 * layer) + layer * 1.1)
            outline.lineTo(x, FIELD_BOTTOM + height)
        outline.lineTo(WIDTH, FIELD_BOTTOM)
        outline.close()
        canvas.setFillColor(HexColor(theme.palette[2]), alpha=0.16 + 0.07 * layer)
        canvas.drawPath(outline, stroke=0, fill=1)
    canvas.setFillColor(white, alpha=1)
    canvas.setStrokeColor(white)
    canvas.setLineWidth(2.4)
    mast = 148 * mm
    canvas.line(mast, FIELD_BOTTOM + 88 * mm, mast, FIELD_BOTTOM + 152 * mm)
    canvas.line(mast - 9 * mm, FIELD_BOTTOM + 146 * mm, mast + 9 * mm, FIELD_BOTTOM + 146 * mm)
    for side in (-9, 0, 9):
        canvas.circle(mast + side * mm, FIELD_BOTTOM + (149 if side else 155) * mm, 1.9 * mm, stroke=0, fill=1)
    canvas.rect(mast - 8 * mm, FIELD_BOTTOM + 84 * mm, 16 * mm, 12 * mm, stroke=0, fill=1)


MOTIFS = {"tiles": _tiles, "waves": _waves}


def draw_cover(canvas: Any, front: Mapping[str, Any], theme: Theme) -> None:
    """Draw the cover of a document from its front matter: title, subtitle, lines below, motif."""
    canvas.saveState()
    canvas.setFillColor(HexColor(theme.accent))
    canvas.rect(0, FIELD_BOTTOM, WIDTH, HEIGHT - FIELD_BOTTOM, stroke=0, fill=1)
    MOTIFS[front["motif"]](canvas, theme)
    canvas.setFillColor(HexColor(theme.accent), alpha=1)
    y = FIELD_BOTTOM - 24 * mm
    for line in front["title_lines"]:
        canvas.setFont("Sans-Bold", 29)
        canvas.drawString(23 * mm, y, line)
        y -= 13 * mm
    canvas.setFillColor(HexColor(theme.ink))
    canvas.setFont("Sans", 12)
    canvas.drawString(23 * mm, y - 1 * mm, front["subtitle"])
    canvas.setFont("Sans", 8.6)
    for k, line in enumerate(front["cover_lines"]):
        canvas.drawString(23 * mm, 32 * mm - k * 5 * mm, line)
    canvas.restoreState()
