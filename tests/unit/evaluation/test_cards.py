"""The cards in `datasets/`: what they promise is there, and their counts are those of the real files where these are at hand."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mmrerank.errors import FormatError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.cards import DATASETS, read_card, shipped_cards
from mmrerank.evaluation.evaluate import evaluate
from mmrerank.evaluation.loaders import lines
from mmrerank.evaluation.submissions import SERVERS
from mmrerank.measures.names import parse_measure
from mmrerank.parts import make, names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CARDS = [*sorted(DATASETS.glob("*.toml")), *sorted(DATASETS.glob("*/card.toml"))]
FIELD = {
    *("cirr", "circo", "fashioniq", "genecis", "mmdocir", "mmlongbench_doc", "webqa", "multimodalqa", "flickr30k", "coco_captions"),
    *("roxford5k", "rparis6k", "vidore_v1", "vidore_v2", "vidore_v3", "novel_eval", "emoji", "handbook"),
}
LAYOUTS = {path.stem for path in Path(lines.__file__).parent.glob("[a-z]*.py")}


def test_the_benchmarks_of_the_field_have_cards() -> None:
    assert {card.name for card in shipped_cards()} >= FIELD


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name if path.name == "card.toml" else path.stem)
def test_a_card_names_what_there_is(path: Path) -> None:
    card, content = read_card(path), tomllib.loads(path.read_text("utf-8"))
    assert card.name == (path.parent.name if path.name == "card.toml" else path.stem)
    assert card.layout in LAYOUTS
    assert card.retriever in names("retrievers")
    assert card.server in {"", *SERVERS}
    assert all(parse_measure(name) for name in card.measures)
    assert card.title
    assert "traps" in content
    if path.name != "card.toml":
        assert {"source", "licence", "first_stage", "layout", "counts", "official_measures"} <= set(content)
        assert card.get_it
        assert not re.search(r"/(work|tmp|home|root)/", path.read_text("utf-8"))
    if reader := card.options.get("read_with"):
        assert make(reader, station="readers")


def test_a_card_with_a_key_of_its_own_or_of_another_type_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    text = '[benchmark]\nlayout = "lines"\nsplit = "a"\nmeasures = ["AP"]\n[benchmark.splits]\na = {}\n'
    path.write_text(f'name = "x"\n{text}', encoding="utf-8")
    assert read_card(path).title == ""
    path.write_text(f'name = "x"\n{text.replace("layout", "layuot")}', encoding="utf-8")
    with pytest.raises(UnknownName, match="Did you mean 'layout'"):
        read_card(path)
    path.write_text(f'name = "x"\n{text.replace("split = ", "server = 3 # ")}', encoding="utf-8")
    with pytest.raises(FormatError, match="server: expected a str"):
        read_card(path)


# ---------------------------------------------------------------------- the real files


def real(data: Path, card: str, folder: str, split: str | None = None) -> Benchmark:
    if not (data / folder).is_dir():
        pytest.skip(f"{folder} is not among the evaluation data")
    return open_benchmark(DATASETS / f"{card}.toml", data / folder, split)


def query_at(benchmark: Benchmark, place: int) -> tuple[str, str | None, dict[str, int]]:
    query = benchmark.queries[place]
    return query.query_id, query.text, dict(benchmark.qrels[query.query_id])


def test_circo(real_data: Path) -> None:
    benchmark = real(real_data, "circo", "cir_annotations/circo")
    pictures = {"000000355099.jpg": 2, "000000528417.jpg": 1, "000000534704.jpg": 1}  # its own picture and two more
    assert query_at(benchmark, 0) == ("0", "shows two people and has a more colorful background", pictures)
    assert query_at(benchmark, -1)[:2] == ("219", "is of a different color and has a duck next to it")
    assert sum(map(len, benchmark.qrels.values())) == 916
    assert max(map(len, benchmark.qrels.values())) == 14
    test = real(real_data, "circo", "cir_annotations/circo", "test")
    assert (len(test.queries), test.queries[-1].text) == (800, "is a man and is doing dishes in the kitchen sink")
    assert not test.judged


def test_fashioniq(real_data: Path) -> None:
    benchmark = real(real_data, "fashioniq", "cir_annotations/fashioniq")
    assert query_at(benchmark, 0) == ("dress-0", "is shiny and silver with shorter sleeves and fit and flare", {"B0084Y8XIU.png": 1})
    assert query_at(benchmark, -1)[0] == "toptee-1960"
    assert Counter(benchmark.groups.values()) == {"dress": 2017, "shirt": 2038, "toptee": 1961}


def test_genecis(real_data: Path) -> None:
    benchmark = real(real_data, "genecis", "cir_annotations/genecis")
    assert query_at(benchmark, 0) == ("0", "cardboard", {"000000153527.jpg": 1})
    assert query_at(benchmark, -1) == ("1959", "tile wall", {"000000146457.jpg": 1})
    assert set(map(len, benchmark.galleries.values())) == {15}
    change = real(real_data, "genecis", "cir_annotations/genecis", "change_object")
    assert Counter(map(len, change.galleries.values())) == {15: 1959, 14: 1}  # one target stands in its own gallery


def test_cirr_in_mbeir(real_data: Path) -> None:
    benchmark = real(real_data, "mbeir_cirr", "cir_annotations/mbeir")
    assert query_at(benchmark, 0) == ("8:1", "Show three bottles of soft drink.", {"8:18844": 1})
    assert query_at(benchmark, -1)[0] == "8:4170"
    assert sum(map(len, benchmark.qrels.values())) == 4216


def test_composed_objects_and_instance_photos(real_data: Path) -> None:
    benchmark = real(real_data, "composed_objects", "composed_objects")
    assert query_at(benchmark, 0) == ("dev-000", "the same stuffed animal on a stone ledge by the water", {"bear_plushie_01.jpg": 1})
    assert query_at(benchmark, -1)[2] == {"teapot_03.jpg": 1}
    assert benchmark.removed["dev-212"] == {"teapot_04.jpg"}
    assert benchmark.queries[0].images[0].open().size[0] > 0
    photos = real(real_data, "instance_photos", "instance_photos")
    assert query_at(photos, 0)[1] is None
    assert len(photos.qrels["asclepius:asclepius_000.jpg"]) == 11


def test_texts_with_judgements(real_data: Path) -> None:
    dl = real(real_data, "trec_dl", "text_rerank/trec_dl19")
    assert query_at(dl, 0)[1] == "how long is life cycle of flea"
    assert dl.shipped_run is not None
    assert (dl.shipped_run.rankings["264014"][0], dl.shipped_run.rankings["1106007"][-1]) == (
        "corpus.jsonl::5611210",
        "corpus.jsonl::6255354",
    )
    claims = real(real_data, "checkthat2020", "text_rerank/checkthat2020")
    assert (claims.items[0], claims.items[-1]) == ("corpus.jsonl::0", "corpus.jsonl::10374")
    assert sum(map(len, claims.qrels.values())) == 801
    abstracts = real(real_data, "cranfield", "text_rerank/cranfield")
    assert Counter(grade for grades in abstracts.qrels.values() for grade in grades.values()) == {1: 858, 0: 113}
    flickr = real(real_data, "flickr8k_clip", "clip_embeddings/flickr8k_vitb32")
    assert query_at(flickr, -1) == ("f8k-494", "A large black dog is playing in a grassy yard .", {"1107246521_d16a476380.jpg": 1})


@pytest.mark.parametrize(
    ("card", "folder", "known"),
    [
        ("trec_dl", "text_rerank/trec_dl19", {"nDCG@10": 0.5058}),
        ("checkthat2020", "text_rerank/checkthat2020", {"Success@1": 0.759, "Success@50": 0.930}),
    ],
)
def test_bm25_as_given_has_the_known_figures(real_data: Path, card: str, folder: str, known: dict[str, float]) -> None:
    measures: dict[str, Any] = evaluate(real(real_data, card, folder), None).result["measures"]
    assert {name: round(measures[name]["value"], len(str(value)) - 2) for name, value in known.items()} == known


def test_pages_and_receipts(real_data: Path) -> None:
    benchmark = real(real_data, "mmlongbench_pages", "mmlongbench")
    document = "12-15-15-ISIS-and-terrorism-release-final.pdf"
    assert query_at(benchmark, 0)[2] == {f"{document}#page=2": 1, f"{document}#page=11": 1}  # 1 and 10, counted from 0
    assert benchmark.queries[0].filter == f"document_id = '{document}'"
    assert len(set(benchmark.groups.values())) == 7
    assert real(real_data, "mmlongbench_pages", "mmlongbench", "dev_corpus").queries[0].filter is None
    receipts = real(real_data, "sroie_receipts", "sroie_receipts")
    assert query_at(receipts, 0) == ("432.jpg", "receipt of UNIHAKKA INTERNATIONAL SDN BHD dated 09 MAY 2018", {"432.jpg": 1})
