"""Index the shipped emoji, search by text, by picture, and by picture and what should be different. Writes a sheet per query.

python demos/search_pictures.py --out demo-out
"""

import argparse
from pathlib import Path

from mmrerank import Collection, Query
from mmrerank.sheet import draw_sheet

EMOJI = Path(__file__).parents[1] / "datasets" / "emoji" / "pictures.parquet"


def opened(folder: Path) -> Collection:
    if (folder / "collection.toml").exists():
        return Collection.open(folder)
    collection = Collection.create(folder, encoders=["openclip/mini"])
    collection.add([EMOJI])
    return collection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    out = parser.parse_args().out
    emoji = opened(out / "emoji")
    firefighter = emoji.item("pictures.parquet::woman-firefighter").image
    queries = {
        "text": Query(text="red heart"),
        "picture": Query(images=(firefighter,)),
        "composed": Query(images=(firefighter,), text="the same, but a man", exclude_text=("a man raising a hand",)),
    }
    for name, query in queries.items():
        result = emoji.search(query, k=6)
        draw_sheet(result, title=name).save(out / f"demo-{name}.png")
        print(f"{name}: {', '.join(hit.item.text or '' for hit in result.hits[:3])}")


if __name__ == "__main__":
    main()
