"""Whether `ask` cites the right page first on the shipped handbook, without a model, and admits what the handbook does not say.

Which cost dominates: reading the scanned pages by OCR while the collection is made; a question takes milliseconds.

    python tests/bench/bench_ask.py [--split dev|test]

The weights of `extractive` were chosen by cross-validation over the documents of two dev halves: of the handbook, and of MMLongBench-Doc
(right page first among five, text layers, in the document and over the whole set); the threshold on the handbook's. The test half is
for reporting only. 26 Nov 2026, with tesseract:

    dev   39 of 44 right (.886), 4 of 5 unanswerable questions refused, no answerable one     24 Nov: .864, 3, 2
    test  37 of 44 right (.841), 1 of 5 refused, 1 answerable one too                         24 Nov: .795, 2, 2
    dev   40 of 44 (.909) since long tables are cut into lines that leave out no word and take none from elsewhere; test not run again
    right page first on MMLongBench-Doc dev, in the document and over the whole set: .484 and .402, nested choice .482 and .398
    (24 Nov .475 and .393; the first page of `lexical` .455 and .377)

What brought it: words weigh by their rarity among all pages, no longer among the passages of the five pages that were found; and what
is refused goes by the coverage of the best page. Area under the curve of that, answerable against unanswerable: handbook dev .91 (with
the former rarity .83, former support .80), MMLongBench-Doc dev .60 (.56, .56), where much of what is asked after is drawn.

What did not help, right page first on MMLongBench-Doc dev in the document / over the set / handbook dev, beside .484 / .402 / .886:

- the score of the first stage in place of 1 / rank: .492 / .402 / .886, but a reranker's scores have other scales.
- an answer of the kind asked for (a length for "how high", degrees for "how cold", a name for "who", any number for "how many"),
  worth .05 to .2: .471 to .484 / .393 to .402 / .864 to .909.
- page weight of 0 to .6, ten pages instead of five: -.02 to .00, .00, -.02 to .00.
- passages of one or two sentences, of up to ten, of at most 30 or 40 words: -.02 to .00 / -.01 to .00 / -.05 to .00.
- words that the title or the file name of the document says, or the path of headings, counted as covered everywhere in it:
  .480 to .484 / .398 to .406 / .864 to .886.
- with 0 to .8 of: rarity squared, nearness of the words, repeats of words, the mean of the best eight passages, lines that look like
  headings, the length of passages and pages: .443 to .488 / .365 to .406 / .841 to .909, none better in all three.
- rarity within the document, openings, pairs of words, first, short, or number-rich pages: -.03 to +.02 / -.04 to +.01 / .00.
- pages of contents last: of 244 first pages one was one that did not answer.
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
