"""A reranker of your own, without touching the package: any object with `name` and `rerank` goes where a name goes.

python demos/write_a_reranker.py --out demo-out

On the command line it goes by its place, wherever the name of a reranker goes; its folder is on PYTHONPATH then:

PYTHONPATH=demos mmrerank search demo-out/handbook --text "how many pictures?" --rerank "write_a_reranker:ShortestFirst(depth=10)"
"""

import argparse
from pathlib import Path

from mmrerank import Candidate, Collection, Query, Ranking
from mmrerank.types import Notes

HANDBOOK = Path(__file__).parents[1] / "datasets" / "handbook"


class ShortestFirst:
    """Short pages first."""

    name = "shortest_first"

    def rerank(self, query: Query, candidates: list[Candidate]) -> Ranking:
        words = {candidate.item.item_id: len((candidate.item.text or "").split()) for candidate in candidates}
        order = sorted(candidates, key=lambda candidate: words[candidate.item.item_id])
        reasons = {item_id: f"{count} words" for item_id, count in words.items()}
        ranked = tuple(Candidate(item=candidate.item) for candidate in order)  # an order only: no scores
        return Ranking(query_id=query.query_id, candidates=ranked, notes=Notes(reasons=reasons))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    folder = parser.parse_args().out / "handbook"
    collection = Collection.open_or_create(folder)
    collection.add([HANDBOOK])
    for hit in collection.search("how many pictures does the index hold?", k=5, rerank=[ShortestFirst()], depth=10).hits:
        print(f"{hit.rank}. {hit.item.item_id} ({hit.reason})")


if __name__ == "__main__":
    main()
