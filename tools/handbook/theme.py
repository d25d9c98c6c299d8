"""Faces, colours and paragraph styles of the shipped documents.

All faces are embedded from what matplotlib carries, so that a page looks the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_JUSTIFY, TA_LEFT, TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

FONT_FILES = {
    "Serif": "STIXGeneral.ttf",
    "Serif-Bold": "STIXGeneralBol.ttf",
    "Serif-Italic": "STIXGeneralItalic.ttf",
    "Serif-BoldItalic": "STIXGeneralBolIta.ttf",
    "Sans": "DejaVuSans.ttf",
    "Sans-Bold": "DejaVuSans-Bold.ttf",
    "Sans-Italic": "DejaVuSans-Oblique.ttf",
    "Sans-BoldItalic": "DejaVuSans-BoldOblique.ttf",
    "Mono": "DejaVuSansMono.ttf",
}

CELL_SIZE = 7.7  # type size in tables, points


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """The looks of one document; `palette` colours charts and diagrams in this order."""

    body: str
    body_size: float
    leading: float
    justified: bool
    accent: str
    pale: str
    ink: str
    palette: tuple[str, ...]


THEMES = {
    "book": Theme(
        body="Serif",
        body_size=10.8,
        leading=14.6,
        justified=True,
        accent="#1F4E6B",
        pale="#EAF1F5",
        ink="#1D2429",
        palette=("#1F4E6B", "#D9822B", "#5B9A8B", "#A23B4A", "#8E7CA6", "#9AA5AD"),
    ),
    "report": Theme(
        body="Sans",
        body_size=8.9,
        leading=13.4,
        justified=False,
        accent="#0B5F66",
        pale="#E6F2F1",
        ink="#20292B",
        palette=("#0B5F66", "#E0A030", "#6FA8A4", "#B5483A", "#4C6FA5", "#A7B0AF"),
    ),
}


def font_path(file_name: str) -> Path:
    """Where matplotlib keeps the face of that file name."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file_name


def register_fonts() -> None:
    """Make the faces known to ReportLab, with their bold and italic kin; a second call changes nothing."""
    known = set(pdfmetrics.getRegisteredFontNames())
    for name, file_name in FONT_FILES.items():
        if name not in known:
            pdfmetrics.registerFont(TTFont(name, str(font_path(file_name))))
    for family in ("Serif", "Sans"):
        pdfmetrics.registerFontFamily(
            family, normal=family, bold=f"{family}-Bold", italic=f"{family}-Italic", boldItalic=f"{family}-BoldItalic"
        )


def styles(theme: Theme) -> dict[str, Any]:
    """The paragraph styles of a document, by name."""
    base = ParagraphStyle(
        "body",
        fontName=theme.body,
        fontSize=theme.body_size,
        leading=theme.leading,
        textColor=HexColor(theme.ink),
        alignment=TA_JUSTIFY if theme.justified else TA_LEFT,
        spaceAfter=theme.leading * 0.5,
        allowWidows=0,
        allowOrphans=0,
    )
    accent = HexColor(theme.accent)

    def head(name: str, size: float, before: float, after: float) -> ParagraphStyle:
        look = {"fontName": "Sans-Bold", "fontSize": size, "leading": size * 1.25, "textColor": accent, "keepWithNext": 1}
        return ParagraphStyle(name, spaceBefore=before, spaceAfter=after, **look)

    small = theme.body_size - 1.4
    left = ParagraphStyle("left", parent=base, alignment=TA_LEFT)
    bullet = {"bulletIndent": 3, "bulletFontName": theme.body, "bulletFontSize": theme.body_size}
    entry = ParagraphStyle("entry", parent=left, spaceAfter=2.5, leftIndent=16, **bullet)
    cell = ParagraphStyle("cell", parent=left, fontName="Sans", fontSize=CELL_SIZE, leading=10, spaceAfter=0)
    return {
        "body": base,
        "h1": head("h1", 18, 14, 12),
        "h2": head("h2", 12.2, 10, 5),
        "h3": head("h3", 10, 6, 3),
        "entry": entry,
        "last_entry": ParagraphStyle("last_entry", parent=entry, spaceAfter=base.spaceAfter),
        "boxed": ParagraphStyle("boxed", parent=left, spaceAfter=0, fontSize=theme.body_size - 0.4, leading=theme.leading - 0.6),
        "caption": ParagraphStyle("caption", parent=left, fontSize=small, leading=small * 1.3, spaceBefore=4),
        "cell": cell,
        "cell_right": ParagraphStyle("cell_right", parent=cell, alignment=TA_RIGHT),
        "toc1": ParagraphStyle("toc1", fontName="Sans-Bold", fontSize=8.8, leading=12.4, textColor=accent, spaceBefore=4),
        "toc2": ParagraphStyle("toc2", fontName="Sans", fontSize=8, leading=10.4, leftIndent=14, textColor=HexColor(theme.ink)),
    }
