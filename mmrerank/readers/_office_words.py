"""The words of Word, PowerPoint and Excel files, by python-docx, python-pptx and openpyxl. No formula is computed, nothing is fetched.

Cost: 10 to 50 ms a document of some pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrerank.readers._parts_of_text import Block

MAX_CELLS = 2_000_000  # of a workbook, empty ones within a row included
MAX_CELL_CHARACTERS = 32_767  # as Excel has it


def paragraphs(path: Path) -> Iterator[Block]:
    """The paragraphs and rows of tables of a Word file in their order, under their headings."""
    import docx
    from docx.table import Table

    headings: dict[int, str] = {}
    for piece in docx.Document(str(path)).iter_inner_content():
        if isinstance(piece, Table):
            yield from (Block(row, " > ".join(headings.values())) for row in _rows(piece))
            continue
        text = piece.text.strip()
        level = _level(piece)
        if level is not None and text:
            headings = {n: name for n, name in headings.items() if n < level} | {level: text}
        if text:
            yield Block(text, " > ".join(headings.values()))


def _level(paragraph: Any) -> int | None:
    """Of a heading, from 0 for the title; None for other paragraphs."""
    name = (paragraph.style.name if paragraph.style is not None else "") or ""
    if name == "Title":
        return 0
    word, _, number = name.partition(" ")
    return int(number) if word == "Heading" and number.isdecimal() else None


def _rows(table: Any) -> Iterator[str]:
    for row in table.rows:
        cells = list(dict.fromkeys(cell.text.strip() for cell in row.cells))  # merged cells come once for each place
        if text := " | ".join(" ".join(cell.split()) for cell in cells if cell):
            yield text


def slides(path: Path) -> Iterator[tuple[str, str]]:
    """(title, words) of each slide: what its shapes say from the top, and its notes."""
    import pptx

    for slide in pptx.Presentation(str(path)).slides:
        title = slide.shapes.title.text_frame.text if slide.shapes.title is not None else ""
        lines = [line for shape in slide.shapes for line in _shape(shape)]
        if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
            lines.append(f"notes: {frame.text.strip()}")
        yield " ".join(title.split()), "\n".join(lines)


def _shape(shape: Any) -> Iterator[str]:
    from pptx.enum.shapes import MSO_SHAPE_TYPE

    if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
        for inner in shape.shapes:
            yield from _shape(inner)
    elif shape.has_text_frame and shape.text_frame.text.strip():
        yield shape.text_frame.text.strip().replace("\v", "\n")
    elif shape.has_table:
        yield from _rows(shape.table)


def rows_of_sheets(path: Path) -> Iterator[Block]:
    """The rows of each sheet of a workbook, cells as they were last computed, under the name of the sheet; up to `MAX_CELLS`."""
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    cells = 0
    try:
        for sheet in book.worksheets:
            for row in sheet.iter_rows(values_only=True):
                cells += len(row)
                if cells > MAX_CELLS:
                    return
                values = [" ".join(str(value)[:MAX_CELL_CHARACTERS].split()) for value in row if value is not None]
                if text := " | ".join(value for value in values if value):
                    yield Block(text, sheet.title)
    finally:
        book.close()
