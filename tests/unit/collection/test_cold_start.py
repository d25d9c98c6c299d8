"""What a search over texts does without: modules that cost a fresh process more than the search."""

import subprocess
import sys

from mmrerank import Collection, Query

HEAVY = ("email.policy", "xml.etree.ElementTree", "html.parser", "torch", "faiss", "bm25s", "scipy", "pandas")


def test_a_search_over_texts_imports_no_parser_and_no_model(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "tides.txt").write_text("Tides of the harbour, by the gauge.", encoding="utf-8")
    collection = Collection.create(tmp_path / "c")
    collection.add(tmp_path / "texts")
    collection.search(Query(text="tides"))  # which builds the index of words
    code = f"""
import sys, lance  # whose own imports are not ours
before = set(sys.modules)
from mmrerank.cli import main
main(["search", {str(tmp_path / "c")!r}, "--text", "tides", "--json"])
print(sorted(set({HEAVY!r}) & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    hits, modules = done.stdout.splitlines()
    assert '"item_id": "tides.txt#part=1"' in hits
    assert modules == "[]"
