import logging
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrerank.errors import FormatError
from mmrerank.parts import make
from mmrerank.readers import pdf
from mmrerank.types import Failure, ReadItem


def items(reader, path: Path):
    entries = list(reader.read(path, path.name))
    assert all(isinstance(entry, ReadItem) for entry in entries)
    return [entry.item for entry in entries]


def test_pages_become_items_in_order(pdf_of, written):
    path = written("report.pdf", pdf_of(["alpha one\nsecond line", "beta two", ""]))
    reader = make("pdf")
    first, second, third = items(reader, path)
    assert reader.count(path) == 3
    assert (first.item_id, first.document_id, first.page_number) == ("report.pdf#page=1", "report.pdf", 1)
    assert (second.item_id, third.item_id, third.page_number) == ("report.pdf#page=2", "report.pdf#page=3", 3)
    assert first.text == "alpha one\nsecond line"
    assert (second.text, third.text) == ("beta two", None)
    assert first.metadata.keys() <= {"title"}


def test_title_section_and_label_are_there_where_the_document_gives_them(pdf_of, written):
    outline = [(2, 0, "Methods"), (2, 1, "Sampling  design"), (2, 1, "Weights"), (4, 0, "Results"), (5, 1, "Error")]
    path = written("a.pdf", pdf_of(["x"] * 6, title="A  Study of\nThings", outline=outline, roman=2))
    pages = items(make("pdf"), path)
    assert {page.metadata["title"] for page in pages} == {"A Study of Things"}
    assert [page.metadata.get("section") for page in pages] == [
        None,
        "Methods > Sampling design",  # the first that begins on the page, with its first child
        "Methods > Weights",  # the last that began before
        "Results",
        "Results > Error",
        "Results > Error",
    ]
    assert [page.metadata.get("page_label") for page in pages] == ["i", "ii", "1", "2", "3", "4"]


def test_a_label_equal_to_the_number_is_left_out(pdf_of, written):
    path = written("a.pdf", pdf_of(["x"] * 3))
    assert all("page_label" not in page.metadata for page in items(make("pdf"), path))


def test_the_picture_is_rendered_at_the_dpi_asked_for(pdf_of, written):
    path = written("a.pdf", pdf_of(["HELLO"], size=(360, 144)))
    picture = items(make("pdf"), path)[0].image.open()
    assert (picture.mode, picture.size) == ("RGB", (720, 288))
    pixels = np.asarray(picture)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels.min() < 60
    assert items(make("pdf(dpi=72)"), path)[0].image.open().size == (360, 144)


def test_what_is_drawn_stands_where_it_belongs_and_in_its_colour(written):
    from reportlab.pdfgen.canvas import Canvas

    path = written("a.pdf", b"x")
    canvas = Canvas(str(path), pagesize=(100, 50))
    canvas.setFillColorRGB(1, 0, 0)
    canvas.rect(0, 40, 10, 10, stroke=0, fill=1)  # top left
    canvas.setFillColorRGB(0, 0, 1)
    canvas.rect(90, 0, 10, 10, stroke=0, fill=1)  # bottom right
    canvas.save()
    picture = make("pdf(dpi=72)").handle(path, "#page=1").open()
    assert (picture.getpixel((4, 4)), picture.getpixel((95, 45)), picture.getpixel((50, 25))) == ((255, 0, 0), (0, 0, 255), (255, 255, 255))


def test_a_rotated_page_is_upright(pdf_of, written):
    document = pypdfium2.PdfDocument(pdf_of(["wide"], size=(200, 100)))
    page = document[0]
    page.set_rotation(90)
    path = written("a.pdf", b"x")
    document.save(path)
    page.close()
    document.close()
    assert make("pdf(dpi=72)").handle(path, "#page=1").open().size == (100, 200)


def test_what_was_filled_into_a_form_is_rendered(written):
    from reportlab.pdfgen.canvas import Canvas

    def page(value: str) -> np.ndarray:
        path = written(f"form-{value}.pdf", b"x")
        canvas = Canvas(str(path), pagesize=(200, 100))
        canvas.acroForm.textfield(name="name", value=value, x=20, y=30, width=150, height=30, borderWidth=0)
        canvas.showPage()
        canvas.save()
        return np.asarray(make("pdf").handle(path, "#page=1").open(), dtype=int)

    assert np.abs(page("WWWWWW") - page("")).max() > 100


@pytest.mark.parametrize("size", [(1e6, 1e6), (1e6, 3), (14_400, 200), (0.01, 0.01)])
def test_a_page_of_absurd_size_stays_within_the_budget(pdf_of, written, size):
    path = written("a.pdf", pdf_of(["x"], size=size))
    picture = make("pdf(max_side_px=1000)").handle(path, "#page=1").open()
    assert 1 <= min(picture.size) <= max(picture.size) <= 1000


def test_hashes_follow_file_and_page(pdf_of, written):
    def hashes(name: str, data: bytes) -> list[str]:
        return [entry.content_hash for entry in make("pdf").read(written(name, data), name)]

    first, again, other = (hashes("a.pdf", pdf_of(["x", "y"])), hashes("b.pdf", pdf_of(["x", "y"])), hashes("c.pdf", pdf_of(["x", "z"])))
    assert first == again
    assert len({*first, *other}) == 4


# ---------------------------------------------------------------- what cannot be read


def why(path: Path, options: str = "") -> str:
    reader = make(f"pdf{options}")
    reasons = set()
    for attempt in (lambda: reader.count(path), lambda: list(reader.read(path, "x"))):
        with pytest.raises(FormatError) as error:
            attempt()
        reasons.add(error.value.reason)
    (reason,) = reasons
    return reason


def test_an_encrypted_file_says_so(pdf_of, written):
    from reportlab.lib.pdfencrypt import StandardEncryption

    path = written("a.pdf", pdf_of(["secret"], encrypt=StandardEncryption("user", "owner")))
    assert why(path) == "encrypted: needs a password"
    with pytest.raises(FormatError, match="encrypted"):
        make("pdf").handle(path, "#page=1").open()


def test_a_file_encrypted_without_a_user_password_opens(pdf_of, written):
    from reportlab.lib.pdfencrypt import StandardEncryption

    path = written("a.pdf", pdf_of(["readable"], encrypt=StandardEncryption("", "owner")))
    assert items(make("pdf"), path)[0].text == "readable"


def test_broken_and_empty_files_are_told_apart(pdf_of, written, tmp_path):
    assert why(written("a.pdf", b"")) == "0 bytes"
    assert why(written("b.pdf", b"<html>login</html>")) == "not a PDF: looks like HTML"
    assert why(written("c.pdf", b"%PDF-1.7\nnothing of use")) == "broken: its structure cannot be read"
    assert why(written("d.pdf", pdf_of(["x"])[:300])) == "broken: its structure cannot be read"
    assert why(tmp_path / "missing.pdf") == "cannot be opened: No such file or directory"
    empty = pypdfium2.PdfDocument.new()
    empty.save(tmp_path / "e.pdf")
    empty.close()
    assert why(tmp_path / "e.pdf") == "empty: 0 pages"


def test_too_many_pages_are_refused(pdf_of, written):
    assert why(written("a.pdf", pdf_of(["x"] * 5)), "(max_pages=4)") == "claims 5 pages, above the limit of 4"


def test_a_page_that_cannot_be_loaded_is_one_failure(pdf_of, written, sorted_out):
    data = pdf_of(["one", "two", "three"], pageCompression=0)
    start = data.index(b"/Type /Page\n", data.index(b"/Type /Page\n") + 1)
    broken = data[:start] + b"/Type /Pag3\n" + data[start + 12 :]
    entries, failures = sorted_out(make("pdf"), path := written("a.pdf", broken))
    if not failures:
        pytest.skip("this pdfium loads such a page")
    assert [entry.item.text for entry in entries] == ["one", "three"]
    assert failures == [Failure(path="a.pdf#page=2", reason="page 2 cannot be loaded")]
    with pytest.raises(FormatError, match="page 2"):
        make("pdf").handle(path, "#page=2").open()


@pytest.mark.parametrize("fragment", ["", "#page=0", "#page=-1", "#page=x", "#page=1 ", "::1", "#page=99999999999", "#page=²"])
def test_a_fragment_that_names_no_page_is_refused(fragment):
    with pytest.raises(FormatError, match="names no page"):
        make("pdf").handle(Path("a.pdf"), fragment)


def test_a_page_beyond_the_last_is_an_error_when_it_is_opened(pdf_of, written):
    with pytest.raises(FormatError, match="has 2 pages, so no page 3"):
        make("pdf").handle(written("a.pdf", pdf_of(["x", "y"])), "#page=3").open()


# ---------------------------------------------------------------- documents that stay open


def test_a_file_that_changed_is_opened_again(pdf_of, written):
    path = written("a.pdf", pdf_of(["before"]))
    reader = make("pdf")
    assert [item.text for item in items(reader, path)] == ["before"]
    written("a.pdf", pdf_of(["after it grew", "by a page"]))
    assert [item.text for item in items(reader, path)] == ["after it grew", "by a page"]


def test_few_documents_stay_open(pdf_of, written):
    pdf.close_documents()
    for number in range(7):
        make("pdf").count(written(f"{number}.pdf", pdf_of(["x"])))
    assert len(pdf._DOCUMENTS._open) == 4
    pdf.close_documents()
    assert not pdf._DOCUMENTS._open


def test_reading_goes_on_when_other_documents_push_it_out(pdf_of, written):
    reader = make("pdf")
    path = written("long.pdf", pdf_of([f"page {n}" for n in range(1, 7)]))
    texts = []
    for entry in reader.read(path, "long.pdf"):
        texts.append(entry.item.text)
        for number in range(4):
            reader.count(written(f"{number}.pdf", pdf_of(["x"])))
    assert texts == [f"page {n}" for n in range(1, 7)]


def test_threads_render_and_read_at_once(pdf_of, written):
    paths = [written(f"{n}.pdf", pdf_of([f"{n} {page}" for page in range(4)])) for n in range(6)]
    expected = {path: [np.asarray(make("pdf").handle(path, f"#page={n}").open()).tobytes() for n in (1, 2, 3, 4)] for path in paths}
    problems: list[object] = []

    def work(seed: int) -> None:
        try:
            for path in np.random.default_rng(seed).permutation(paths):
                for page, item in enumerate(items(make("pdf"), path)):
                    if item.image.open().tobytes() != expected[path][page] or item.text != f"{path.stem} {page}":
                        problems.append((path, page))
        except Exception as error:  # reported by the assertion below
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_program_ends_quietly_with_documents_open_and_a_reading_left_half_way(pdf_of, written):
    path = written("a.pdf", pdf_of(["x", "y", "z"]))
    program = (
        "from pathlib import Path; from mmrerank.parts import make; r = make('pdf'); p = Path(__import__('sys').argv[1]);"
        "entries = r.read(p, 'a'); first = next(entries); first.item.image.open(); print(first.item.item_id)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("a#page=1\n", "")


def test_a_circular_table_of_contents_ends(pdf_of, written, caplog):
    data = pdf_of(["x", "y"], outline=[(1, 0, "A"), (2, 0, "B")], pageCompression=0)
    marks = [at for at in range(len(data)) if data[at : at + 6] == b"/Next "]
    target = data[data.index(b"/First ") : data.index(b"/First ") + 14].split()[1]
    assert marks
    circular = data.replace(b"/Prev " + target, b"/Next " + target)
    with caplog.at_level(logging.WARNING):
        assert len(items(make("pdf"), written("a.pdf", circular))) == 2
    assert "circular" in caplog.text


# ---------------------------------------------------------------- fuzz


@settings(max_examples=150)
@given(flips=st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), max_size=8), cut=st.none() | st.integers(1, 4000))
def test_damaged_files_only_give_items_failures_or_a_format_error(pdf_of, written, flips, cut):
    data = bytearray(pdf_of(["one", "two"], title="T", outline=[(1, 0, "A")], pageCompression=0))
    for place, change in flips:
        data[place % len(data)] ^= change
    path = written("a.pdf", bytes(data[:cut] if cut else data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            for entry in make("pdf(max_side_px=200, max_pages=50)").read(path, "a.pdf"):
                if isinstance(entry, ReadItem):
                    assert entry.item.image.open().mode == "RGB"
        except FormatError as error:
            assert error.reason  # noqa: PT017 - either outcome is right
