"""The words of a PDF page: lines of turned text, values filled into forms, and pages of absurd length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest
from reportlab.pdfgen.canvas import Canvas

from mmrerank.parts import make
from mmrerank.readers import _ocr, _pdf_forms, _pdf_text
from mmrerank.readers._pdf_forms import with_values
from mmrerank.readers._pdf_text import _clean
from mmrerank.types import Item

LINES = ["North region grew in kerosene", "Paraffin fell after the embargo", "Totals audited by Lindqvist"]


def pages(path: Path) -> list[Item]:
    return [entry.item for entry in make("pdf(ocr='never')").read(path, path.name)]


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[[Callable[[Canvas], None]], Path]:
    """drawn(draw): a PDF of one page of 400 x 300 points on which `draw(canvas)` was called."""

    def make_file(draw: Callable[[Canvas], None]) -> Path:
        path = tmp_path / "page.pdf"
        canvas = Canvas(str(path), pagesize=(400, 300), invariant=True)
        draw(canvas)
        canvas.showPage()
        canvas.save()
        return path

    return make_file


def test_a_word_broken_at_a_line_end_stays_broken_as_printed() -> None:
    assert _clean("by candi\x02date spans\r\nand\rmore \x00\x07 text\ufffe\r\n") == "by candi-\ndate spans\nand\nmore    text"


# ---------------------------------------------------------------- turned text


def sideways(canvas: Canvas, degrees: int = 90) -> None:
    canvas.translate(*((100, 20) if degrees == 90 else (300, 270)))
    canvas.rotate(degrees)
    for n, line in enumerate(LINES):
        canvas.drawString(0, -20 * n, line)


def test_the_lines_of_a_table_printed_sideways_stay_apart(drawn: Callable[..., Path]) -> None:
    (page,) = pages(drawn(sideways))
    assert page.text == "\n".join(LINES)


@pytest.mark.parametrize("degrees", [90, 270])
def test_the_lines_of_a_turned_page_stay_apart(drawn: Callable[..., Path], degrees: int) -> None:
    path = drawn(lambda canvas: sideways(canvas, degrees))
    document = pypdfium2.PdfDocument(path)
    document[0].set_rotation(degrees)
    document.save(turned := path.with_name("turned.pdf"))
    document.close()
    assert pages(turned)[0].text == "\n".join(LINES)


def test_a_line_along_the_margin_does_not_change_how_the_page_is_read(drawn: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def stamped(canvas: Canvas) -> None:
        for n in range(8):
            canvas.drawString(60, 260 - 20 * n, f"A line of ordinary text that is number {n}")
        canvas.rotate(90)
        canvas.drawString(20, -20, "stamp of 2023")

    monkeypatch.setattr(pypdfium2.PdfTextPage, "get_text_range", lambda *_: pytest.fail("it breaks ordinary lines at raised letters"))
    assert "is number 7" in (pages(drawn(stamped))[0].text or "")


# ---------------------------------------------------------------- forms


def filled(canvas: Canvas) -> None:
    form = canvas.acroForm
    canvas.drawString(20, 250, "Applicant:")
    form.textfield(name="a", value="Bartholomew Quimby", x=100, y=244, width=120, height=18)
    canvas.drawString(230, 250, "Year:")
    form.textfield(name="y", value="1887", x=270, y=244, width=60, height=18)
    canvas.drawString(20, 222, "Home town")
    form.textfield(name="t", value="Rostock", x=20, y=200, width=120, height=18)
    form.textfield(name="empty", value="", x=20, y=170, width=120, height=18)
    form.choice(name="c", value="de", options=[("Germany", "de"), ("Sweden", "se")], x=20, y=140, width=120, height=18)
    form.textfield(name="p", value="hunter2", x=20, y=110, width=120, height=18, fieldFlags="password")
    form.textfield(name="h", value="unseen", x=20, y=80, width=120, height=18, annotationFlags="hidden")


def test_values_filled_into_a_form_are_found_beside_their_labels(drawn: Callable[..., Path]) -> None:
    text = pages(drawn(filled))[0].text
    assert text == "Applicant: Bartholomew Quimby Year: 1887\nHome town Rostock\n\nGermany"


def test_equal_labels_have_their_values_in_order() -> None:
    assert with_values("Name of each:\nName\nName", [("Name", "Ada"), ("Name", "Max"), ("Name", "x"), ("Name", "y")]) == (
        "Name x of each:\nName Ada\nName Max\n\ny"
    )


def test_labels_are_not_sought_among_too_many_letters(drawn: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pdf_forms, "_MOST_LETTERS", 20)
    assert (pages(drawn(filled))[0].text or "").split("\n\n")[1:] == ["Bartholomew Quimby", "1887", "Rostock", "Germany"]


def test_passwords_and_hidden_fields_stay_unread(drawn: Callable[..., Path]) -> None:
    text = pages(drawn(filled))[0].text or ""
    assert "hunter2" not in text
    assert "unseen" not in text


def test_a_form_without_any_print_has_its_values_as_text(drawn: Callable[..., Path]) -> None:
    path = drawn(lambda canvas: canvas.acroForm.textfield(name="a", value="Quimby", x=20, y=200, width=120, height=18))
    assert pages(path)[0].text == "Quimby"


# ---------------------------------------------------------------- bounds


def test_a_text_layer_of_absurd_length_is_cut_with_a_note(drawn: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pdf_text, "MOST_CHARACTERS", 20)
    path = drawn(lambda canvas: canvas.drawString(20, 200, "The quick brown fox jumps over the lazy dog"))
    (page,) = pages(path)
    assert page.text == "The quick brown fox"
    assert page.metadata["text_note"] == "the text layer has 43 characters, of which the first 20 were read"


def test_a_page_in_too_many_pieces_is_not_counted_letter_by_letter(drawn: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pdf_text, "MOST_PIECES", 5)
    monkeypatch.setattr(_ocr, "with_text", lambda *_, **__: pytest.fail("OCR would read what was left out on purpose"))

    def pieces(canvas: Canvas) -> None:
        for n in range(6):
            canvas.drawString(20, 280 - 20 * n, "a piece")

    path = drawn(pieces)
    monkeypatch.setattr(pypdfium2.PdfPage, "get_textpage", lambda _: pytest.fail("pdfium would keep every letter"))
    (page,) = [entry.item for entry in make("pdf").read(path, path.name)]
    assert page.text is None
    assert page.metadata["text_note"] == "the text layer is in more than 5 pieces and was left out"


def test_drawings_of_many_lines_keep_their_text(drawn: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pdf_text, "MOST_PIECES", 5)

    def plan(canvas: Canvas) -> None:
        for n in range(20):
            canvas.line(0, n, 100, n)
        canvas.drawString(20, 200, "Ground floor")

    assert pages(drawn(plan))[0].text == "Ground floor"
