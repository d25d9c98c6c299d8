"""Words, and what BM25 finds by them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from bm25s import BM25

from mmrerank.errors import DamagedData, InputError, ManifestError, ShapeError
from mmrerank.index import bm25_index
from mmrerank.index._words import ENGLISH, Words, captions, mentions, opening
from mmrerank.index.bm25_index import Options, build
from mmrerank.parts import make

PAGES = {
    11: "Replace seal TG-204 before the pump is started. Torque: 3.14 Nm.",
    7: "The pumps of the second hall. Seal TG-205, serial 12,345.",
    30: "Co-author agreements of the department; see run_name in config.yaml, Appendix B.",
    4: "",
    25: "The GDP of the U.S. grew by 2.1 %. Café menu, Straße 5.",
    8: "検索エンジンの研究。GPT模型",
    2: "to be or not to be",
}


def filled(name: str = "bm25_index", pages: dict[int, str] = PAGES) -> Any:
    index = make(name, station="index")
    index.fit(np.array(list(pages), np.int64), list(pages.values()))
    return index


def words(text: str, *, query: bool = False) -> list[str]:
    terms = Words(str, ENGLISH)
    return terms.of_query(text) if query else terms.of(text)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("TG-204", ["tg", "204", "tg204"]),
        ("tg\u2011204", ["tg", "204", "tg204"]),  # non-breaking hyphen
        ("co-author", ["co", "author", "coauthor"]),
        ("infor-\r\n  mation", ["infor", "mation", "information"]),
        ("infor\ufffemation", ["infor", "mation", "information"]),  # PDFium's mark for a hyphen at the end of a line
        ("3.14", ["3", "14", "3.14"]),
        ("12,345", ["12", "345", "12345"]),
        ("12:30", ["12", "30", "12:30"]),
        ("one,two: three", ["one", "two", "three"]),
        ("run_name", ["run", "name", "run_name"]),
        ("and/or end.Next", ["and", "or", "end", "next"]),
        ("v1.2.3-rc1", ["v1", "2", "3", "rc1", "v1.2.3rc1"]),
        ("U.S. e.g. a.m.", ["us", "eg", "am"]),
        ("author’s don't", ["author's", "don't"]),
        ("ＡＢＣ ﬁne STRASSE Straße", ["abc", "fine", "strasse", "strasse"]),
        ("Appendix B, 5 °C", ["appendix", "b", "5", "c"]),
        ("検索機 人 GPT模型", ["検索", "索機", "人", "gpt", "模型"]),
        ("naïve Größe Привет", ["naïve", "naive", "grösse", "grosse", "groesse", "привет"]),
        ("3,5 and 1.234", ["3", "5", "3.5", "and", "1", "234", "1.234", "1234"]),
        ("हिन्दी में लेख", ["हिन्दी", "में", "लेख"]),
        ("தமிழ் வீட்டில்", ["தமிழ்", "வீட்டில்"]),
        ("שָׁלוֹם שלום, كِتَاب كتاب", ["שלום", "שלום", "كتاب", "كتاب"]),
        ("ไทย ที่ A4", ["ไท", "ทย", "ที", "ี่", "a4"]),
        (" -._/ … ", []),
        ("", []),
    ],
)
def test_words_of_a_text(text: str, terms: list[str]) -> None:
    assert words(text) == terms


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("café", "cafe"),
        ("cafe", "Café"),
        ("resumes", "Résumés"),
        ("Muller", "Müller"),
        ("Mueller", "Müller"),
        ("Malmo", "Malmö"),
        ("Lodz", "Łódź"),
        ("атена", "атёна"),
        ("Αθηνα", "Αθήνα"),
        ("احمد", "أحمد"),
        ("1234", "1,234"),
        ("1234", "1.234"),
        ("1234", "1 234"),
        ("1234", "1 234"),
        ("1,234", "1'234"),
        ("1234567", "1 234 567"),
        ("1,234.56", "1.234,56"),
        ("1234567", "12,34,567"),
        ("3.5", "3,5"),
        ("1234", "١٢٣٤"),
    ],
)
def test_a_word_or_number_written_otherwise_is_found(query: str, page: str) -> None:
    index = build(Options())
    index.fit(np.array([0, 1]), ["something else", page])
    assert list(index.search(query, 2).ids) == [1]
    index.fit(np.array([0, 1]), ["something else", query])
    assert list(index.search(page, 2).ids) == [1]


@pytest.mark.parametrize(("query", "page"), [("йод", "иод"), ("かき", "がき"), ("2019 450", "2019450"), ("100 200 3", "100200")])
def test_what_is_another_word_or_number_is_not_found(query: str, page: str) -> None:
    index = build(Options())
    index.fit(np.array([0]), [page])
    assert not len(index.search(query, 1).ids)


def test_the_very_spelling_comes_first() -> None:
    index = build(Options())
    index.fit(np.array([0, 1]), ["un ano", "un año"])
    assert list(index.search("año", 2).ids) == [1, 0]


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("What is the serial of the pump, e.g. TG-204?", ["serial", "pump", "tg", "204", "tg204"]),
        ("more than 50 pages, not all", ["more", "50", "pages", "not", "all"]),  # amounts say what is asked
        ("to be or what", ["to", "be", "or", "what"]),  # nothing else is left
        ("the", ["the"]),
    ],
)
def test_words_of_a_query(query: str, terms: list[str]) -> None:
    assert words(query, query=True) == terms


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("TG-204", [11, 7]),
        ("tg204", [11]),
        ("204", [11]),
        ("coauthors", [30]),
        ("author", [30]),
        ("12345", [7]),
        ("3.14", [11]),
        ("run_name", [30]),
        ("US", [25]),
        ("strasse", [25]),
        ("検索", [8]),
        ("pump", [7, 11]),
        ("appendix b", [30]),
        ("what not to be", [2]),
        ("zebra quagga", []),
        ("", []),
        ("?!", []),
    ],
)
def test_a_query_finds_the_texts_that_share_its_words(query: str, ids: list[int]) -> None:
    hits = filled().search(query, 10)
    assert sorted(hits.ids.tolist()) == sorted(ids)
    assert hits.ids.tolist()[:1] == ids[:1] or query == "pump"
    assert (hits.scores > 0).all()
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == np.float32


def test_scores_are_the_formula() -> None:
    """Robertson & Zaragoza 2009 with Lucene's idf, written out."""
    texts = ["red red box", "blue box", "green lamp in a red room", "box"]
    k1, b, mean = 1.5, 0.75, sum(len(text.split()) for text in texts) / 4
    hits = filled("bm25_index(stemmer=none, opening=0, captions=0)", dict(enumerate(texts))).search("red box", 4)
    for number, score in zip(hits.ids, hits.scores, strict=True):
        counts, length, expected = Counter(texts[number].split()), len(texts[number].split()), 0.0
        for word in ("red", "box"):
            frequency = sum(word in text.split() for text in texts)
            idf = math.log(1 + (4 - frequency + 0.5) / (frequency + 0.5))
            expected += idf * counts[word] / (counts[word] + k1 * (1 - b + b * length / mean))
        assert score == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["lucene", "robertson", "atire"])
def test_what_words_weigh_is_what_bm25s_says(method: Literal["lucene", "robertson", "atire"]) -> None:
    texts = [" ".join(np.random.default_rng(n).choice([f"w{m}" for m in range(30)], 5 + n % 17, p=np.arange(30) / 435)) for n in range(200)]
    theirs = BM25(k1=1.2, b=0.6, method=method, backend="numpy")
    theirs.index([text.split() for text in texts], show_progress=False)
    index = build(Options(k1=1.2, b=0.6, method=method, stemmer="none", opening=0, captions=0))
    index.fit(np.arange(len(texts)), texts)
    for query in ("w29", "w3 w17 w1", "w28 w28 w12"):
        hits = index.search(query, len(texts))
        scores = theirs.get_scores(query.split())
        assert hits.scores == pytest.approx(scores[hits.ids], rel=1e-5)
        assert set(hits.ids.tolist()) == set(np.flatnonzero(scores).tolist())


def test_further_texts_weigh_as_they_would_have_in_the_first_and_join() -> None:
    index = filled(pages=REPORT | PAGES)
    twins = {1000 + n: text for n, text in (REPORT | PAGES).items()}
    halves = [dict(list(twins.items())[n::2]) for n in (0, 1)]
    first, second = (index.further(np.array(list(half), np.int64), list(half.values())) for half in halves)
    both = first.joined(second)
    assert both.ids.tolist() == sorted(twins)
    for query in ("growth in Table 3", "seal pump TG-204", "検索", "not to be"):
        one, other = index.search(query, 20), both.search(query, 20)
        assert other.ids.tolist() == (one.ids + 1000).tolist()
        assert other.scores.tolist() == one.scores.tolist()
    rest = both.without(np.array([1007, 1011]))
    assert rest.ids.tolist() == sorted(twins.keys() - {1007, 1011})
    assert rest.search("seal pump", 20).ids.tolist() == []
    index.remove(np.array([7]))
    assert index.gone.tolist() == [7]
    assert index.search("seal pump", 20).ids.tolist() == [11]


def test_a_word_of_later_texts_alone_weighs_as_if_one_had_it() -> None:
    index = filled("bm25_index(opening=0, captions=0)")
    later = index.further(np.array([99]), ["a turbine and a torque"])
    scores = [float(later.search(word, 1).scores[0]) for word in ("turbine", "torque")]
    assert scores[0] == scores[1]  # one of the first texts has the torque


FILLER = "word " * 40
REPORT = {
    1: f"Growth of cities\n{FILLER}",
    2: f"{FILLER} as Table 3 shows, growth was slow",
    3: f"{FILLER}\n Table 3. Growth\n{FILLER}",
    4: f"{FILLER}\nFig. 3: Cities\n{FILLER}",
}


def test_a_score_is_the_sum_of_its_parts() -> None:
    """BM25 over the text, BM25 over the first 30 words as texts of their own, a constant for a caption."""

    def scores(name: str, pages: dict[int, str]) -> dict[int, float]:
        hits = filled(name, pages).search("growth in Table 3", 10)
        return dict(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))

    words = scores("bm25_index(opening=0, captions=0)", REPORT)
    openings = scores("bm25_index(opening=0, captions=0)", {n: " ".join(text.split()[:30]) for n, text in REPORT.items()})
    expected = {n: score + 0.7 * openings.get(n, 0.0) + 5.0 * (n == 3) for n, score in words.items()}
    assert openings.keys() == {1}
    assert scores("bm25_index(opening=0.7, captions=5)", REPORT) == pytest.approx(expected)


def test_an_opening_and_a_caption_lift_their_page() -> None:
    assert filled(pages=REPORT).search("growth", 1).ids.tolist() == [1]
    assert filled(pages=REPORT).search("What does table 3 say?", 1).ids.tolist() == [3]
    assert filled(pages=REPORT).search("What is red in figure 3?", 1).ids.tolist() == [4]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Figure 3: growth", {"figure 3"}),
        ("  FIG. 3a", {"figure 3"}),
        ("Table A.1\nAppendix B\r\nExhibit P-10", {"table a.1", "appendix b", "exhibit p-10"}),
        ("see Figure 3\nand Table 4", set()),
        ("table a thing\nFigures show\nFigurine 3", set()),
        ("Ｔａｂｌｅ　２", {"table 2"}),
        ("", set()),
    ],
)
def test_a_caption_begins_its_line(text: str, names: set[str]) -> None:
    assert captions(text) == names
    assert mentions(f"so {text}") >= names


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", ""),
        ("  one\n two  ", "one\n two"),
        ("w " * 99, ("w " * 30).strip()),
        ("検" * 999, "検" * 300),
        ("x" * 10_000_000, "x" * 300),
    ],
)
def test_an_opening_is_thirty_words_or_three_hundred_characters(text: str, first: str) -> None:
    assert opening(text).strip() == first


def test_ties_go_by_id_and_k_cuts() -> None:
    index = filled(pages=dict.fromkeys((9, 3, 27, 5, 1), "same words") | {2: "others"})
    assert index.search("words", 3).ids.tolist() == [1, 3, 5]
    assert index.search("words", 99).ids.tolist() == [1, 3, 5, 9, 27]


@pytest.mark.parametrize("allowed", [[], [7], [11, 7, 7, 4, -1, 999], [4], list(PAGES)])
def test_a_filter_keeps_the_order_and_the_scores(allowed: list[int]) -> None:
    everything, some = filled().search("seal pump", 10), filled().search("seal pump", 10, allowed=np.array(allowed, np.int64))
    inside = np.isin(everything.ids, allowed)
    assert some.ids.tolist() == everything.ids[inside].tolist()
    assert some.scores.tolist() == everything.scores[inside].tolist()


@pytest.mark.parametrize("pages", [{}, {3: ""}, {3: "", 5: " … "}])
def test_a_corpus_without_words_finds_nothing(pages: dict[int, str], tmp_path: Path) -> None:
    index = filled(pages=pages)
    index.save(tmp_path / "text")
    loaded = filled()
    loaded.load(tmp_path / "text")
    for one in (index, loaded):
        assert len(one) == len(pages)
        assert one.search("anything", 3).ids.shape == (0,)
        assert one.search("anything", 3, allowed=np.array([3])).ids.shape == (0,)


def test_fitting_again_replaces_what_was_there() -> None:
    index = filled()
    index.fit(np.array([1]), ["only this"])
    assert index.ids.tolist() == [1]
    assert index.search("pump", 3).ids.shape == (0,)
    assert index.search("this", 3).ids.tolist() == [1]


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    index, loaded = filled(), build(Options())
    index.save(tmp_path / "text")
    loaded.load(tmp_path / "text")
    assert loaded.ids.tolist() == index.ids.tolist() == sorted(PAGES)
    for query in ("TG-204", "pump seal", "検索", "zebra"):
        one, other = loaded.search(query, 5), index.search(query, 5)
        assert one.ids.tolist() == other.ids.tolist()
        assert one.scores.tolist() == other.scores.tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["text"]


def test_a_damaged_file_and_other_options_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "text"
    filled().save(path)
    with pytest.raises(ManifestError, match="k1"):
        make("bm25_index(k1=0.9)", station="index").load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedData, match="torn"):
        filled().load(path)


def test_an_index_of_words_as_they_were_split_before_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(bm25_index, "WORDS_VERSION", bm25_index.WORDS_VERSION - 1)
        filled().save(tmp_path / "text")
    with pytest.raises(ManifestError, match="words"):
        filled().load(tmp_path / "text")


def test_input_that_cannot_be_used_is_refused() -> None:
    index = filled()
    with pytest.raises(ShapeError, match="2 ids came with 1 texts"):
        index.fit(np.array([1, 2]), ["one"])
    with pytest.raises(InputError, match="id 5 comes twice"):
        index.fit(np.array([5, 2, 5]), ["one", "two", "three"])
    with pytest.raises(InputError, match="k of at least 1"):
        index.search("pump", 0)
    for options in ("b=1.5", "k1=-1", "method=bm26", "stemmer=klingon"):
        with pytest.raises(InputError):
            make(f"bm25_index({options})", station="index")
    assert len(index) == len(PAGES)


def test_without_stemmer_and_stop_words_words_count_as_they_stand() -> None:
    index = filled("bm25_index(stemmer=none, stopwords=none)")
    assert index.search("pumps", 5).ids.tolist() == [7]
    assert sorted(index.search("the pumps", 5).ids.tolist()) == [7, 11, 25, 30]


@pytest.mark.parametrize("method", ["lucene", "robertson", "atire"])
def test_every_method_finds_the_rare_word(method: str) -> None:
    assert filled(f"bm25_index(method={method})").search("torque", 5).ids.tolist() == [11]


def test_lucene_alone_scores_a_word_that_every_text_has() -> None:
    pages = {1: "same", 2: "same"}
    assert len(filled(pages=pages).search("same", 5).ids) == 2
    assert len(filled("bm25_index(method=atire)", pages=pages).search("same", 5).ids) == 0


def test_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    filled().search("pump", 3)
    assert capfd.readouterr() == ("", "")


def test_a_word_of_few_texts_is_rarer_than_one_of_many_and_an_unknown_one_the_rarest() -> None:
    index = build(Options())
    index.fit(np.arange(4), ["pump seal", "pump valve", "pump motor", "pump valve"])
    idf = index.idf("What of the pump, the valves, the seal and the turbine?")
    assert list(idf) == ["pump", "valv", "seal", "turbin"]  # stems; words of grammar are left out
    expected = [math.log(1 + (4 + 20) / (holders + 0.9)) for holders in (4, 2, 1, 0)]
    assert list(idf.values()) == pytest.approx(expected)
    assert min(build(Options()).idf("pump").values()) > 0  # an empty index
