import zipfile
from email.message import EmailMessage

import pytest

from mmrerank.errors import FormatError
from mmrerank.parts import make
from mmrerank.readers._parts_of_text import Block, parts_of

CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/b.opf"/></rootfiles>
</container>"""
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>Tides</dc:title>
<dc:creator>A. Gauge</dc:creator></metadata><manifest>
<item id="a" href="one.xhtml"/><item id="b" href="two%20.xhtml"/><item id="c" href="gone.xhtml"/>
</manifest><spine><itemref idref="b"/><itemref idref="a"/><itemref idref="c"/></spine></package>"""


def texts(entries) -> list[str]:
    return [entry.item.text for entry in entries]


def test_html_is_read_under_its_headings_without_scripts_and_without_fetching(written, sorted_out):
    page = """<html><head><title>Harbour</title><style>p {}</style></head><body><script>bad()</script>
    <h1>Tides</h1><p>High at <b>noon</b>.</p>
    <img src="http://127.0.0.1:1/x.png" alt="the pier"><table><tr><td>gauge<td>4711</tr></table></body></html>"""
    (entry,), failures = sorted_out(make("texts"), path := written("a.html", page.encode()))
    assert entry.item.text == "Tides\nHigh at noon.\nthe pier\ngauge | 4711"
    assert (entry.item.item_id, entry.item.document_id) == ("a.html#part=1", "a.html")
    assert (entry.item.metadata, failures) == ({"title": "Harbour", "section": "Tides"}, [])
    assert make("texts").handle(path, "#part=1") is None


@pytest.mark.parametrize("page", ["<h1>a<p>b<div>" * 3000, "<p>a</p></script></p></h9>", "<script>" * 5000 + "</script>x"])
def test_broken_html_gives_its_words(written, page):
    path = written("a.html", page.encode())
    assert make("texts").count(path) >= 1


def test_markdown_keeps_what_stands_in_fences(written, sorted_out):
    text = "# A\n\nwords\n\n```\n# no heading\n\ncode\n```\n\n## B\n\n" + "more " * 200
    entries, _ = sorted_out(make("texts(part_characters=400)"), written("a.md", text.encode()))
    assert entries[0].item.text == "A\nwords\n```\n# no heading\n\ncode\n```\nB"
    assert [entry.item.metadata["section"] for entry in entries] == ["A", *["A > B"] * (len(entries) - 1)]
    assert all(len(text) <= 400 for text in texts(entries))
    assert " ".join(texts(entries)).count("more") == 200


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("Straße".encode(), "Straße", None),
        (b"\xef\xbb\xbfStra\xc3\x9fe", "Straße", None),
        ("Straße".encode("utf-16"), "Straße", None),
        ("Straße “x”".encode("windows-1252"), "Straße “x”", "windows-1252"),
    ],
)
def test_encodings(written, sorted_out, data, text, encoding):
    (entry,), _ = sorted_out(make("texts"), written("a.txt", data))
    assert (entry.item.text, entry.item.metadata.get("encoding")) == (text, encoding)


def test_an_encoding_that_the_page_names_is_used(written, sorted_out):
    page = b'<meta charset="iso-8859-2"><p>' + "Łódź".encode("iso-8859-2")
    (entry,), _ = sorted_out(make("texts"), written("a.html", page))
    assert (entry.item.text, entry.item.metadata) == ("Łódź", {"encoding": "iso-8859-2"})


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"\xff\xd8\xff\xe0 jpeg", "not a text: looks like JPEG"),
        ("a.md", b"\0\1\2", "not a text: looks like unknown binary data"),
        ("a.txt", b" \n\n ", "has no words"),
        ("a.epub", b"no zip", "not a document of this kind: looks like text"),
    ],
)
def test_what_is_no_text_is_called_by_its_name(written, name, data, reason):
    with pytest.raises(FormatError, match=reason):
        list(make("texts").read(written(name, data), name))


def test_a_mail_names_its_attachments(written, sorted_out):
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["Date"] = "The gauge", "Anna <anna@example.org>", "Mon, 1 Jun 2026 10:00:00 +0000"
    mail.set_content("It costs 4711.")
    mail.add_alternative("<p>It costs <b>4711</b>.</p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="offer.pdf")
    (entry,), _ = sorted_out(make("texts"), written("a.eml", mail.as_bytes()))
    assert entry.item.text.splitlines()[-2:] == ["It costs 4711.", "attachments, not read: offer.pdf"]
    assert (entry.item.metadata["subject"], entry.item.metadata["attachments"]) == ("The gauge", "offer.pdf")


@pytest.fixture
def book(tmp_path):
    def write(members: dict[str, str]):
        with zipfile.ZipFile(path := tmp_path / "b.epub", "w") as archive:
            archive.writestr("mimetype", "application/epub+zip")
            for name, text in members.items():
                archive.writestr(name, text)
        return path

    return write


def test_the_chapters_of_a_book_come_in_its_order(book, sorted_out):
    chapters = {"OEBPS/one.xhtml": "<h1>Second</h1>", "OEBPS/two .xhtml": "<h1>First</h1>"}
    path = book({"META-INF/container.xml": CONTAINER, "OEBPS/b.opf": PACKAGE, **chapters})
    (entry,), _ = sorted_out(make("texts"), path)
    assert (entry.item.text, entry.item.metadata["title"], entry.item.metadata["author"]) == ("First\nSecond", "Tides", "A. Gauge")


def test_a_book_with_entities_and_one_that_claims_too_much_are_refused(book, monkeypatch):
    path = book({"META-INF/container.xml": '<!DOCTYPE x [<!ENTITY a "aa">]><x/>'})
    with pytest.raises(FormatError, match="defines entities"):
        list(make("texts").read(path, "b"))
    monkeypatch.setattr("mmrerank.readers._archives.MAX_UNPACKED_BYTES", 10)
    with pytest.raises(FormatError, match="above the limits"):
        list(make("texts").read(path, "b"))


def test_texts_that_describe_what_lies_beside_them_are_passed_over_in_folders(written):
    written("photos/a.jpg", b"x")
    written("report.pdf", b"x")
    reader = make("texts")
    for name in ("photos/a.txt", "photos/readme.md", "photos/index.html", "report.md", "source/report.md", "source/README.md"):
        assert (
            reader.passes_over(written(name, b"a boat"))
            == "texts beside pictures or documents mostly describe them; read when they are named"
        )
    for name in ("notes.md", "source/notes.txt", "photos/letter.eml"):
        assert reader.passes_over(written(name, b"a boat")) == ""


def test_sections_of_a_few_words_stay_together_and_long_ones_are_cut_between_words():
    blocks = [Block("a", "x"), Block("b", "y"), Block("word " * 30, "z"), Block("c", "w")]
    parts = list(parts_of(blocks, most=60))
    assert parts[0] == Block("a\nb", "x")
    assert all(len(part.text) <= 60 for part in parts)
    assert " ".join(part.text for part in parts).split() == ["a", "b", *["word"] * 30, "c"]
