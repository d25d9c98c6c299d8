"""Diagrams of the shipped documents: shapes listed in the source, drawn as vectors.

A diagram is a list of shapes, each a list that begins with its kind. Lengths are points, the origin is bottom left:

    ["box", x, y, width, height, "text", "style"]     style: plain, accent, pale, warm, ghost
    ["arrow", x1, y1, x2, y2]   ["line", x1, y1, x2, y2, "solid" or "dashed"]
    ["text", x, y, "words", "size-anchor", e.g. "8-middle"]   ["disc", x, y, radius, "style"]
    ["area", [x1, y1, x2, y2, ...], "style"]          ["curve", [x1, y1, ...], "style"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reportlab.graphics.shapes import Circle, Drawing, Group, Line, Polygon, PolyLine, Rect, String
from reportlab.lib.colors import HexColor

from mmrerank.errors import UnknownName
from tools.handbook.theme import Theme

LINE_STEP = 1.22


def _colours(style: str, theme: Theme) -> tuple[Any, Any, Any]:
    """Fill, edge and text colour of a style."""
    named = {
        "plain": ("#FFFFFF", theme.accent, theme.ink),
        "accent": (theme.accent, theme.accent, "#FFFFFF"),
        "pale": (theme.pale, theme.accent, theme.ink),
        "warm": (theme.palette[1], theme.palette[1], "#FFFFFF"),
        "green": (theme.palette[2], theme.palette[2], "#FFFFFF"),
        "red": (theme.palette[3], theme.palette[3], "#FFFFFF"),
        "ghost": ("#F4F5F5", "#B7BFC2", "#6A7477"),
        "land": ("#E9E2CF", "#B9A97F", theme.ink),
        "sea": ("#DCEBF3", "#DCEBF3", theme.ink),
    }
    if style not in named:
        raise UnknownName.among("diagram style", style, named)
    fill, edge, text = named[style]
    return HexColor(fill), HexColor(edge), HexColor(text)


def _words(x: float, y: float, text: str, *, size: float, anchor: str, colour: Any, bold: bool = False) -> list[Any]:
    """One string per line of `text`, the whole centred on `y`."""
    lines = text.split("\n")
    top = y + (len(lines) - 1) * size * LINE_STEP / 2 - size * 0.35
    face = "Sans-Bold" if bold else "Sans"
    return [
        String(x, top - k * size * LINE_STEP, line, fontName=face, fontSize=size, textAnchor=anchor, fillColor=colour)
        for k, line in enumerate(lines)
    ]


def _box(
    theme: Theme, x: float, y: float, width: float, height: float, text: str = "", style: str = "plain", size: float = 7.8
) -> list[Any]:
    fill, edge, ink = _colours(style, theme)
    frame = Rect(x, y, width, height, rx=3, ry=3, fillColor=fill, strokeColor=edge, strokeWidth=0.9)
    return [frame, *_words(x + width / 2, y + height / 2, text, size=size, anchor="middle", colour=ink)]


def _arrow(theme: Theme, x1: float, y1: float, x2: float, y2: float, style: str = "accent") -> list[Any]:
    _, edge, _ = _colours(style, theme)
    angle = math.atan2(y2 - y1, x2 - x1)
    wings = [(x2 - 6 * math.cos(angle + turn), y2 - 6 * math.sin(angle + turn)) for turn in (0.42, -0.42)]
    head = Polygon([x2, y2, *wings[0], *wings[1]], fillColor=edge, strokeColor=edge, strokeWidth=0.4)
    shaft = Line(x1, y1, x2 - 4 * math.cos(angle), y2 - 4 * math.sin(angle), strokeColor=edge, strokeWidth=1.1)
    return [shaft, head]


def _line(theme: Theme, x1: float, y1: float, x2: float, y2: float, look: str = "solid", style: str = "accent") -> list[Any]:
    _, edge, _ = _colours(style, theme)
    return [Line(x1, y1, x2, y2, strokeColor=edge, strokeWidth=0.9, strokeDashArray=[3, 2.4] if look == "dashed" else None)]


def _text(theme: Theme, x: float, y: float, text: str, look: str = "8-middle", style: str = "plain") -> list[Any]:
    size, _, anchor = look.removesuffix("-bold").partition("-")
    ink = HexColor(theme.ink) if style == "plain" else _colours(style, theme)[1]
    return _words(x, y, text, size=float(size), anchor=anchor, colour=ink, bold=look.endswith("-bold"))


def _disc(theme: Theme, x: float, y: float, radius: float, style: str = "accent") -> list[Any]:
    fill, edge, _ = _colours(style, theme)
    return [Circle(x, y, radius, fillColor=fill, strokeColor=edge, strokeWidth=0.9)]


def _area(theme: Theme, points: Sequence[float], style: str = "pale") -> list[Any]:
    fill, edge, _ = _colours(style, theme)
    return [Polygon(list(points), fillColor=fill, strokeColor=edge, strokeWidth=0.9)]


def _curve(theme: Theme, points: Sequence[float], style: str = "accent") -> list[Any]:
    _, edge, _ = _colours(style, theme)
    return [PolyLine(list(points), strokeColor=edge, strokeWidth=1.3)]


SHAPES: Mapping[str, Any] = {
    "box": _box,
    "arrow": _arrow,
    "line": _line,
    "text": _text,
    "disc": _disc,
    "area": _area,
    "curve": _curve,
}


def draw_diagram(options: Mapping[str, Any], theme: Theme) -> Any:
    """The diagram as a ReportLab drawing of `options["width"]` by `options["height"]` points.

    Raises:
        UnknownName: a shape or style that there is not.
    """
    group = Group()
    for shape in options["shapes"]:
        if shape[0] not in SHAPES:
            raise UnknownName.among("shape", str(shape[0]), SHAPES)
        for part in SHAPES[shape[0]](theme, *shape[1:]):
            group.add(part)
    drawing = Drawing(options["width"], options["height"])
    drawing.add(group)
    drawing.hAlign = "CENTER"
    return drawing
