"""What the measures of the mini MLLM say: hand-worked gains, an oracle that reaches the ceiling, rubbish that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Notes, Prompt, Query, Status
from tools.mini_mllm.evaluate import Evaluation
from tools.mini_mllm.gallery import draw_trials
from tools.mini_mllm.measures import area_interval, interval, summary
from tools.mini_mllm.samples import distance
from tools.mini_mllm.trials import JudgedQuery, Trial, card_questions, composed, pairs

DATA = Path(__file__).parents[3] / "datasets" / "emoji"


def trial(before: str, after: str, status: Status = "ok") -> Trial:
    """Letters are items; "x" is the right one."""
    first, second = (tuple(Candidate(item=Item(item_id=letter)) for letter in letters) for letters in (before, after))
    judged = JudgedQuery(query=Query(text="x"), relevant=frozenset("x"))
    return Trial(judged=judged, before=first, after=second, notes=Notes(status=status))


def test_gain_ceiling_and_shares_of_four_queries() -> None:
    measures = summary([trial("xab", "xab"), trial("axb", "xab"), trial("xab", "axb"), trial("abc", "cba", "repaired")])
    assert (measures["R@1 first stage"], measures["R@1 reranked"], measures["ceiling"]) == (0.5, 0.5, 0.75)
    assert measures["gain"]["value"] == 0
    assert measures["gain"]["low"] < 0 < measures["gain"]["high"]
    assert (measures["made worse"], measures["made better"]) == (0.25, 0.25)
    assert measures["statuses"] == {"ok": 0.75, "repaired": 0.25}


def test_the_interval_of_the_mean_is_that_of_the_normal_for_many() -> None:
    differences = np.random.default_rng(1).normal(0.2, 1.0, 4000)
    measures = interval(differences)
    half = 1.96 * differences.std() / np.sqrt(4000)
    assert measures["high"] - measures["value"] == pytest.approx(half, rel=0.1)
    assert measures["value"] - measures["low"] == pytest.approx(half, rel=0.1)


def test_the_area_takes_all_queries_together() -> None:
    measures = area_interval([np.array([0.9, 0.1]), np.array([0.3, 0.2])])
    assert measures["value"] == 1.0
    assert area_interval([np.array([0.9, 0.4]), np.array([0.3, 0.2])])["value"] == 0.75  # 0.3 is below 0.4


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return Evaluation(FakeBackend(answer=lambda prompt: "no idea"), DATA, tmp_path_factory.mktemp("work"), "dev", 12)


def test_rubbish_leaves_the_first_stage_and_an_oracle_reaches_the_ceiling(evaluation: Evaluation) -> None:
    rubbish = evaluation.square()
    assert (rubbish["gain"]["value"], rubbish["statuses"], rubbish["made worse"]) == (0.0, {"fallback": 1.0}, 0.0)

    def best(prompt: Prompt) -> str:
        text = "".join(part for message in prompt for part in message.parts if isinstance(part, str))
        words = next(words for words in marks if words in text)
        return json.dumps({"ranking": [marks[words]]})

    queries = composed(evaluation.emoji, DATA, "dev", 12)
    shortlists = [evaluation._retriever("composed").retrieve(one.query, 10).item_ids for one in queries]
    candidates = [[i for i in ids if i != one.own][:9] for ids, one in zip(shortlists, queries, strict=True)]
    marks = {
        str(judged.query.text): next((mark for mark, item_id in enumerate(ids, 1) if item_id in judged.relevant), 1)
        for judged, ids in zip(queries, candidates, strict=True)
    }
    evaluation.backend = FakeBackend(answer=best)
    oracle = evaluation.square()
    assert oracle["R@1 reranked"] == oracle["ceiling"] > oracle["R@1 first stage"]
    assert (evaluation.work / "square-best.png").is_file()


def test_pairs_are_one_attribute_off_and_never_twins(evaluation: Evaluation) -> None:
    emojis = evaluation.table.emojis
    rows = {emoji.key: row for row, emoji in enumerate(emojis)}
    for change in (False, True):
        for pair in pairs(evaluation.table, evaluation.emoji, "dev", 12, change=change):
            assert 1 <= len(pair.negatives) <= 4
            assert pair.target not in pair.negatives
            assert bool(pair.query.images) == change
            target, *negatives = (rows[item_id.split("::")[1]] for item_id in (pair.target, *pair.negatives))
            assert all(distance(emojis[target], emojis[row]) == 1 for row in negatives)
            assert evaluation.table.twins[target] not in evaluation.table.twins[negatives]


def test_card_questions_use_other_words_than_the_cards_and_have_one_answer(evaluation: Evaluation) -> None:
    questions = card_questions(evaluation.table, "dev", 20)
    names = {emoji.key: emoji.name for emoji in evaluation.table.emojis}
    assert all(len(one.relevant) == 1 for one in questions)
    assert sum(names[one.query.query_id] in str(one.query.text) for one in questions) < len(questions) / 2


def test_the_gallery_frames_what_is_right(evaluation: Evaluation) -> None:
    item = evaluation.emoji.item("pictures.parquet::grinning-cat")
    candidates = (Candidate(item=item),)
    judged = JudgedQuery(query=Query(text="a cat", images=(item.image,) if item.image else ()), relevant=frozenset({item.item_id}))
    notes = Notes(reasons={item.item_id: "because " * 90})
    sheet = np.asarray(draw_trials([Trial(judged=judged, before=candidates, after=candidates, notes=notes)]))
    green = (sheet == (0x12, 0x81, 0x3F)).all(axis=-1)
    assert 2 * 900 < green.sum() < 2 * 1200  # two frames of 88 px, 3 px wide
