"""`mmrerank ask` on the shipped handbook: the answer, its page, the JSON shape, and the boxed passage on the sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrerank import Collection
from mmrerank.cli import main
from mmrerank.errors import InputError
from mmrerank.pipeline import ask
from mmrerank.sheet import WARNING
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Answer, Candidate, Citation, Item, Query

HANDBOOK = Path(__file__).parents[2] / "datasets" / "handbook"
QUESTION = "What happens to a very long description when it is fed to CLIP's text encoder?"


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ask") / "handbook"
    Collection.create(folder).add([HANDBOOK])
    return folder


def test_the_answer_is_quoted_with_its_page(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(handbook), QUESTION, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["answer", "citations", "stages", "found", "nearest"]
    assert "cut after 77 tokens" in found["answer"]
    assert list(found["citations"][0]) == ["item_id", "document_id", "page_number", "score", "page_label", "quote", "boxes"]
    citation = found["citations"][0]
    assert citation["quote"] == found["answer"]
    assert citation["page_label"] is None  # that page is printed with its own number
    assert all(0 <= side <= 1 for box in citation["boxes"] for side in box)
    assert citation["boxes"]
    assert found["nearest"] is None
    assert (found["citations"][0]["document_id"], found["citations"][0]["page_number"]) == ("picture-search-handbook.pdf", 7)
    assert [stage["name"].split("(")[0] for stage in found["stages"]][-1] == "extractive"


def test_people_are_told_where_in_the_document_the_page_stands(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(handbook), QUESTION]) == 0
    item = Collection.open(handbook).item("picture-search-handbook.pdf#page=7")
    told = f"picture-search-handbook.pdf, page 7, {item.metadata['title']}: {item.metadata['section']}"
    assert told in capsys.readouterr().out
    assert main(["search", str(handbook), "--text", QUESTION, "--k", "1"]) == 0
    assert f"{item.item_id}  {item.metadata['title']}: {item.metadata['section']}  (BM25" in capsys.readouterr().out


def test_the_first_stage_can_be_chosen(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(handbook), QUESTION, "--retriever", "lexical(page=0)", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["name"].startswith("lexical(page=0")
    with pytest.raises(InputError, match="no encoder"):
        Collection.open(handbook).ask(QUESTION, retriever="dense")


def test_a_filter_keeps_to_one_document(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "document_id = 'harbour-station-annual-report.pdf'"
    assert main(["ask", str(handbook), "What is the text cut after?", "--filter", only, "--json"]) == 0
    cited = json.loads(capsys.readouterr().out)["citations"]
    assert all(citation["document_id"] == "harbour-station-annual-report.pdf" for citation in cited)


def test_what_is_not_there_is_not_answered(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(handbook), "Who won the chess tournament in Paris?"]) == 0
    assert "Not in these documents." in capsys.readouterr().out


def test_a_refusal_names_the_nearest_page(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = "What salary did the Station Head receive in 2024?"
    assert main(["ask", str(handbook), question]) == 0
    assert "  nearest: harbour-station-annual-report.pdf, page " in capsys.readouterr().out
    assert main(["ask", str(handbook), question, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["found"], answer["citations"]) == (False, [])
    assert answer["nearest"]["document_id"] == "harbour-station-annual-report.pdf"
    assert answer["nearest"]["quote"]


def test_a_page_that_is_named_is_quoted(handbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(handbook), "What is on the last page of inspection-log-scanned.pdf?", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["citations"][0]["item_id"] == "inspection-log-scanned.pdf#page=7"


def test_the_passage_is_boxed_on_the_sheet(handbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(handbook), QUESTION, "--sheet", str(tmp_path / "sheet.png")]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    red = np.array([int(WARNING[n : n + 2], 16) for n in (1, 3, 5)])
    assert (np.abs(pixels - red).max(axis=2) < 40).sum() > 500


def test_a_model_answers_from_the_pages_it_is_shown(handbook: Path) -> None:
    double = FakeBackend(answer=lambda prompt: "After 77 tokens [1].")
    result = Collection.open(handbook).ask(QUESTION, k=3, backend=double)
    assert result.answer.text == "After 77 tokens."
    assert result.answer.citations[0].item.item_id == result.search.hits[0].item.item_id
    assert "Page 3, " in "".join(part for part in double.prompts[0][0].parts if isinstance(part, str))


def test_an_answerer_that_cites_a_stranger_is_refused(handbook: Path) -> None:
    class Liar:
        name = "liar"

        def answer(self, query: Query, candidates: list[Candidate]) -> Answer:
            return Answer(text="so it is", citations=(Citation(item=Item(item_id="stranger")),))

    with pytest.raises(InputError, match="did not get"):
        ask(Collection.open(handbook).search("tokens", k=2), Liar())
