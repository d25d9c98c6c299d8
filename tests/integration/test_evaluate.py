"""`mmrerank evaluate`: figures, run files, a report that stands alone, and the same numbers every time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from emoji_benchmark import write_benchmark
from trees import write

from mmrerank.cli import main
from mmrerank.demo import DATASETS

SHIPPED = {"emoji": "composed", "handbook": "lexical"}


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_benchmark(tmp_path_factory.mktemp("few-emoji")))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "evaluate"))
    monkeypatch.delenv("MMRERANK_CACHE", raising=False)


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main(["evaluate", *arguments, "--json"])
    output = capsys.readouterr().out
    assert code == 0, output
    return json.loads(output)  # type: ignore[no-any-return]


def test_twice_gives_the_same_numbers_and_runs(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (card, "--rerank", "superglobal", "--depth", "20")
    first = evaluated(capsys, *arguments, "--out", str(tmp_path / "a"))
    again = evaluated(capsys, *arguments, "--out", str(tmp_path / "b"))
    assert first["measures"] == again["measures"]
    assert first["queries"] == 12
    runs = [(tmp_path / place / "run.trec").read_text(encoding="utf-8") for place in "ab"]
    assert runs[0] == runs[1]
    assert len({line.split()[0] for line in runs[0].splitlines()}) == 12


def test_the_result_says_what_made_it(card: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluated(capsys, card, "--rerank", "superglobal", "--depth", "20")
    origin = result["made_by"]
    assert result["first_stage"] == origin["first_stage"] == origin["stages"][0]
    assert str(result["first_stage"]).startswith("composed")
    assert (origin["depth"], origin["candidates"]) == (20, 12 * 20)
    assert all(origin["encoders"].values())  # the hashes of the weights
    assert result["measures"] == result["systems"][1]["measures"]


def test_the_report_stands_alone_and_shows_pictures(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(capsys, card, "--rerank", "superglobal", "--depth", "20", "--out", str(tmp_path))
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/" in report
    assert "Lost most" in report
    assert not re.search(r"""(?:src|href)=["']?https?:""", report)
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["run_file"] == str(tmp_path / "run.trec")


def test_a_run_is_measured_reranked_and_compared(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = evaluated(capsys, card, "--rerank", "superglobal", "--depth", "20", "--out", str(tmp_path))
    run = str(tmp_path / "run.trec")
    measured = evaluated(capsys, card, "--run", run)
    assert measured["measures"] == own["measures"]
    reranked = evaluated(capsys, card, "--run", run, "--rerank", "superglobal", "--depth", "10")
    assert str(reranked["first_stage"]).startswith("run/")
    beside = evaluated(capsys, card, "--compare", run)
    assert beside["measures"] == own["systems"][0]["measures"]
    assert beside["systems"][1]["gains"]["R@1"]["value"] == own["systems"][1]["gains"]["R@1"]["value"]


def test_the_gain_of_two_systems_is_corrected_for_their_number(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(capsys, card, "--rerank", "superglobal", "--depth", "20", "--out", str(tmp_path))
    run = str(tmp_path / "run.trec")
    gains = [system["gains"]["RR@100"] for system in evaluated(capsys, card, "--compare", run, "--compare", run)["systems"][1:]]
    assert [gain["p_holm"] for gain in gains] == [min(1.0, 2 * gain["p"]) for gain in gains]


def test_a_card_without_an_encoder_takes_the_one_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_benchmark(tmp_path, queries=3, others=5)
    path.write_text(path.read_text(encoding="utf-8").replace('encoder = "openclip/mini"\n', ""), encoding="utf-8")
    assert main(["evaluate", str(path), "--json"]) == 1
    assert "--encoder" in json.loads(capsys.readouterr().out)["error"]["hint"]
    result = evaluated(capsys, str(path), "--encoder", "openclip/mini")
    assert list(result["made_by"]["encoders"]) == ["openclip/mini"]
    assert main(["evaluate", str(path), "--encoder", "openclip/mini", "--collection", str(tmp_path / "c"), "--json"]) == 1
    assert "has its encoders already" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_wrong_variant_is_told_before_anything_is_indexed(
    card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["evaluate", card, "--variant", "suffled", "--json"]) == 2
    assert "Did you mean 'shuffled'" in json.loads(capsys.readouterr().out)["error"]["hint"]
    assert main(["evaluate", card, "--variant", "shuffled", "--json"]) == 1
    assert not (tmp_path / "cache").exists()


def test_groups_and_notes_are_told_to_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FashionIQ: the published figure, the mean of its categories, once stood in the JSON alone."""
    for group in ("dress", "shirt", "toptee"):
        names = [f"{group}{n}" for n in range(4)]
        entries = [{"candidate": names[0], "target": name, "captions": ["is longer"]} for name in names[1 : 2 if group == "dress" else 3]]
        write(tmp_path, {f"captions/cap.{group}.val.json": entries, f"image_splits/split.{group}.val.json": names})
    (tmp_path / "a.trec").write_text("".join(f"{q} Q0 {i} 1 1 t\n" for q, i in (("dress-0", "dress1"), ("shirt-0", "shirt1"))), "utf-8")
    card = tmp_path / "card.toml"
    card.write_text(re.sub(r"(?m)^val = .*$", "val = {}", (DATASETS / "fashioniq.toml").read_text("utf-8")), encoding="utf-8")
    arguments = ["evaluate", str(card), "--data", str(tmp_path), "--run", str(tmp_path / "a.trec"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    output = capsys.readouterr()
    lines = [" ".join(line.split()) for line in output.out.splitlines()]
    assert any(line.startswith("R@10(macro) 0.500 (") for line in lines)  # 1, 1/2 and 0
    assert "shirt: R@10 0.500 R@50 0.500" in lines
    assert "note: the run 't' holds 2 of 5 queries; the rest count 0" in output.err
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<td>shirt</td><td>0.500</td><td>0.500</td>" in report
    assert "holds 2 of 5 queries" in report


def test_the_report_of_a_variant_shows_what_it_changed(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (card, "--rerank", "superglobal", "--depth", "20", "--out", str(tmp_path))
    result = evaluated(capsys, *arguments, "--variant", "exclusions")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    was, now = result["variant"]["unchanged"][1]["measures"]["R@1"], result["measures"]["R@1"]
    cells = [f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f})" for of in (was, now)]
    assert f"<tr><td>R@1</td><td>{cells[0]}</td><td>{cells[1]}</td></tr>" in report
    assert f"<td>shared of the first ten</td><td>{result['variant']['overlap_10']:.3f}</td>" in report
    assert '<span class="soft">not</span><figure><img' in report
    evaluated(capsys, *arguments, "--variant", "exclusions(by=text)")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<span class="soft">not</span><figure>[^<]', report)


def test_a_few_queries_of_a_benchmark_are_its_queries(card: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated(capsys, card, "--limit", "5")["queries"] == 5


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_cards_agree_with_their_files(name: str) -> None:
    from mmrerank.evaluation.benchmark import open_benchmark
    from mmrerank.evaluation.cards import read_card

    path = DATASETS / name / "card.toml"
    for split in read_card(path).splits:
        benchmark = open_benchmark(path, split=split)
        assert benchmark.retriever == SHIPPED[name]
        assert set(benchmark.qrels) == {query.query_id for query in benchmark.queries}


def test_the_handbook_is_asked_by_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluated(capsys, str(DATASETS / "handbook" / "card.toml"), "--split", "dev", "--limit", "8")
    assert str(result["first_stage"]).startswith("lexical")
    assert set(result["measures"]) == {"Success@1", "Success@5", "RR"}


def test_a_file_that_is_no_card_is_an_error_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "card.toml"
    path.write_text("name = 'x'\n", encoding="utf-8")
    assert main(["evaluate", str(path), "--json"]) != 0
    assert "[benchmark]" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_split_that_a_server_judges_gives_its_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["test1-147-1-img1", *(f"test1-{n}-0-img0" for n in range(300, 360)), "test1-255-0-img1"]
    pairs = [
        {"pairid": pair, "reference": names[n], "caption": "more", "img_set": {"id": n, "members": names[:6]}}
        for n, pair in enumerate((12063, 39059))
    ]
    for name, content in (("captions/cap", pairs), ("image_splits/split", {name: f"./test1/{name}.png" for name in names})):
        path = tmp_path / f"{name}.rc2.test1.json"
        path.parent.mkdir()
        path.write_text(json.dumps(content), encoding="utf-8")
    rows = [f"{pair} Q0 {name} {rank} {-rank} other" for pair in (12063, 39059) for rank, name in enumerate(names, 1)]
    (tmp_path / "other.trec").write_text("\n".join(rows), encoding="utf-8")
    arguments = [str(DATASETS / "cirr.toml"), "--data", str(tmp_path), "--split", "test1", "--run", str(tmp_path / "other.trec")]
    result = evaluated(capsys, *arguments, "--out", str(tmp_path / "out"))
    assert (result["queries"], result["measures"]) == (2, {})
    subset = json.loads((tmp_path / "out" / "test1_recall_subset.json").read_text(encoding="utf-8"))
    assert subset["39059"] == [names[0], *names[2:4]]
    assert main(["evaluate", *arguments]) == 0
    assert "a server has them" in capsys.readouterr().out


def test_real_captions_are_measured_by_the_run_of_their_vectors(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = (real_data / "clip_embeddings" / "flickr8k_vitb32" / "queries.jsonl").read_text(encoding="utf-8").split("\n")[0]
    query = json.loads(row)
    (tmp_path / "run.trec").write_text(f"{query['id']} Q0 {query['positive']} 1 1 t\n", encoding="utf-8")
    arguments = (str(DATASETS / "flickr8k_clip.toml"), "--data", str(real_data / "clip_embeddings" / "flickr8k_vitb32"))
    result = evaluated(capsys, *arguments, "--run", str(tmp_path / "run.trec"))
    assert result["measures"]["R@1"]["value"] == 0.004


def test_measuring_a_run_indexes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "run.trec").write_text("handbook-02 Q0 picture-search-handbook.pdf#page=1 1 1 t\n", encoding="utf-8")
    result = evaluated(capsys, str(DATASETS / "handbook" / "card.toml"), "--run", str(tmp_path / "run.trec"))
    assert result["first_stage"] == "run/t"
    assert not (tmp_path / "cache").exists()


def test_a_model_that_nobody_reaches_is_an_error_and_no_figure(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The order as it came once passed for that of a reranker: R@1 with a gain of 0.000, and exit code 0."""
    arguments = ["evaluate", card, "--depth", "5", "--rerank", "square(retries=0)", "--out", str(tmp_path / "out"), "--no-cache"]
    assert main([*arguments, "--backend", "chat_http(server='http://127.0.0.1:9/v1#m', retries=0)", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "BackendError"
    assert not (tmp_path / "out").exists()


def test_answers_that_cannot_be_read_are_counted_for_all_to_see(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['{"text": "I cannot say"}', '{"text": "{\\"ranking\\": [2, 1]}"}', '{"text": "neither now"}']
    (tmp_path / "script.jsonl").write_text("\n".join(lines), encoding="utf-8")
    backend = f"scripted/{tmp_path / 'script.jsonl'}"
    arguments = ["evaluate", card, "--limit", "3", "--depth", "2", "--rerank", "square", "--backend", backend]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "  2 of 3 queries: fallback\n" in capsys.readouterr().out
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert '<small class="worse">2 of 3 queries: fallback</small>' in report
    assert evaluated(capsys, *arguments[1:])["systems"][1]["notes"] == {"fallback": 2, "ok": 1}


def test_a_run_of_another_system_has_a_depth_of_its_own_and_no_cost(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(capsys, card, "--rerank", "superglobal", "--depth", "7", "--out", str(tmp_path))
    lines = (tmp_path / "run.trec").read_text(encoding="utf-8").splitlines()
    (tmp_path / "short.trec").write_text("\n".join(line for line in lines if int(line.split()[3]) <= 3) + "\n", encoding="utf-8")
    arguments = ["evaluate", card, "--rerank", "superglobal", "--depth", "7", "--compare", str(tmp_path / "short.trec")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    _, *heads = [line for line in output.splitlines() if line and not line.startswith(" ")][:4]
    assert [line.rpartition(", ")[2] for line in heads] == ["depth 7", "depth 7", "depth 3"]
    assert output.count("what it took is not known") == 1
    assert output.count("0.0 calls, 0 tokens a query") == 2
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    row = next(row for row in report.split("<tr>") if row.startswith("<td>2: "))
    assert "depth 3" in row
    assert "<td>-</td><td>-</td><td>-</td>" in row
    system = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["systems"][2]
    assert set(system["cost"].values()) == {None}
    reranked = evaluated(capsys, card, "--run", str(tmp_path / "short.trec"), "--rerank", "superglobal", "--depth", "7")
    assert [system["cost"]["seconds"] is None for system in reranked["systems"]] == [True, False]


def test_rerankers_beside_each_other_are_measured_each_by_itself(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [card, "--beside", "superglobal", "--beside", "superglobal(neighbours=2)", "--depth", "20"]
    beside = evaluated(capsys, *arguments, "--out", str(tmp_path / "out"))
    assert [len(system["stages"]) for system in beside["systems"]] == [1, 2, 2]
    alone = [evaluated(capsys, card, "--rerank", name, "--depth", "20")["systems"][1] for name in arguments[2:5:2]]
    assert [system["measures"] for system in beside["systems"][1:]] == [system["measures"] for system in alone]
    assert all(system["cost"]["seconds"] > 0 for system in beside["systems"])
    assert "Quality and cost" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert main(["evaluate", *arguments]) == 0
    assert "quality beside cost" in capsys.readouterr().out
    assert main(["evaluate", *arguments, "--variant", "exclusions", "--json"]) == 1
    assert "without a variant" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_guard_is_fitted_on_one_half_and_measured_on_the_other(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "superglobal.guard.toml"
    assert sum(evaluated(capsys, card, "--half", half)["queries"] for half in "ab") == 12
    evaluated(capsys, card, "--rerank", "superglobal", "--depth", "20", "--fit-guard", str(path))
    guarded = evaluated(capsys, card, "--rerank", f"guard(rerank=superglobal, fitted='{path}', min_gain=0.5)", "--depth", "20")
    first, last = guarded["systems"]
    assert last["measures"] == first["measures"], "nobody gains a half, so the first stage's order stays"
    assert last["notes"] == {"fallback": 12}
    used = evaluated(capsys, card, "--rerank", f"guard(rerank=superglobal, fitted='{path}', min_gain=-1.0)", "--depth", "20")
    assert used["systems"][1]["notes"].get("ok", 0) > 0, "a guard that any loss passes lets some through"
    assert main(["evaluate", card, "--fit-guard", str(path), "--json"]) == 1
    assert "nothing was reranked" in json.loads(capsys.readouterr().out)["error"]["message"]
    arguments = ["evaluate", card, "--limit", "9", "--rerank", "superglobal", "--fit-guard", str(path), "--json"]
    assert main(arguments) == 1
    assert "10 judged queries or more; got 9" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_an_estimate_runs_nothing_and_needs_rerankers(card: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = evaluated(capsys, card, "--beside", "superglobal", "--beside", "bm25", "--estimate")["expected"]
    assert [row["name"].partition("(")[0] for row in expected] == ["superglobal", "bm25"]
    assert all(row["calls"] == 0 and row["all_queries"]["seconds"] == pytest.approx(12 * row["seconds"], rel=0.01) for row in expected)
    assert main(["evaluate", card, "--estimate", "--json"]) == 1
    assert "an estimate is of rerankers" in json.loads(capsys.readouterr().out)["error"]["message"]
