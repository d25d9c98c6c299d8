"""The emoji of CLDR as a test across languages: what is asked, what stands beside it, and that nothing of dev and test is learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.benchmark import open_benchmark
from tools.annotations import train as trainer
from tools.annotations.make import SEEN, UNSEEN, Annotation, assign_splits, build, family, read_annotations
from tools.annotations.train import batches, train

ROOT = Path(__file__).parents[3]
EMOJI = "🐶🐱🐭🐹🐰🦊🐻🐼🐨🐯🦁🐮🐷🐸🐵🐔🐧🐦🐤🦆🦅🦉🦇🐺🐗🐴🦄🐝🐛🦋"


def xml(language: str) -> str:
    """A file as CLDR has them: of every emoji a name and keywords, the name among them."""
    names = {one: f'<annotation cp="{one}" type="tts">{language} {n}</annotation>' for n, one in enumerate(EMOJI)}
    rows = [f'<annotation cp="{one}">beast {n} | {language} {n} | animal</annotation>{names[one]}' for n, one in enumerate(EMOJI)]
    return f'<ldml><annotations>{"".join(rows)}<annotation cp="x">no name</annotation></annotations></ldml>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cldr")
    for language in (*SEEN, *UNSEEN):
        (place / f"{language}.xml").write_text(xml(language), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    build(out, folder=folder)
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_name_is_no_keyword_unless_there_is_no_other(tmp_path: Path) -> None:
    path = tmp_path / "de.xml"
    rows = '<annotation cp="🦀">Krebs | krabbe | Tier</annotation><annotation cp="🦀" type="tts">Krebs</annotation>'
    rows += '<annotation cp="🦪">Auster</annotation><annotation cp="🦪" type="tts">Auster</annotation>'
    path.write_text(f"<ldml><annotations>{rows}</annotations></ldml>", encoding="utf-8")
    expected = {"🦀": Annotation(name="Krebs", keywords=("krabbe", "Tier")), "🦪": Annotation(name="Auster", keywords=("Auster",))}
    assert read_annotations(path) == expected
    assert expected["🦀"].text == "krabbe, Tier, Krebs"


def test_a_file_that_is_missing_or_no_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_annotations(tmp_path / "de.xml")
    (tmp_path / "de.xml").write_text("<ldml>", encoding="utf-8")
    with pytest.raises(FormatError, match="no XML"):
        read_annotations(tmp_path / "de.xml")


def test_variants_of_gender_are_in_one_split() -> None:
    emojis = [f"{person}\u200d{work}" for person in "👩👨🧑" for work in "🌾🍳🎓🎤🎨🏫🏭💻💼🔧🔬🚀🚒"] + ["🏃", "🏃\u200d♀", "🏃\u200d♂"]
    splits = assign_splits(emojis)
    assert len({(family(one), split) for one, split in splits.items()}) == len({family(one) for one in emojis}) == 14
    assert set(splits.values()) == {"train", "dev", "test"}
    assert splits == assign_splits(reversed(emojis))


def test_a_list_has_one_right_name_and_the_same_candidates_in_every_language(data: Path) -> None:
    german, english = lines(data / "test-de.jsonl"), lines(data / "test-en.jsonl")
    for one, other in zip(german, english, strict=True):
        assert one["candidates"] == other["candidates"]
        right = [entry["text"] for entry in one["candidates"] if entry["grade"]]
        assert len(right) == 1
        assert right[0].startswith("en ")
        assert right[0].removeprefix("en ") == one["query"].split(", ")[0].removeprefix("beast ")
    places = [[entry["grade"] for entry in line["candidates"]].index(1) for line in lines(data / "train-en.jsonl")]
    assert len(set(places)) > 3  # where the right one stands says nothing


def test_nothing_that_is_learnt_from_is_of_dev_or_test_and_no_pair_is_of_a_language_that_is_unseen(data: Path) -> None:
    learnt = {line["text"].rpartition(" ")[2] for path in [*data.glob("texts-*.jsonl"), *data.glob("pairs*.jsonl")] for line in lines(path)}
    names = {line["text"].removeprefix("en ") for line in lines(data / "corpus.jsonl")}
    assert learnt
    assert names
    assert learnt.isdisjoint(names)
    assert not {line["text"].rpartition("\n")[2].split()[0] for line in lines(data / "pairs.jsonl")} & set(UNSEEN)


def test_the_card_opens_what_the_maker_writes(data: Path) -> None:
    card = (ROOT / "datasets" / "annotations.toml").read_text(encoding="utf-8")
    count = len(lines(data / "dev-uk.jsonl"))
    small = data / "annotations.toml"
    small.write_text(card.replace("queries = 160", f"queries = {count}"), encoding="utf-8")
    benchmark = open_benchmark(small, data, "dev-uk")
    assert len(benchmark.queries) == count
    assert benchmark.shipped_run is not None
    assert all(len(ids) > 1 for ids in benchmark.shipped_run.rankings.values())


def test_batches_are_of_about_the_same_length_and_as_many_as_asked() -> None:
    texts = ["a" * n for n in range(1, 1100)]
    some = list(batches(texts, 20, 0))
    assert len(some) == 20
    assert max(max(map(len, one)) - min(map(len, one)) for one in some[:16]) < 200
    assert some == list(batches(texts, 20, 0))


def test_the_base_is_trained_and_loads(data: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertForPreTraining

    losses = train(data, tmp_path / "base", 12)
    assert losses[-1] < losses[0]
    assert not (tmp_path / "base.checkpoint").exists()
    _, report = BertForPreTraining.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert not report["missing_keys"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert tokenizer.unk_token not in tokenizer.tokenize("nl beast 3, uk animal")


def test_ties_among_pieces_are_broken_the_same_each_time(tmp_path: Path) -> None:
    words = [f"{one}{other}{one}{other}" for one in "abcdefgh" for other in "ijklmnop"]  # every pair of letters as often as any other
    for language in (*SEEN, *UNSEEN):
        (tmp_path / f"texts-{language}.jsonl").write_text("".join(json.dumps({"text": f"{one} {one}"}) + "\n" for one in words))
    vocabularies = [trainer.tokenizer_of(tmp_path).get_vocab() for _ in range(4)]
    assert all(one == vocabularies[0] for one in vocabularies)
    assert len(vocabularies[0]) > len(words)


def test_a_base_that_was_stopped_goes_on_to_the_same_weights(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY", 2)
    train(data, tmp_path / "whole", 5)
    own, count = trainer.loss_of, iter(range(4))

    def stops(*arguments: Any) -> Any:
        next(count)
        return own(*arguments)

    with monkeypatch.context() as once:
        once.setattr(trainer, "loss_of", stops)
        with pytest.raises(StopIteration):
            train(data, tmp_path / "stopped", 5)
    assert (tmp_path / "stopped.checkpoint").is_file()
    assert len(train(data, tmp_path / "stopped", 5)) == 5
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()
