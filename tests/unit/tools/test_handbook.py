"""The shipped documents are what their card says, every question is answered where it says, and a rebuild changes nothing."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bm25s
import pypdfium2
import pytest
import Stemmer

from mmrerank.errors import FormatError, InputError, UnknownName
from tools.handbook import make as handbook
from tools.handbook.charts import draw_chart
from tools.handbook.diagrams import draw_diagram
from tools.handbook.scan import page_text, read_ledger, scan_page
from tools.handbook.source import Heading, Source, Table, markup, read_source
from tools.handbook.theme import THEMES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parents[3] / "datasets" / "handbook"
CARD = tomllib.loads((FOLDER / "card.toml").read_text(encoding="utf-8"))
QUESTIONS = [json.loads(line) for line in (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
ANSWERABLE = [question for question in QUESTIONS if question["answerable"]]
SCANNED = "inspection-log-scanned.pdf"
SET = ("harbour-station-annual-report.pdf", "picture-search-handbook.pdf")


def words(text: str) -> str:
    """Text with plain quotes and single spaces, so that a line break on the page does not matter."""
    return " ".join(text.replace("’", "'").replace("“", '"').replace("”", '"').split())


def pages_of(path: Path) -> list[str]:
    with pypdfium2.PdfDocument(path) as document:
        return [words(page.get_textpage().get_text_bounded()) for page in document]


@pytest.fixture(scope="module")
def pages() -> dict[str, list[str]]:
    return {path.name: pages_of(path) for path in sorted(FOLDER.glob("*.pdf"))}


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return {name: read_source(FOLDER / "source" / f"{Path(name).stem}.md") for name in SET}


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rebuilt")
    assert handbook.main(["--out", str(out), "--source", str(FOLDER / "source")]) == 0
    return out


def test_the_card_counts_what_lies_there(pages: dict[str, list[str]]) -> None:
    counts = CARD["counts"]
    assert {name: len(texts) for name, texts in pages.items()} == counts["pages_per_document"]
    assert counts["pages"] == sum(counts["pages_per_document"].values()) >= 44
    assert counts["documents"] == len(pages)
    assert Counter(question["split"] for question in QUESTIONS) == counts["split"]
    assert Counter(question["evidence"] for question in QUESTIONS) == counts["evidence"]
    assert (len(QUESTIONS), len(ANSWERABLE)) == (counts["questions"], counts["answerable"])
    assert counts["unanswerable"] == counts["questions"] - counts["answerable"]
    assert (QUESTIONS[0]["query_id"], QUESTIONS[-1]["query_id"]) == (CARD["first_question"], CARD["last_question"])


def test_first_and_last_page_have_the_ids_of_the_card(pages: dict[str, list[str]]) -> None:
    ids = [f"{name}#page={number}" for name, texts in pages.items() for number in range(1, len(texts) + 1)]
    assert (ids[0], ids[-1]) == (CARD["first_id"], CARD["last_id"])


def test_the_shipped_files_have_the_hashes_of_the_card() -> None:
    for name, entry in CARD["files"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == entry["sha256"], name


def test_the_folder_is_small_and_holds_no_code() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6_000_000
    assert {path.suffix for path in files} == {".pdf", ".md", ".toml", ".jsonl"}


def test_only_the_ledger_has_no_text_layer(pages: dict[str, list[str]]) -> None:
    assert pages[SCANNED] == [""] * 7
    for name in SET:
        assert min(len(text) for text in pages[name]) > 200, name


def test_a_scanned_page_is_one_grey_picture() -> None:
    with pypdfium2.PdfDocument(FOLDER / SCANNED) as document:
        for page in document:
            kinds = [thing.type for thing in page.get_objects()]
            assert kinds == [pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]
            grey = page.render(scale=0.5).to_numpy()
            assert 150 < grey.mean() < 245  # paper with ink, neither white nor black


@pytest.mark.parametrize("name", SET)
def test_every_bookmark_leads_to_its_heading(name: str, pages: dict[str, list[str]], sources: dict[str, Source]) -> None:
    with pypdfium2.PdfDocument(FOLDER / name) as document:
        marks = [(mark.level, mark.get_title(), mark.get_dest().get_index()) for mark in document.get_toc()]
    headings = [block for block in sources[name].blocks if isinstance(block, Heading) and block.level < 3]
    assert [(level, title) for level, title, _ in marks] == [(heading.level - 1, heading.text) for heading in headings]
    for _, title, page in marks:
        assert words(title) in pages[name][page], title


@pytest.mark.parametrize("name", SET)
def test_the_printed_page_number_is_the_place_in_the_file(name: str, pages: dict[str, list[str]], sources: dict[str, Source]) -> None:
    imprint = words(sources[name].front["imprint"])
    for number, text in enumerate(pages[name][1:], start=2):
        assert text.endswith(f"{imprint} {number}"), (name, number, text[-40:])


def test_question_ids_and_texts_are_unique() -> None:
    assert len({question["query_id"] for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question["text"] for question in QUESTIONS}) == len(QUESTIONS)


def test_the_splits_are_balanced_within_document_and_evidence() -> None:
    sides = Counter((question["document_id"], question["evidence"], question["split"]) for question in QUESTIONS)
    for document, evidence, _ in sides:
        assert sides[document, evidence, "dev"] == sides[document, evidence, "test"], (document, evidence)


def test_relevant_pages_exist_and_hold_the_named_one(pages: dict[str, list[str]]) -> None:
    for question in ANSWERABLE:
        ids = {f"{question['document_id']}#page={number}" for number in range(1, len(pages[question["document_id"]]) + 1)}
        assert set(question["relevant"]) <= ids, question
        assert f"{question['document_id']}#page={question['page_number']}" in question["relevant"], question
        assert question["answer"], question
    for question in QUESTIONS:
        if not question["answerable"]:
            assert (question["relevant"], question["answer"], question["page_number"]) == ([], "", None)
            assert question["document_id"] in pages


def numbers_of(question: dict[str, Any]) -> list[str]:
    return re.findall(r"\d[\d,.]*\d|\d", question["answer"])


def test_answers_from_the_text_layer_stand_on_every_relevant_page(pages: dict[str, list[str]]) -> None:
    questions = [question for question in ANSWERABLE if question["evidence"] in ("text", "table", "figure")]
    assert len(questions) == 60
    for question in questions:
        for relevant in question["relevant"]:
            text = pages[question["document_id"]][int(relevant.split("=")[1]) - 1]
            assert words(question["answer_in_page"]) in text, question
            for number in numbers_of(question):
                assert number in text, (number, question)


def test_answers_from_the_scan_stand_in_the_source_of_that_page() -> None:
    ledger = read_ledger(FOLDER / "source" / "inspection-log-scanned.toml")["page"]
    questions = [question for question in ANSWERABLE if question["evidence"] == "scan"]
    assert {question["document_id"] for question in questions} == {SCANNED}
    for question in questions:
        text = words(page_text(ledger[question["page_number"] - 1]))
        assert question["answer_in_page"] in text, question
        assert question["answer"] in text, question


def read_chart(options: Any, where: dict[str, Any]) -> str:
    """What a careful reader takes from the chart at that place."""
    series = options["series"]
    if "extreme" not in where:
        chosen = next(one for one in series if one.get("name") == where["series"])
        return f"{chosen['y'][list(chosen.get('x', options.get('x'))).index(where['x'])]}"
    if where["extreme"] == "equal":
        first, second = (one["y"] for one in series)
        return str(options["x"][[abs(a - b) for a, b in zip(first, second, strict=True)].index(0)])
    totals = [sum(column) for column in zip(*(one["y"] for one in series), strict=True)]
    pick = max if where["extreme"] == "highest" else min
    return str(options["x"][totals.index(pick(totals))])


def test_answers_from_charts_are_what_the_source_holds(pages: dict[str, list[str]], sources: dict[str, Source]) -> None:
    questions = [question for question in ANSWERABLE if question["evidence"] == "chart"]
    assert {question["document_id"] for question in questions} == set(SET)
    for question in questions:
        chart = sources[question["document_id"]].figure(question["chart"])
        assert chart.kind == "chart"
        assert question["figure"] == f"Figure {chart.number}"
        assert f"{question['figure']}. " in pages[question["document_id"]][question["page_number"] - 1], question
        label = read_chart(chart.options, question["chart_read"])
        answer = question["answer"].split(" ")[0]
        assert answer == label or float(answer) == round(float(label), len(answer.partition(".")[2])), (label, question)


def number(cell: str) -> float | None:
    found = re.fullmatch(r"[£]?([−+]?[\d,]*\.?\d+)(?: (?:mm|m|m/s|°C|hPa|%|h))?", cell)
    return float(found[1].replace(",", "").replace("−", "-")) if found else None


@pytest.mark.parametrize("name", SET)
def test_the_last_row_of_a_table_sums_up_the_rows_above(name: str, sources: dict[str, Source]) -> None:
    checked = 0
    for table in (block for block in sources[name].blocks if isinstance(block, Table)):
        if table.rows[-1][0] not in ("Total", "Year"):
            continue
        for column in list(zip(*table.rows, strict=True))[1:]:
            above, last = [number(cell) for cell in column[:-1]], number(column[-1])
            values = [value for value in above if value is not None]
            if last is None or len(values) < len(above):
                continue
            allowed = {sum(values), max(values), min(values), sum(values) / len(values)}
            assert min(abs(last - one) for one in allowed) < 0.051, (table.caption, column)
            checked += 1
    assert checked >= 3


def test_charts_and_tables_of_the_report_agree(sources: dict[str, Source]) -> None:
    report = sources["harbour-station-annual-report.pdf"]
    tables = {block.label: block for block in report.blocks if isinstance(block, Table)}
    air = report.figure("temperature-chart").options["series"][0]["y"]
    assert [number(row[1]) for row in tables["temperature"].rows[:-1]] == air
    assert sum(report.figure("spending-chart").options["series"][0]["y"]) == number(tables["spending"].rows[-1][1])
    assert sum(sum(one["y"]) for one in report.figure("requests").options["series"]) == 800
    assert round(sum(sum(one["y"]) for one in report.figure("rose").options["series"]) + 2.0, 6) == 100.0
    assert round(sum(report.figure("visits").options["series"][0]["y"]), 6) == 214.0
    assert sum(report.figure("solar").options["series"][0]["y"]) == 10_460


def test_a_rebuild_gives_what_ships(rebuilt: Path, pages: dict[str, list[str]]) -> None:
    same_libraries = handbook.libraries() == CARD["made_with"]
    for name, shipped in pages.items():
        assert pages_of(rebuilt / name) == shipped, name
        if same_libraries:  # another ReportLab or zlib packs the same pages into other bytes
            assert (rebuilt / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_one_source_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.toml"
    ledger.write_text('title = "L"\nseed = 3\n[[page]]\ntilt = 0.5\ntext = "Signed: A. Moir"\n', encoding="utf-8")
    small = tmp_path / "small.md"
    front = 'title = "T"\ntitle_lines = ["T"]\nsubtitle = "S"\nrunning_title = "T"\nimprint = "I"\nauthor = "A"\ncover_lines = []\n'
    chart = '```chart\nlabel = "c"\ncaption = "C."\nkind = "bars"\nx = ["a", "b"]\nseries = [{y = [1, 2]}]\n```\n'
    small.write_text(
        f'+++\n{front}theme = "book"\nmotif = "tiles"\nchapter_needs_mm = 60\n+++\n\n# One\n\nSee [@c].\n\n{chart}', encoding="utf-8"
    )
    for source in (small, ledger):
        first = handbook.build_document(source, tmp_path).read_bytes()
        assert handbook.build_document(source, tmp_path).read_bytes() == first, source.name


def test_another_seed_gives_another_scan() -> None:
    page = {"text": "Signed: A. Moir", "tilt": 0.5}
    assert scan_page(page, 1).tobytes() == scan_page(page, 1).tobytes()
    assert scan_page(page, 1).tobytes() != scan_page(page, 2).tobytes()


def first_is_right(texts: dict[str, list[str]], questions: Sequence[dict[str, Any]]) -> list[bool]:
    """For each question: is the page that BM25 puts first a relevant one?"""
    ids = [f"{name}#page={place}" for name, own in texts.items() for place in range(1, len(own) + 1)]
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    all_texts = [text for own in texts.values() for text in own]
    index.index(bm25s.tokenize(all_texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    queries = bm25s.tokenize([question["text"] for question in questions], stopwords="en", stemmer=stemmer, show_progress=False)
    places, _ = index.retrieve(queries, k=1, show_progress=False)
    return [ids[int(place[0])] in question["relevant"] for place, question in zip(places, questions, strict=True)]


def test_plain_word_search_reaches_what_the_card_reports(pages: dict[str, list[str]]) -> None:
    questions = [question for question in ANSWERABLE if question["evidence"] != "scan"]
    hits = first_is_right(pages, questions)
    assert sum(hits) / len(hits) == pytest.approx(CARD["measured"]["R@1"], abs=0.03)
    for name in SET:
        own = [hit for hit, question in zip(hits, questions, strict=True) if question["document_id"] == name]
        assert sum(own) / len(own) == pytest.approx(CARD["measured"][f"R@1 {name}"], abs=0.03), name


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("See [@nothing].", 4, "no table or figure is labelled 'nothing'"),
        ('```chart\nlabel = "c"', 5, "no closing '```' line follows"),
        ("```chart\nlabel = \n```", 5, "not TOML"),
        ('```chart\nlabel = "c"\n```', 7, "a chart lacks caption"),
        ("```sketch\n```", 4, "expected ```chart or ```diagram, got 'sketch'"),
        ("| a | b |\n|---|---|\n| 1 |\n: [t] T", 7, "rows of [2, 2, 1] cells"),
        ("| a |\n|---|\n| 1 |\nno caption", 7, "expected ': [label] caption'"),
    ],
)
def test_broken_markup_is_named_with_its_line(tmp_path: Path, body: str, line: int, message: str) -> None:
    path = tmp_path / "broken.md"
    path.write_text(f'+++\ntitle = "T"\n+++\n{body}\n', encoding="utf-8")
    with pytest.raises(FormatError, match=re.escape(message)) as caught:
        read_source(path)
    assert caught.value.line == line


def test_markup_marks_escapes_and_curls() -> None:
    names = {"rain": "Table 7"}
    assert markup('**A** & *b* "c" `d<e`', names, mono="Mono") == '<b>A</b> &amp; <i>b</i> “c” <font face="Mono" size="-1">d&lt;e</font>'
    assert markup("see [@rain]", names, mono="Mono") == "see Table\N{NO-BREAK SPACE}7"


def test_unknown_kinds_are_answered_with_the_real_ones() -> None:
    theme = THEMES["book"]
    with pytest.raises(UnknownName, match="there are: bars, donut, lines, rose"):
        draw_chart({"kind": "pie"}, theme)
    with pytest.raises(UnknownName, match="Did you mean 'box'"):
        draw_diagram({"width": 9, "height": 9, "shapes": [["bix", 0, 0, 1, 1]]}, theme)


def test_an_empty_source_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected \.md or \.toml files"):
        handbook.build(tmp_path, tmp_path / "out")
