"""From spectra and what several models propose for each to ranked peptides: demos/peptides/spectra.mgf and proposals.csv.

python demos/rank_peptides.py --out demo-out

The query is the spectrum as the file has it; the candidates are the proposals. The spectra are simulated, as those are that the shipped
network was trained on: for spectra of an instrument train one of your own.
"""

import argparse
import csv
import re
from collections import defaultdict
from pathlib import Path

from mmrerank import Candidate, Item, Query, make

FOLDER = Path(__file__).parent / "peptides"


def spectra() -> dict[str, str]:
    """Title -> the block of the file."""
    blocks = re.findall(r"BEGIN IONS.*?END IONS", (FOLDER / "spectra.mgf").read_text(encoding="utf-8"), re.DOTALL)
    return {re.search(r"TITLE=(.*)", block)[1]: block for block in blocks}


def proposals() -> dict[str, list[Candidate]]:
    """Title -> a candidate for each model."""
    by_spectrum = defaultdict(list)
    with (FOLDER / "proposals.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            by_spectrum[row["spectrum"]].append(Candidate(item=Item(item_id=row["model"], text=row["sequence"])))
    return by_spectrum


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    ranknovo, lines = make("ranknovo/mini", station="rerankers"), []
    candidates = proposals()
    for title, block in spectra().items():
        ranking = ranknovo.rerank(Query(query_id=title, text=block), candidates[title])
        for rank, hit in enumerate(ranking.candidates, 1):
            lines.append([title, rank, hit.item.text, hit.item.item_id, f"{-hit.raw_score:.2f}"])
        best = ranking.candidates[0].item
        print(f"{title}: {best.text}, proposed by {best.item_id}; {ranking.notes.reasons[best.item_id]}")
    with (out / "peptides.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["spectrum", "rank", "sequence", "model", "distance"], *lines])
    print(f"all of them: {out / 'peptides.csv'}")


if __name__ == "__main__":
    main()
