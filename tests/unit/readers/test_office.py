import http.server
import shutil
import threading
import zipfile

import pytest
from PIL import Image

from mmrerank.errors import FormatError, MissingExtra
from mmrerank.parts import make
from mmrerank.readers import _libreoffice

docx, pptx, openpyxl = (pytest.importorskip(name) for name in ("docx", "pptx", "openpyxl"))
needs_libreoffice = pytest.mark.skipif(_libreoffice.program() is None, reason="LibreOffice is not installed")
WORDS = "office(render=never)"


@pytest.fixture
def letter(tmp_path):
    document = docx.Document()
    document.add_heading("Harbour", 0)
    for chapter in ("Tides", "Boats"):
        document.add_heading(chapter, 1)
        document.add_paragraph(f"All about {chapter.lower()}. " * 60)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "gauge", "4711"
    document.save(tmp_path / "letter.docx")
    return tmp_path / "letter.docx"


@pytest.fixture
def talk(tmp_path):
    show = pptx.Presentation()
    for number in (1, 2):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = f"Slide {number}", f"about otters {number}"
        slide.notes_slide.notes_text_frame.text = f"aside {number}"
    show.save(tmp_path / "talk.pptx")
    return tmp_path / "talk.pptx"


def test_a_word_file_is_read_in_parts_under_its_headings(letter, sorted_out):
    entries, failures = sorted_out(make(WORDS), letter)
    assert ([entry.item.item_id for entry in entries], failures) == (["letter.docx#part=1", "letter.docx#part=2"], [])
    assert [entry.item.metadata["section"] for entry in entries] == ["Harbour", "Harbour > Boats"]
    assert entries[1].item.text.endswith("gauge | 4711")
    assert make(WORDS).count(letter) == 2
    assert make(WORDS).handle(letter, "#part=1") is None


def test_slides_are_pages_with_their_notes(talk, sorted_out):
    entries, _ = sorted_out(make(WORDS), talk)
    assert [(entry.item.item_id, entry.item.page_number) for entry in entries] == [("talk.pptx#page=1", 1), ("talk.pptx#page=2", 2)]
    assert entries[1].item.text == "Slide 2\nabout otters 2\nnotes: aside 2"
    assert entries[1].item.metadata == {"section": "Slide 2"}


def test_sheets_are_parts_of_whole_rows(tmp_path, sorted_out):
    book = openpyxl.Workbook()
    book.active.title = "Costs"
    for row in range(200):
        book.active.append([f"gauge {row}", None, 4711 + row])
    book.create_sheet("Boats").append(["Anna"])
    book.save(path := tmp_path / "costs.xlsx")
    entries, _ = sorted_out(make("office(part_characters=1000)"), path)
    assert entries[0].item.text.startswith("gauge 0 | 4711\ngauge 1 | 4712")
    assert [line for entry in entries for line in entry.item.text.splitlines()][-2:] == ["gauge 199 | 4910", "Anna"]


@needs_libreoffice
@pytest.mark.slow
def test_pages_are_rendered_and_found_again(letter, talk, sorted_out):
    reader = make("office(ocr=never)")
    for path, words in ((letter, "All about tides"), (talk, "about otters 1")):
        entries, failures = sorted_out(reader, path)
        assert (reader.count(path), failures) == (len(entries), [])
        assert words in entries[0].item.text
        assert (entries[0].item.item_id, entries[0].item.page_number) == (f"{path.name}#page=1", 1)
        assert min(reader.handle(path, "#page=1").open().size) > 500
        assert [e.content_hash for e in sorted_out(make("office(ocr=never)"), path)[0]] == [e.content_hash for e in entries]


@needs_libreoffice
@pytest.mark.slow
def test_what_a_document_links_to_is_never_loaded(tmp_path):
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, *values):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = _linking(tmp_path, f"http://127.0.0.1:{server.server_port}/x.png")
        (entry,) = make("office(ocr=never)").read(path, "a.docx")
        server.shutdown()
    assert entry.item.text == "hello"
    assert requests == []


def _linking(folder, target: str):
    """A Word file whose picture lies elsewhere."""
    Image.new("RGB", (40, 40), "red").save(folder / "red.png")
    document = docx.Document()
    document.add_paragraph("hello")
    document.add_picture(str(folder / "red.png"))
    document.save(folder / "plain.docx")
    with zipfile.ZipFile(folder / "plain.docx") as source, zipfile.ZipFile(folder / "a.docx", "w") as linked:
        for name in source.namelist():
            content = source.read(name)
            content = content.replace(b'Target="media/image1.png"', f'Target="{target}" TargetMode="External"'.encode())
            linked.writestr(name, content.replace(b"r:embed", b"r:link") if name == "word/document.xml" else content)
    return folder / "a.docx"


@needs_libreoffice
@pytest.mark.slow
def test_a_document_that_takes_too_long_is_stopped(letter):
    with pytest.raises(FormatError, match=r"stopped after 0\.2 s"):
        make("office(timeout_s=0.2)").count(letter)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.docx", b"no zip", "not a document of this kind: looks like text"),
        ("a.docx", b"PK\3\4" + bytes(60), "a broken archive"),
        ("a.pptx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted, or an Office document of before 2007"),
        ("a.xlsx", b"", "0 bytes"),
    ],
)
def test_what_is_no_office_document_is_refused_before_anything_opens_it(written, name, data, reason):
    for reader in (make(WORDS), make("office")):
        with pytest.raises(FormatError, match=reason):
            list(reader.read(written(name, data), name))


def test_an_archive_that_claims_too_much_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * (65 * 2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(FormatError, match="claims 65 MiB, above the limit of 64"):
        list(make("office").read(path, "bomb.docx"))


def test_entities_of_a_word_file_are_not_expanded(letter, tmp_path):
    (tmp_path / "secret.txt").write_text("SECRET")
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret.txt">]>'.encode()
    with zipfile.ZipFile(letter) as source, zipfile.ZipFile(path := tmp_path / "x.docx", "w") as hostile:
        for name in source.namelist():
            content = source.read(name)
            if name == "word/document.xml":
                content = content.replace(b"?>", b"?>" + entity, 1).replace(b"All about tides.", b"&e;", 1)
            hostile.writestr(name, content)
    try:
        text = " ".join(entry.item.text for entry in make(WORDS).read(path, "x.docx"))
    except FormatError:
        text = ""
    assert "SECRET" not in text


def test_without_libreoffice_and_libraries_files_are_passed_over_with_the_remedy(monkeypatch, written):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    reader = make("office")
    assert "apt install libreoffice" in reader.passes_over(written("a.odt", b"x"))
    assert reader.passes_over(written("a.docx", b"x")) == ""
    monkeypatch.setattr("mmrerank.readers.office.find_spec", lambda name: None)
    assert reader.passes_over(written("a.docx", b"x")) == "reading them needs python-docx: pip install 'mmrerank[office]'"
    with pytest.raises(MissingExtra, match="LibreOffice"):
        make("office(render=required)").count(written("a.docx", b"x"))
