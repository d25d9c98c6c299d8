"""Titles that a program put in are no titles."""

from __future__ import annotations

import pytest

from mmrerank.readers import is_placeholder


@pytest.mark.parametrize(
    "title",
    [
        "",
        "  ",
        "-",
        "Untitled",
        "untitled-1",
        "Untitled Document",
        "Unbenannt 2",
        "Microsoft Word - report final.doc",
        "Slide 1",
        "Folie 12",
        "Microsoft PowerPoint - talk.pptx",
        "PowerPoint Presentation",
        "PowerPoint-Präsentation",
        "Document1",
        "Dokument 2",
        "Presentation3",
        "Book1",
        "Layout 1",
        "Page 7",
        "scan0001",
        "C:\\\\Users\\\\me\\\\x.txt",
        "annual_report_v7.indd",
        "thesis.dvi",
        "(anonymous)",
        "Bookmark 3",
        "New Microsoft Word Document",
        "Microsoft Word - Document1",
    ],
)
def test_placeholders(title: str) -> None:
    assert is_placeholder(title)


@pytest.mark.parametrize(
    "title",
    [
        "Annual Report 2024",
        "Slides of the meeting",
        "Page by page",
        "1984",
        "Booking",
        "A Scanner Darkly",
        "Word processing",
        "Untitled: a play",
        "Document retrieval",
        "Microsoft",
        "3.1 Data",
        "年次報告",
    ],
)
def test_titles(title: str) -> None:
    assert not is_placeholder(title)
