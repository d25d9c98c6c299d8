"""Which words a PDF page has: whether its text layer will do, in which order it is read, what was written onto it, and what repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pikepdf
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from mmrerank.errors import FormatError, InputError
from mmrerank.parts import make
from mmrerank.readers import _ocr, body_of, use_passwords
from mmrerank.readers._boxes import boxes
from mmrerank.readers._legible import is_meaningless
from mmrerank.readers._line_ends import rejoined
from mmrerank.readers._pdf_text import _clean
from mmrerank.types import Item

Drawn = Callable[..., Path]
SENTENCE = "The harbour crane of the old yard lifts forty tonnes and is not for hire in the winter."


def pages(path: Path, reader: str = "pdf(ocr=never)") -> list[Item]:
    return [entry.item for entry in make(reader).read(path, path.name)]


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    """drawn(draw, ...): a PDF with a page of 595 x 842 points for each function, which draws on its canvas."""

    def make_file(*draws: Callable[[Canvas], None]) -> Path:
        path = tmp_path / "page.pdf"
        canvas = Canvas(str(path), pagesize=(595, 842), invariant=True)
        for draw in draws:
            draw(canvas)
            canvas.showPage()
        canvas.save()
        return path

    return make_file


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """raw(content, fonts, **entries of the page): a PDF of one page of 300 x 200 points, made object by object."""

    def make_file(content: bytes, fonts: dict[str, pikepdf.Object] | None = None, annotations: Sequence[dict[str, object]] = ()) -> Path:
        path = tmp_path / "raw.pdf"
        document = pikepdf.new()
        page = document.add_blank_page(page_size=(300, 200))
        page.Contents = document.make_stream(content)
        helvetica = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
        page.Resources = pikepdf.Dictionary(
            Font=pikepdf.Dictionary({"/H": helvetica, **{f"/{name}": _copied(document, font) for name, font in (fonts or {}).items()}})
        )
        if annotations:
            page.Annots = document.make_indirect(
                pikepdf.Array([pikepdf.Dictionary({"/Type": pikepdf.Name.Annot, **one}) for one in annotations])
            )
        document.save(path)
        return path

    return make_file


def _copied(document: pikepdf.Pdf, font: pikepdf.Object) -> pikepdf.Object:
    return document.copy_foreign(font) if font.is_indirect else font


@pytest.fixture
def ocr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ocr, "why_not", lambda ocr: None if ocr == "auto" else "OCR is off")
    monkeypatch.setattr(_ocr, "read", lambda *_, **__: _ocr.Reading(text=SENTENCE))


def scan(canvas: Canvas, share: float = 1.0) -> None:
    canvas.drawImage(ImageReader(Image.new("L", (60, 85), 250)), 0, 0, 595, 842 * share)


# ---------------------------------------------------------------- whether the text layer will do


@pytest.mark.parametrize("stamp", ["DOSSIER 000123", "RECEIVED 12 MAY 2003", "CONFIDENTIAL - SUBJECT TO PROTECTIVE ORDER - EXHIBIT 14"])
def test_a_stamped_scan_is_read_and_the_stamp_stays(drawn: Drawn, ocr: None, stamp: str) -> None:
    path = drawn(lambda canvas: (scan(canvas), canvas.drawString(100, 12, stamp)))
    (page,) = pages(path, "pdf")
    assert page.text == f"{SENTENCE}\n{stamp}"
    assert page.metadata["text_source"] == "ocr"
    assert pages(path)[0].metadata["text_note"] == "the text layer says little beside a large picture; OCR is off"


def test_a_scan_within_a_form_object_is_seen(drawn: Drawn, ocr: None) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.beginForm("original")
        scan(canvas)
        canvas.endForm()
        canvas.doForm("original")
        canvas.drawString(400, 12, "BATES 0001")

    assert SENTENCE in (pages(drawn(draw), "pdf")[0].text or "")


def test_a_page_of_text_with_a_picture_is_not_read_again(drawn: Drawn, ocr: None) -> None:
    def draw(canvas: Canvas) -> None:
        scan(canvas, 0.4)
        for n in range(12):
            canvas.drawString(60, 800 - 16 * n, f"Line {n} of a page that says enough by itself, whatever the picture shows.")

    assert "text_source" not in pages(drawn(draw), "pdf")[0].metadata


def test_pages_of_running_lines_over_pictures_are_read(drawn: Drawn, ocr: None) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(60, 815, "Northwater Ferries")
        canvas.drawImage(ImageReader(Image.new("L", (60, 85), 250)), 60, 300, 400, 300)

    (first, *_) = pages(drawn(draw, draw, draw), "pdf")
    assert first.text == f"{SENTENCE}\nNorthwater Ferries"


def test_an_empty_page_with_a_foot_stays_as_it_is(drawn: Drawn, ocr: None) -> None:
    draw = lambda canvas: canvas.drawString(60, 20, "Northwater Ferries")  # noqa: E731
    assert "text_source" not in pages(drawn(draw, draw, draw), "pdf")[0].metadata


def moved(text: str, step: int) -> str:
    return "".join(chr(ord(letter) + step) if 32 < ord(letter) + step < 127 else letter for letter in text)


@pytest.mark.parametrize(
    "text",
    [
        "\ue010\ue011\ue012 \ue013",
        "\ufffd\ufffd\ufffd 12",
        moved(SENTENCE, -29),
        moved(SENTENCE, 1),
        "d\u015a\u011e \u0189\u0199\u01b5\u0150\u019a \u018f\u01a9\u019f",
    ],
)
def test_letters_that_mean_nothing_are_known(text: str) -> None:
    assert is_meaningless(text)


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "Pumpe TG-204, 3,5 kW, 400 V, DN 80, PN 16, IP 55, Art.-Nr. 99-1234",
        "cell[0][0] cell[0][1] " * 20,
        "Phường Bến Nghé, Quận 1, Thành phố Hồ Chí Minh, được thành lập từ năm 1988 ở Việt Nam",
        "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw",
        "銀行資産総額",
        "",
    ],
)
def test_odd_but_true_text_is_no_nonsense(text: str) -> None:
    assert not is_meaningless(text)


def test_what_means_nothing_gives_way_to_ocr(drawn: Drawn, ocr: None) -> None:
    path = drawn(lambda canvas: canvas.drawString(60, 700, moved(SENTENCE, -1)))
    assert pages(path, "pdf")[0].text == SENTENCE
    assert pages(path)[0].metadata["text_note"] == "the letters of the text layer mean nothing; OCR is off"


def test_chinese_set_letter_by_letter_without_its_font_is_read(raw: Callable[..., Path]) -> None:
    system = pikepdf.Dictionary(Registry=pikepdf.String("Adobe"), Ordering=pikepdf.String("GB1"), Supplement=2)
    descendant = pikepdf.Dictionary(
        Type=pikepdf.Name.Font, Subtype=pikepdf.Name.CIDFontType2, BaseFont=pikepdf.Name.SimSun, CIDSystemInfo=system, DW=1000
    )
    font = pikepdf.Dictionary(
        Type=pikepdf.Name.Font,
        Subtype=pikepdf.Name.Type0,
        BaseFont=pikepdf.Name.SimSun,
        Encoding=pikepdf.Name("/GBK-EUC-H"),
        DescendantFonts=[descendant],
    )
    letters = b" 14 0 Td ".join(b"<%s> Tj" % letter.encode("gbk").hex().encode() for letter in "银行资产")
    path = raw(b"BT /F 12 Tf 20 100 Td " + letters + b" ET BT /H 12 Tf 20 60 Td (2015) Tj ET", {"F": font})
    assert (pages(path)[0].text or "").split() == ["银行资产", "2015"]


# ---------------------------------------------------------------- in which order

LEFT = [
    "The committee met in spring and",
    "looked at the bridge tolls. After",
    "a long debate the members chose",
    "to lower the toll for carts to",
    "four pence, as of midsummer.",
]
RIGHT = [
    "Separately, the school board in",
    "the north asked for new stoves.",
    "Its chair, Mrs Ogilvy, wrote that",
    "the old stoves smoked badly and",
    "that pupils coughed all winter.",
]


@pytest.mark.parametrize("by_words", [False, True])
def test_columns_written_row_by_row_are_read_down(drawn: Drawn, by_words: bool) -> None:
    def put(canvas: Canvas, x: float, y: float, line: str) -> None:
        for word in line.split() if by_words else [line]:
            canvas.drawString(x, y, word)
            x += canvas.stringWidth(f"{word} ")

    def draw(canvas: Canvas) -> None:
        canvas.drawString(60, 740, "A heading that runs over both of the columns of the page, as headings do")
        for n, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
            put(canvas, 60, 700 - 14 * n, left)
            put(canvas, 330, 700 - 14 * n, right)

    text = " ".join((pages(drawn(draw))[0].text or "").split())
    assert text.startswith("A heading that runs over both")
    assert text.endswith(" ".join([*LEFT, *RIGHT]))


def test_the_rows_of_a_table_stay_rows(drawn: Drawn) -> None:
    def draw(canvas: Canvas) -> None:
        for n in range(8):
            for column, cell in enumerate([f"Pump TG-{n}", f"{n},5 kW", "Rostock", f"200{n}"]):
                canvas.drawString(60 + 120 * column, 700 - 14 * n, cell)

    assert "Pump TG-3 3,5 kW Rostock 2003" in (pages(drawn(draw))[0].text or "")


@pytest.mark.parametrize("by_letters", [False, True])
def test_letters_drawn_twice_to_look_bold_count_once(drawn: Drawn, by_letters: bool) -> None:
    def draw(canvas: Canvas) -> None:
        x = 60.0
        for piece in "Tollhouse" if by_letters else ["Tollhouse"]:
            for shift in (0, 0.4):
                canvas.drawString(x + shift, 700, piece)
            x += canvas.stringWidth(piece)

    assert pages(drawn(draw))[0].text == "Tollhouse"


@pytest.mark.parametrize(
    ("glyphs", "word"),
    [
        (["\u0644", "\u0644\u0627", "\u062e"], "\u062e\u0644\u0627\u0644"),  # lam, lam-alef, khah from left to right
        (["\u0644", "\ufefb", "\u062e"], "\u062e\u0644\u0627\u0644"),  # the single character for lam-alef
        (["\u0627\u0644\u0644\u0647"], "\u0627\u0644\u0644\u0647"),
        (["\u05dd", "\u05d5\u05b9", "\u05dc", "\u05e9"], "\u05e9\u05dc\u05d5\u05b9\u05dd"),
    ],
)
def test_ligatures_of_right_to_left_scripts_stand_in_their_order(raw: Callable[..., Path], glyphs: list[str], word: str) -> None:
    lines = "".join(f"<{code:02X}> <{glyph.encode('utf-16-be').hex()}>\n" for code, glyph in enumerate(glyphs, 65))
    letters = pikepdf.new()
    head = "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n1 begincodespacerange <00> <FF> "
    cmap = f"{head}endcodespacerange\n{len(glyphs)} beginbfchar\n{lines}endbfchar\nendcmap end end"
    box = letters.make_stream(b"600 0 0 0 500 700 d1 50 0 400 600 re f")
    names = [pikepdf.Name(f"/g{n}") for n in range(len(glyphs))]
    font = pikepdf.Dictionary(
        Type=pikepdf.Name.Font,
        Subtype=pikepdf.Name.Type3,
        FontBBox=[0, 0, 600, 700],
        FontMatrix=[0.001, 0, 0, 0.001, 0, 0],
        CharProcs=pikepdf.Dictionary({str(name): box for name in names}),
        Encoding=pikepdf.Dictionary(Type=pikepdf.Name.Encoding, Differences=[65, *names]),
        FirstChar=65,
        LastChar=64 + len(glyphs),
        Widths=[600] * len(glyphs),
        ToUnicode=letters.make_stream(cmap.encode()),
    )
    codes = bytes(range(65, 65 + len(glyphs))).hex().encode()
    path = raw(b"BT /F 12 Tf 20 100 Td <" + codes + b"> Tj ET", {"F": letters.make_indirect(font)})
    assert pages(path)[0].text == word


# ---------------------------------------------------------------- what repeats


def test_heads_and_feet_stand_apart_and_stay_searchable(drawn: Drawn) -> None:
    def page(number: int, *lines: str) -> Callable[[Canvas], None]:
        def draw(canvas: Canvas) -> None:
            canvas.drawString(70, 810, "Northwater Ferries - internal")
            for n, line in enumerate(lines):
                canvas.drawString(70, 700 - 16 * n, line)
            canvas.drawString(70, 30, f"Version 7 of 3 May, page {number} of 3")

        return draw

    first, second, _ = pages(
        drawn(page(1, "The last boat"), page(2, "leaves at nine.", "Northwater Ferries is a firm."), page(3, "Prams."))
    )
    assert body_of(first.text or "") == "The last boat"
    assert body_of(second.text or "") == "leaves at nine.\nNorthwater Ferries is a firm."
    assert "Version 7 of 3 May, page 2 of 3" in (second.text or "")


def test_what_forms_repeat_in_their_middle_is_no_running_line(drawn: Drawn) -> None:
    def invoice(number: int) -> Callable[[Canvas], None]:
        return lambda canvas: canvas.drawString(70, 600, f"Invoice number: {number}")

    for page in pages(drawn(*(invoice(1000 + n) for n in range(5)))):
        assert body_of(page.text or "").startswith("Invoice number: 100")


# ---------------------------------------------------------------- words at line ends


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("The candi-\ndates were exam-\nined", "The candidates\nwere examined"),
        ("candi\u2010\ndates", "candidates"),
        ("candi\u00ad\ndates", "candidates"),
        ("seal TG-\n204 holds", "seal TG-204\nholds"),
        ("Anglo-\nSaxon", "Anglo-Saxon"),
        ("self-\nevident", "self-evident"),
        ("a long-lived pump, long-\nlived", "a long-lived pump, long-lived"),
        ("pre-\nand post-war", "pre-\nand post-war"),
        ("Haupt-\nund Nebensatz", "Haupt-\nund Nebensatz"),
        ("a dash -\nthen", "a dash -\nthen"),
        ("candi-\n\ndates", "candi-\n\ndates"),
    ],
)
def test_broken_words_are_whole_and_real_hyphens_stay(text: str, whole: str) -> None:
    assert rejoined(text) == whole


def test_accents_set_as_signs_of_their_own_stand_on_their_letters() -> None:
    assert _clean("Poincar\u00b4e and G\u00a8odel; it\u00b4s so") == "Poincar\u00e9 and G\u00f6del; it\u00b4s so"


# ---------------------------------------------------------------- what was put onto the page, and inside the file


def note(kind: str, **entries: object) -> dict[str, object]:
    return {
        "/Subtype": pikepdf.Name(f"/{kind}"),
        "/Rect": [30, 150, 200, 170],
        "/F": 4,
        **{f"/{name}": value for name, value in entries.items()},
    }


def test_the_words_of_annotations_are_text(raw: Callable[..., Path]) -> None:
    kinds = [note(kind, Contents=f"words of {kind}") for kind in ("FreeText", "Text", "Highlight", "Stamp", "Square", "Ink", "Caret")]
    path = raw(
        b"BT /H 12 Tf 20 100 Td (Purchase request) Tj ET",
        annotations=[
            *kinds,
            note("FreeText", RC="<body><p>words in <b>rich</b> text</p></body>"),
            note("Stamp", Name=pikepdf.Name.NotApproved),
            note("Text", Contents="hidden words") | {"/F": 2},
            note("Popup", Contents="popup words"),
            note("Highlight", Contents="Purchase request"),
        ],
    )
    text = pages(path)[0].text or ""
    assert all(f"words of {one['/Subtype']}".replace("/", "") in text for one in kinds)
    assert "Not Approved" in text
    assert " ".join(text.split()).count("words in rich text") == 1
    assert "hidden" not in text
    assert "popup" not in text
    assert text.count("Purchase request") == 1, "a marked passage that repeats the page says nothing new"


def test_attached_files_are_named(tmp_path: Path, drawn: Drawn) -> None:
    with pikepdf.open(drawn(lambda canvas: canvas.drawString(60, 700, "Cover letter"))) as document:
        document.attachments["budget 2024.xlsx"] = b"data"
        document.save(tmp_path / "attached.pdf")
    (page,) = pages(tmp_path / "attached.pdf")
    assert page.metadata["text_note"] == "attached files are not read: budget 2024.xlsx"


def xfa(path: Path, template: str, data: str) -> Path:
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(300, 200))
    page.Contents = document.make_stream(b"BT /H 12 Tf 20 100 Td (Please wait...) Tj ET")
    font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
    page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(H=font))
    parts = pikepdf.Array([])
    for name, xml in (("template", template), ("datasets", data)):
        parts.append(pikepdf.String(name))
        parts.append(document.make_stream(xml.encode()))
    document.Root.AcroForm = pikepdf.Dictionary(Fields=[], XFA=parts)
    document.Root.NeedsRendering = True
    document.save(path)
    return path


def test_an_xfa_form_is_read_from_its_data(tmp_path: Path) -> None:
    template = (
        "<template xmlns='http://www.xfa.org/schema/xfa-template/3.3/'><subform>"
        "<draw><value><text>Application for a mooring</text></value></draw>"
        "<field name='boat'><caption><value><text>Name of the boat</text></value></caption></field>"
        "<draw presence='hidden'><value><text>secret</text></value></draw></subform></template>"
    )
    data = "<xfa:datasets xmlns:xfa='http://www.xfa.org/schema/xfa-data/1.0/'><xfa:data><form><boat>Kittiwake</boat></form></xfa:data></xfa:datasets>"
    (page,) = pages(xfa(tmp_path / "form.pdf", template, data))
    assert page.text == "Application for a mooring\nName of the boat\nboat: Kittiwake"
    assert "XFA form" in page.metadata["text_note"]


def test_an_xfa_form_that_cannot_be_read_is_not_taken_for_its_notice(tmp_path: Path, ocr: None) -> None:
    bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><template><draw><value><text>&a;</text></value></draw></template>"
    (page,) = pages(xfa(tmp_path / "form.pdf", bomb, "no xml"), "pdf")
    assert page.text is None
    assert page.metadata["text_note"].endswith("what it shows was not read")


# ---------------------------------------------------------------- passwords


@pytest.fixture
def locked(tmp_path: Path, drawn: Drawn) -> Callable[..., Path]:
    """locked(user, owner, version): a PDF under these passwords."""
    plain = drawn(lambda canvas: canvas.drawString(60, 700, "Salary list of the brewery.")).read_bytes()

    def make_file(user: str, owner: str, version: int) -> Path:
        with pikepdf.open(BytesIO(plain)) as document:
            path = tmp_path / "locked.pdf"
            document.save(path, encryption=pikepdf.Encryption(user=user, owner=owner, R=version, aes=version > 3, metadata=version > 3))
        return path

    return make_file


@pytest.mark.parametrize(
    ("user", "owner", "version", "passwords"),
    [
        ("april", "may", 6, ["june", "april"]),
        ("april", "may", 6, ["may"]),
        ("april", "may", 3, ["april"]),
        ("gr\u00fcn", "may", 6, ["gr\u00fcn"]),
        ("gr\u00fcn", "may", 3, ["gr\u00fcn"]),
        ("", "may", 4, []),
        ("april", "", 6, []),
    ],
)
def test_a_locked_file_opens_with_one_of_the_passwords(
    locked: Callable[..., Path], user: str, owner: str, version: int, passwords: list[str]
) -> None:
    path = locked(user, owner, version)
    use_passwords(passwords)
    try:
        (page,) = pages(path)
        assert page.text == "Salary list of the brewery."
        assert page.image is not None
        assert page.image.open().size[0] > 100
    finally:
        use_passwords([])


def test_without_its_password_a_file_is_refused_with_the_reason(locked: Callable[..., Path]) -> None:
    path = locked("april", "may", 6)
    with pytest.raises(FormatError, match=r"encrypted: needs a password$"):
        pages(path)
    use_passwords(["june"])
    try:
        with pytest.raises(FormatError, match="none of the 1 handed over opens it"):
            pages(path)
    finally:
        use_passwords([])


def test_passwords_are_a_sequence() -> None:
    with pytest.raises(InputError, match="one text"):
        use_passwords("april")
    with pytest.raises(InputError, match="empty"):
        use_passwords([""])


# ---------------------------------------------------------------- where the words stand


def test_a_quote_over_a_column_end_has_its_boxes(drawn: Drawn) -> None:
    def draw(canvas: Canvas) -> None:
        for n, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
            canvas.drawString(60, 700 - 14 * n, left)
            canvas.drawString(330, 700 - 14 * n, right)

    rectangles = boxes(drawn(draw), 1, "the members chose to lower the toll for carts to four pence")
    assert len(rectangles) >= 3
    assert all(left < 0.5 for left, *_ in rectangles)
