"""Where words stand on a page: found whatever the line breaks and the case, turned with the page, empty when absent."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
import pytest
from reportlab.pdfgen.canvas import Canvas

from mmrerank.errors import FormatError
from mmrerank.readers._boxes import boxes

WIDTH, HEIGHT = 400, 200


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.pdf"
    canvas = Canvas(str(path), pagesize=(WIDTH, HEIGHT))
    canvas.setFont("Helvetica", 20)
    canvas.drawString(40, 150, "The tide gauge cost")
    canvas.drawString(40, 120, "4,200 euros.")
    canvas.showPage()
    canvas.save()
    return path


def test_a_phrase_over_two_lines_has_two_boxes_around_its_ink(page: Path) -> None:
    first, second = boxes(page, 1, "Gauge  COST 4,200 euros")
    assert first[1] < second[1]
    assert first[0] > 0.25, "the words before it are not boxed"
    baseline = 1 - 150 / HEIGHT
    assert first[1] < baseline < first[3] + 0.01
    assert second[0] == pytest.approx(40 / WIDTH, abs=0.01)


def test_words_that_are_not_there_have_no_box(page: Path) -> None:
    assert boxes(page, 1, "barometer") == []
    assert boxes(page, 1, " .,") == []


def test_a_turned_page_has_its_boxes_where_it_shows_the_words(page: Path) -> None:
    document = pypdfium2.PdfDocument(page)
    document[0].set_rotation(90)
    turned = page.with_name("turned.pdf")
    document.save(turned)
    document.close()
    (box,) = boxes(turned, 1, "euros")
    (upright,) = boxes(page, 1, "euros")
    assert box[1] == pytest.approx(upright[0], abs=0.01), "what was left is now on top"
    assert box[2] == pytest.approx(1 - upright[1], abs=0.01)


def test_a_page_that_does_not_exist_is_an_error(page: Path) -> None:
    with pytest.raises(FormatError):
        boxes(page, 7, "tide")
