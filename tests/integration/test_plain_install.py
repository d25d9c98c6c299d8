"""What works after `pip install mmrerank` alone: no FAISS, no checkout; and what is said before anything is downloaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run
from makers import coloured

from mmrerank import Collection, demo
from mmrerank.cli import _downloads, main
from mmrerank.collection.verify import describe
from mmrerank.errors import UnknownName
from mmrerank.types import Download

WITHOUT_FAISS = """
import sys
sys.modules["faiss"] = None  # `import faiss` is an ImportError
from mmrerank.cli import main
sys.exit(max(main(arguments) for arguments in {commands!r}))
"""


def without_faiss(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    code = WITHOUT_FAISS.format(commands=list(commands))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_pictures_and_texts_are_indexed_and_searched_without_faiss(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for n in range(3):
        coloured(n, size=(40, 30)).save(tmp_path / "photos" / f"{n}.png")
    (tmp_path / "notes.csv").write_text("key,text\na,the parrot was called Rufus\nb,a blue boat\n")
    pictures, texts = str(tmp_path / "pictures"), str(tmp_path / "texts")
    done = without_faiss(
        ["index", str(tmp_path / "photos"), "--into", pictures, "--encoder", "openclip/mini"],
        ["search", pictures, "--image", str(tmp_path / "photos" / "1.png"), "--k", "1", "--json"],
        ["index", str(tmp_path / "notes.csv"), "--into", texts],
        ["search", texts, "--text", "parrot", "--k", "1", "--json"],
        ["doctor", "--json"],
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [found[0]["hits"][0]["item_id"], found[1]["hits"][0]["item_id"]] == ["1.png", "notes.csv::a"]
    assert [index["kind"] for index in describe(Collection.open(pictures))["indexes"]] == ["flat"]
    assert "needs faiss" not in done.stderr


def test_a_collection_whose_index_needs_faiss_says_so_and_how_to_go_on_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coloured(1, size=(40, 30)).save(tmp_path / "a.png")
    place = str(tmp_path / "c")
    arguments = ["index", str(tmp_path / "a.png"), "--into", place, "--encoder", "openclip/mini"]
    assert main([*arguments, "--recipe", "faiss_index"]) == 0
    search = ["search", place, "--image", str(tmp_path / "a.png"), "--json"]
    refused = without_faiss(search)
    error = json.loads(refused.stdout)["error"]
    assert (refused.returncode, error["type"]) == (1, "MissingExtra")
    assert "mmrerank[cpu]" in error["hint"]
    assert "--recipe flat" in error["hint"]
    mended = without_faiss([*arguments, "--recipe", "flat"], search)
    assert mended.returncode == 0, mended.stderr
    assert Collection.open(place).manifest.index.startswith("flat(")


def test_another_index_gives_the_same_hits_and_an_unknown_one_changes_nothing(tmp_path: Path) -> None:
    for n in range(4):
        coloured(n, size=(40, 30)).save(tmp_path / f"{n}.png")
    collection = Collection.create(tmp_path / "c", encoders=["openclip/mini"])
    collection.add([tmp_path / f"{n}.png" for n in range(4)])
    before = [(hit.item.item_id, hit.score) for hit in collection.search("red").hits]
    with pytest.raises(UnknownName, match="there are: auto, faiss_index, flat"):
        collection.use_index("flatt")
    assert collection.manifest.index == "auto"
    collection.use_index("faiss_index(kind=hnsw)")
    assert Collection.open(tmp_path / "c").manifest.index.startswith("faiss_index(kind='hnsw'")
    assert [(hit.item.item_id, hit.score) for hit in collection.search("red").hits] == before


def test_the_demo_shows_the_sample_of_the_wheel_where_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "DATASETS", tmp_path / "nowhere")
    code, result = run(capsys, "demo", "--out", tmp_path / "out")
    assert (code, result["measures"], len(result["sheets"])) == (0, {}, 7)
    assert all(Path(sheet).stat().st_size > 1000 for sheet in result["sheets"])
    hits = Collection.open(tmp_path / "out" / "sample").search("man farmer: dark skin tone", k=1).hits
    assert hits[0].item.item_id == "sample.tar::man-farmer-dark-skin-tone"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_what_an_encoder_downloads_is_known_before_from_its_shapes_alone(empty_cache: Path) -> None:
    default = "openclip/ViT-B-32.laion2b_s34b_b79k@224"
    (download,) = _downloads.downloads_of([default, "openclip/mini", "sentence//no/such/folder", "nothing/of/this", default])
    assert download.name == default
    assert download.source.endswith("/laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
    assert download.mib == pytest.approx(577.1, abs=0.1), "605 MB, the size of its file on the hub"
    (other,) = _downloads.downloads_of(["multivector/vidore/colqwen2-v1.0-hf"])
    assert (other.mib, other.source) == (None, "https://huggingface.co/vidore/colqwen2-v1.0-hf")


def test_a_download_is_said_before_and_a_person_is_asked(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    coloured(1, size=(40, 30)).save(tmp_path / "a.png")
    asked: list[str] = []

    def no(text: str, **_: object) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr(_downloads.typer, "confirm", no)
    monkeypatch.setattr(_downloads, "at_a_terminal", lambda: True)
    monkeypatch.setattr(_downloads, "is_reachable", lambda source: True)
    assert main(["index", str(tmp_path / "a.png"), "--into", str(tmp_path / "c")]) == 1
    told = capsys.readouterr().err
    assert "about 577 MiB from https://huggingface.co/laion/" in told
    assert "--encoder none" in told
    assert asked == ["Download now?"]
    assert not (tmp_path / "c").exists(), "nothing is made before the answer"


@pytest.mark.parametrize(("yes", "terminal", "questions"), [(True, True, 0), (False, False, 0), (False, True, 1)])
def test_nobody_is_asked_who_said_yes_or_sits_at_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], yes: bool, terminal: bool, questions: int
) -> None:
    asked: list[str] = []
    download = Download(name="x", source="https://hub/x", folder="/cache", mib=None)
    monkeypatch.setattr(_downloads, "downloads_of", lambda names: iter([download]))
    monkeypatch.setattr(_downloads, "at_a_terminal", lambda: terminal)
    monkeypatch.setattr(_downloads, "is_reachable", lambda source: True)
    monkeypatch.setattr(_downloads.typer, "confirm", lambda text, **_: asked.append(text) or True)
    _downloads.announce(["x"], yes=yes)
    assert len(asked) == questions
    assert "of unknown size from https://hub/x" in capsys.readouterr().err
