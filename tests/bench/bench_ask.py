"""Whether `ask` cites the right page first on the shipped handbook, without a model, and admits what the handbook does not say.

Which cost dominates: reading the scanned pages by OCR while the collection is made; a question takes milliseconds.

    python tests/bench/bench_ask.py [--split dev|test]

The weights of `extractive` were chosen on the dev half; the test half is for reporting only. 24 Nov 2026, with tesseract:

    dev   38 of 44 right (.864), 3 of 5 unanswerable questions refused, 2 answerable ones too     before page_weight: .841, 3, 4
    test  35 of 44 right (.795), 2 of 5 refused, 2 answerable ones too                            before page_weight: .773

What did not help on dev: rank_weight of 0, .2, .5 to 2 instead of .35 (.795 to .818, before page_weight); ten pages instead of five
gain as much as page_weight does and not more together with it. With page_weight up to .5 a threshold of .2
gives .886, but then nothing is refused.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

from mmrerank import Collection

HANDBOOK = Path(__file__).parents[2] / "datasets" / "handbook"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    split = parser.parse_args().split
    lines = (HANDBOOK / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == split]
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection.create(folder)
        report = collection.add([HANDBOOK])
        start = time.perf_counter()
        answers = [(row, collection.ask(row["text"]).answer) for row in rows]
        seconds = time.perf_counter() - start
    answerable = [(row, answer) for row, answer in answers if row["answerable"]]
    strangers = [answer for row, answer in answers if not row["answerable"]]
    right = sum(bool(answer.citations) and answer.citations[0].item.item_id in row["relevant"] for row, answer in answerable)
    result = {
        "split": split,
        "answerable": len(answerable),
        "right_page_first": round(right / len(answerable), 3),
        "answerable_refused": sum(not answer.found for _, answer in answerable),
        "unanswerable": len(strangers),
        "unanswerable_refused": sum(not answer.found for answer in strangers),
        "ms_a_question": round(1000 * seconds / len(rows), 1),
    }
    print(
        f"{platform.machine()}, Python {platform.python_version()}; pages {report.found}; {'; '.join(report.notes) or 'none without text'}"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
