"""From blocks to pages: the shipped documents set with ReportLab.

Headings become bookmarks and the table of contents; the printed page number is the page's place in the file, so that
"page 7" means one thing. Nothing in the file depends on the day or the machine.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    TableStyle,
)
from reportlab.platypus import Table as Grid
from reportlab.platypus.tableofcontents import TableOfContents

from tools.handbook import source as source_of
from tools.handbook.charts import DOTS_PER_INCH, draw_chart
from tools.handbook.covers import draw_cover
from tools.handbook.diagrams import draw_diagram
from tools.handbook.theme import CELL_SIZE, THEMES, Theme, register_fonts, styles

PAGE_WIDTH, PAGE_HEIGHT = A4
SIDE, TOP, BOTTOM = 23 * mm, 24 * mm, 22 * mm
TEXT_WIDTH = PAGE_WIDTH - 2 * SIDE
CELL_PADDING = 4.5


class _Setter:
    """Turns the blocks of one document into what ReportLab flows onto pages."""

    def __init__(self, source: source_of.Source) -> None:
        self.source = source
        self.theme: Theme = THEMES[source.front["theme"]]
        self.styles = styles(self.theme)
        self.names = source.names()
        self.bookmarks = 0

    def text(self, words: str, style: str) -> Any:
        return Paragraph(source_of.markup(words, self.names, mono="Mono"), self.styles[style])

    def story(self) -> list[Any]:
        """Contents first, then every block; a chapter opens a page unless `chapter_needs_mm` of the last one are free."""
        contents = TableOfContents(levelStyles=[self.styles["toc1"], self.styles["toc2"]], dotsMinLevel=0)
        heading = Paragraph("Contents", self.styles["h1"])
        flow: list[Any] = [NextPageTemplate("body"), PageBreak(), heading, contents, PageBreak()]
        for block in self.source.blocks:
            set_block = self.block(block)
            if isinstance(block, source_of.Table | source_of.Figure):
                set_block = [KeepTogether([*self._take_headings(flow), *set_block])]
            flow.extend(set_block)
        return flow

    def _take_headings(self, flow: list[Any]) -> list[Any]:
        """The headings that end `flow`, taken out of it: one must not be parted from the table or figure it opens."""
        headings: list[Any] = []
        while flow and getattr(flow[-1], "style", None) in (self.styles["h1"], self.styles["h2"], self.styles["h3"]):
            headings.insert(0, flow.pop())
        return headings

    def block(self, block: source_of.Block) -> list[Any]:
        if isinstance(block, source_of.Heading):
            return self.heading(block)
        if isinstance(block, source_of.Paragraph):
            return self.boxed(block.text) if block.boxed else [self.text(block.text, "body")]
        if isinstance(block, source_of.Listing):
            return self.listing(block)
        if isinstance(block, source_of.Table):
            return [self.caption("Table", block), self.grid(block), Spacer(1, 9)]
        if isinstance(block, source_of.Figure):
            return [Spacer(1, 3), self.picture(block), self.caption("Figure", block), Spacer(1, 5)]
        return [PageBreak()]

    def heading(self, block: source_of.Heading) -> list[Any]:
        title = self.text(block.text, f"h{block.level}")
        if block.level == 3:
            return [title]
        self.bookmarks += 1
        title.entry = (block.level - 1, block.text, f"part-{self.bookmarks}")  # read again once the heading has a page
        if block.level == 1:
            return [CondPageBreak(self.source.front["chapter_needs_mm"] * mm), title]
        return [CondPageBreak(28 * mm), title]

    def caption(self, word: str, block: source_of.Table | source_of.Figure) -> Any:
        return self.text(f"**{word} {block.number}.** {block.caption}", "caption")

    def listing(self, block: source_of.Listing) -> list[Any]:
        marks = [f"{k}." if block.ordered else "•" for k in range(1, len(block.entries) + 1)]
        marked = source_of.markup
        looks = ["entry"] * (len(marks) - 1) + ["last_entry"]
        return [
            Paragraph(marked(entry, self.names, mono="Mono"), self.styles[look], bulletText=mark)
            for entry, look, mark in zip(block.entries, looks, marks, strict=True)
        ]

    def boxed(self, words: str) -> list[Any]:
        frame = Grid([[self.text(words, "boxed")]], colWidths=[TEXT_WIDTH])
        look = [
            ("BACKGROUND", (0, 0), (-1, -1), HexColor(self.theme.pale)),
            ("LINEBEFORE", (0, 0), (0, -1), 2.4, HexColor(self.theme.accent)),
            ("LEFTPADDING", (0, 0), (-1, -1), 11),
            ("TOPPADDING", (0, 0), (-1, -1), 7),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
        ]
        frame.setStyle(TableStyle(look))
        return [Spacer(1, 2), frame, Spacer(1, 9)]

    def picture(self, block: source_of.Figure) -> Any:
        if block.kind == "diagram":
            return draw_diagram(block.options, self.theme)
        chart = draw_chart(block.options, self.theme)
        scale = 72 / DOTS_PER_INCH
        png = io.BytesIO()
        chart.save(png, format="PNG", compress_level=1)
        png.seek(0)
        image = Image(png, width=chart.width * scale, height=chart.height * scale)
        image.hAlign = "CENTER"
        return image

    def grid(self, table: source_of.Table) -> Any:
        """A ruled table: header on the accent colour, every other row pale, rows named Total or Year in bold."""
        rows = [self._row(tuple(f"**{cell}**" if cell else "" for cell in table.header), table.right, colour="#FFFFFF")]
        for row in table.rows:
            summed = row[0].split(" ")[0] in ("Total", "Year")
            rows.append(self._row(tuple(f"**{cell}**" if summed and cell else cell for cell in row), table.right))
        grid = Grid(rows, colWidths=_column_widths([table.header, *table.rows]), repeatRows=1)
        accent = HexColor(self.theme.accent)
        look = [
            ("BACKGROUND", (0, 0), (-1, 0), accent),
            ("ROWBACKGROUNDS", (0, 1), (-1, -1), [white, HexColor(self.theme.pale)]),
            ("LINEBELOW", (0, -1), (-1, -1), 0.8, accent),
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            ("LEFTPADDING", (0, 0), (-1, -1), CELL_PADDING),
            ("RIGHTPADDING", (0, 0), (-1, -1), CELL_PADDING),
            ("TOPPADDING", (0, 0), (-1, -1), 3),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3.4),
        ]
        grid.setStyle(TableStyle(look))
        return grid

    def _row(self, cells: Sequence[str], right: Sequence[bool], colour: str | None = None) -> list[Any]:
        set_cells = []
        for cell, flush_right in zip(cells, right, strict=True):
            words = source_of.markup(cell, self.names, mono="Mono")
            words = f'<font color="{colour}">{words}</font>' if colour else words
            set_cells.append(Paragraph(words, self.styles["cell_right" if flush_right else "cell"]))
        return set_cells


def _column_widths(rows: Sequence[Sequence[str]]) -> list[float]:
    """Column widths in points that fill the line: what each column would like, the wide ones giving way first."""
    ideals = [
        max(stringWidth(cell, "Sans-Bold", CELL_SIZE) for cell in column) + 2 * CELL_PADDING + 2 for column in zip(*rows, strict=True)
    ]
    limit = TEXT_WIDTH
    while sum(min(width, limit) for width in ideals) > TEXT_WIDTH:
        limit -= 1
    widths = [min(width, limit) for width in ideals]
    spare = (TEXT_WIDTH - sum(widths)) / len(widths)
    return [width + spare for width in widths]


class _Pages:
    """What stands on every page around the text, and what each heading leaves behind."""

    def __init__(self, setter: _Setter, template: Any) -> None:
        self.setter = setter
        self.template = template
        self.chapter = ""

    def after_flowable(self, flowable: Flowable) -> None:
        entry = getattr(flowable, "entry", None)
        if entry is None:
            return
        level, text, key = entry
        canvas = self.template.canv
        canvas.bookmarkPage(key)
        canvas.addOutlineEntry(text, key, level=level, closed=0)
        self.template.notify("TOCEntry", (level, text.replace("&", "&amp;"), self.template.page, key))
        if level == 0:
            self.chapter = text

    def cover(self, canvas: Any, _template: Any) -> None:
        self.chapter = ""  # the text is set twice, once to learn the page numbers
        draw_cover(canvas, self.setter.source.front, self.setter.theme)

    def margins(self, canvas: Any, template: Any) -> None:
        theme = self.setter.theme
        canvas.saveState()
        canvas.setFillColor(HexColor("#6A7477"))
        canvas.setFont("Sans", 7.2)
        canvas.drawString(SIDE, PAGE_HEIGHT - 15 * mm, self.setter.source.front["running_title"])
        canvas.drawRightString(PAGE_WIDTH - SIDE, PAGE_HEIGHT - 15 * mm, self.chapter or "Contents")
        canvas.setStrokeColor(HexColor(theme.accent))
        canvas.setLineWidth(0.6)
        canvas.line(SIDE, PAGE_HEIGHT - 17 * mm, PAGE_WIDTH - SIDE, PAGE_HEIGHT - 17 * mm)
        canvas.drawString(SIDE, 12 * mm, self.setter.source.front["imprint"])
        canvas.setFont("Sans-Bold", 8)
        canvas.setFillColor(HexColor(theme.accent))
        canvas.drawRightString(PAGE_WIDTH - SIDE, 12 * mm, str(template.page))
        canvas.restoreState()


def write_document(source: source_of.Source, path: Path) -> None:
    """Set one document and write it as a PDF with text layer, bookmarks and contents."""
    register_fonts()
    front = source.front
    frame = Frame(SIDE, BOTTOM, TEXT_WIDTH, PAGE_HEIGHT - TOP - BOTTOM, 0, 0, 0, 0, id="text")
    about = {"title": front["title"], "author": front["author"], "subject": front["subtitle"], "lang": "en"}
    template = BaseDocTemplate(str(path), pagesize=A4, invariant=1, pageCompression=1, **about)
    setter = _Setter(source)
    pages = _Pages(setter, template)
    template.afterFlowable = pages.after_flowable
    template.addPageTemplates(
        [PageTemplate(id="cover", frames=[frame], onPage=pages.cover), PageTemplate(id="body", frames=[frame], onPageEnd=pages.margins)]
    )
    template.multiBuild([Spacer(1, 1), *setter.story()])
