"""Writes the emoji of Unicode CLDR as a test across languages: keywords of an emoji in one language, its name among others in English.

    python -m tools.annotations.make --out data/annotations

    {train,dev,test}-en.jsonl     a query is the keywords of an emoji without its name; `candidates` are its English name and 19 others
    {dev,test}-LANGUAGE.jsonl     the same emoji and candidates, asked for in another language
    corpus.jsonl                  English names of dev and test
    texts-LANGUAGE.jsonl          `text` is what the language says of an emoji of train, and on a line of its own the name once more
    pairs-LANGUAGE.jsonl          the same with the name in English
    pairs.jsonl                   the same with the name in each of the languages that are seen: texts beside their translation

Which emoji are whose is drawn with a seed; those of man, woman and person doing the same are drawn together. Nothing in texts and pairs is
of an emoji of dev or test. Dutch and Ukrainian have no line in pairs.jsonl: no training sees them but that of their own module.

Source: Unicode CLDR 41, common/annotations (Debian package unicode-cldr-core, Unicode licence). Cost: seconds on one core.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmrerank.errors import FormatError, InputError

FOLDER = Path("/usr/share/unicode/cldr/common/annotations")
SEEN = ("en", "de", "fr", "fi", "ru")  # languages that the network beneath all modules is trained on
UNSEEN = ("nl", "uk")  # Dutch and Ukrainian: relatives of languages that were seen, in a script that was
CANDIDATES = 20
SHARES = {"test": 0.18, "dev": 0.09}
SEED = 19
PEOPLE = frozenset("👨👩🧑")
VARIANTS = frozenset("♂♀\u200d\ufe0f") | PEOPLE  # what tells a man's picture from that of a woman or of a person


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What one language says of an emoji."""

    name: str
    keywords: tuple[str, ...]  # without the name, unless there are no others

    @property
    def query(self) -> str:
        return ", ".join(self.keywords)

    @property
    def text(self) -> str:
        return ", ".join(dict.fromkeys((*self.keywords, self.name)))


def read_annotations(path: Path) -> dict[str, Annotation]:
    """Emoji -> what a file of CLDR says of it; those without a name or without keywords are left out.

    Raises:
        InputError: there is no such file.
        FormatError: it is none of CLDR's.
    """
    if not path.is_file():
        raise InputError(f"no file {path}", hint="Install the Debian package unicode-cldr-core, or name its folder of annotations.")
    try:
        rows = list(ElementTree.parse(path).getroot().iter("annotation"))
    except ElementTree.ParseError as error:
        raise FormatError(f"no XML: {error}", path=path) from error
    names = {row.get("cp", ""): (row.text or "").strip() for row in rows if row.get("type") == "tts"}
    words = {row.get("cp", ""): [word.strip() for word in (row.text or "").split("|")] for row in rows if row.get("type") is None}
    return {emoji: _annotation(name, words[emoji]) for emoji, name in names.items() if name and emoji in words}


def _annotation(name: str, words: Sequence[str]) -> Annotation:
    others = tuple(word for word in words if word and word.lower() != name.lower())
    return Annotation(name=name, keywords=others or (name,))


def family(emoji: str) -> str:
    """What an emoji shares with its variants of gender.

    >>> family("🧑\u200d🌾") == family("👩\u200d🌾"), family("👩") == family("🌾")
    (True, False)
    """
    rest = "".join(letter for letter in emoji if letter not in VARIANTS)
    return rest or "person"


def assign_splits(emojis: Iterable[str], *, seed: int = SEED) -> dict[str, str]:
    """Emoji -> train, dev or test, a family at a time."""
    families: dict[str, list[str]] = {}
    for emoji in sorted(emojis):
        families.setdefault(family(emoji), []).append(emoji)
    order = sorted(families)
    random.Random(seed).shuffle(order)
    total, splits = sum(map(len, families.values())), dict[str, str]()
    for name in order:
        taken = {split: sum(value == split for value in splits.values()) for split in SHARES}
        split = next((split for split, share in SHARES.items() if taken[split] < share * total), "train")
        splits |= dict.fromkeys(families[name], split)
    return splits


def code(emoji: str) -> str:
    """The emoji as its code points.

    >>> code("🌾")
    'U+1F33E'
    """
    return " ".join(f"U+{ord(letter):04X}" for letter in emoji)


def lists(split: Sequence[str], words: Mapping[str, Annotation], names: Mapping[str, Annotation]) -> list[dict[str, Any]]:
    """A line for each emoji of a split: its keywords in one language, and its name in another among those of the same split.

    The names beside it, and their order, are the same in every language.
    """
    lines = []
    for emoji in split:
        chance = random.Random(f"{SEED}/{emoji}")
        pool = [emoji, *chance.sample([other for other in split if other != emoji], min(CANDIDATES, len(split)) - 1)]
        chance.shuffle(pool)
        candidates = [
            {"id": code(one), "text": names[one].name, "grade": int(one == emoji), "score": 1 / rank} for rank, one in enumerate(pool, 1)
        ]
        lines.append({"id": code(emoji), "query": words[emoji].query, "candidates": candidates, "qrels": {code(emoji): 1}})
    return lines


def texts(emojis: Iterable[str], words: Mapping[str, Annotation], names: Mapping[str, Annotation]) -> list[dict[str, str]]:
    """Keywords and name on one line, the name on the next."""
    return [{"text": f"{words[emoji].text}\n{names[emoji].name}"} for emoji in emojis]


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def build(out: Path, *, folder: Path = FOLDER) -> dict[str, int]:
    """Writes the files; returns how many lines each has.

    Raises:
        InputError: a language's file is missing.
    """
    known = {language: read_annotations(folder / f"{language}.xml") for language in (*SEEN, *UNSEEN)}
    splits = assign_splits(set.intersection(*(set(annotations) for annotations in known.values())))
    of = {split: [emoji for emoji, value in sorted(splits.items()) if value == split] for split in ("train", "dev", "test")}
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Iterable[Mapping[str, Any]]] = {"train-en": lists(of["train"], known["en"], known["en"])}
    for language, own in known.items():
        files |= {f"{split}-{language}": lists(of[split], own, known["en"]) for split in ("dev", "test")}
        files |= {f"{kind}-{language}": texts(of["train"], own, names) for kind, names in (("texts", own), ("pairs", known["en"]))}
    files["pairs"] = [line for one in SEEN for two in SEEN for line in texts(of["train"], known[one], known[two])]
    files["corpus"] = [{"id": code(emoji), "text": known["en"][emoji].name} for split in ("dev", "test") for emoji in of[split]]
    return {name: _write(out / f"{name}.jsonl", rows) for name, rows in files.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--annotations", type=Path, default=FOLDER, help="CLDR's folder common/annotations")
    options = parser.parse_args(arguments)
    sys.stdout.write(json.dumps(build(options.out, folder=options.annotations)) + "\n")


if __name__ == "__main__":
    main()
