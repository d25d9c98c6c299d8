"""The card of `datasets/emoji`: where it comes from, what is in it, how it was split and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping

CARD = """\
# Written by `python -m tools.emoji.make --out datasets/emoji`; do not edit by hand.
name = "emoji"
title = "Emoji: a picture collection with names, an attribute grid and composed queries"
built_with = "python -m tools.emoji.make --out datasets/emoji"
first_id = "{first}"
last_id = "{last}"

[sources.pictures]
what = "Noto Color Emoji, drawn at 109, reduced to 72 x 72 px, 256 colours, transparent ground"
debian_package = "fonts-noto-color-emoji"
version = "{font_version}"
copyright = "2013-2017 Google Inc. (as the package states it)"
licence_font = "SIL Open Font License 1.1"
licence_artwork = "Apache-2.0"

[sources.names]
what = "emoji-test.txt: sequences, names, groups"
debian_package = "unicode-data"
version = "{names_version}"
copyright = "Unicode, Inc."
licence = "Unicode, Inc. License Agreement - Data Files and Software"

[counts]
{counts}

[files]
"pictures.parquet" = {{ sha256 = "{pictures_hash}" }}
"queries.jsonl" = {{ sha256 = "{queries_hash}" }}

[fields.pictures]
key = "slug of the name, unique; the item id is pictures.parquet::KEY"
image = "PNG bytes, palette with transparency; readers lay it on white"
text = "the Unicode name, which is also the text query for the picture"
group = "Unicode group"
subgroup = "Unicode subgroup"
role = "name of the picture without gender, skin tone and hair; for hands and body parts without skin tone; else null"
gender = "woman, man, or person where the sequence states none; null for everything that is not one person"
skin_tone = "light, medium-light, medium, medium-dark, dark; null without a tone (drawn yellow) and for two people of two tones"
hair = "red, curly, white, bald or blond, of plain persons only; null otherwise"
skin_tones = "all tones of the sequence in order; two for pairs of people"
split = "train, dev or test"
codepoints = "the sequence in hexadecimal"

[fields.queries]
query_id = "split and number"
image = "item id of the reference picture"
text = "what shall change"
relevant = "item ids of the target and of its pixel-identical twins; every one has grade 1, all else grade 0"
split = "the split of the target"
change = "the attributes that change, joined by +"

[benchmark]
layout = "lines"
split = "test"
measures = ["R@1", "R@10", "RR@100"]
retriever = "composed"
encoder = "openclip/mini"
data = "."
options = {{ queries = "queries.jsonl", pictures = "pictures.parquet", sources = ["pictures.parquet"] }}

[benchmark.splits]
train = {{ queries = 4448, first_query = "train-0001", last_query = "train-4448" }}
dev = {{ queries = 712, first_query = "dev-0001", last_query = "dev-0712" }}
test = {{ queries = 1871, first_query = "test-0001", last_query = "test-1871" }}

[splits]
unit = "a combination of role, gender, skin tone and hair; pictures without a skin tone or of no single person are all in train"
test = "a quarter of the combinations of every role, drawn by a fixed seed; none of them occurs in train or dev"
dev = "120 combinations drawn from the rest of the roles with at least ten"
values = "every role, gender, skin tone and hair of a held-out combination also occurs in train, in another combination"
query_targets = "a query belongs to the split of its target"
query_references = "train: train pictures; dev: train or dev pictures; test: any picture, so a reference may have been seen in training"
collection = "all pictures of all splits are searched; the reference is left out of the ranking of its own query"

[traps]
twins = "{with_twins} pictures have pixel-identical twins (snowboarder in six tones, some flags); all are in train"
wording = "the wordings of the queries come from one set of templates in every split: unseen are the combinations, not the words"
tones = "a name without a tone means the yellow picture only, not its toned variants"
names = "some names say nothing of what is drawn (Japanese buttons, zodiac), and men and persons of one role can differ by a few pixels"
left_right = "names speak of left and right: do not mirror pictures"
"""


def card(counts: Mapping[str, int], hashes: Mapping[str, str], versions: Mapping[str, str], *, first: str, last: str) -> str:
    """The text of card.toml.

    Args:
        counts: name -> number, in the order to print.
        hashes: file -> SHA-256.
        versions: Debian package -> version.
        first: the first item id.
        last: the last item id.
    """
    return CARD.format(
        first=first,
        last=last,
        font_version=versions["fonts-noto-color-emoji"],
        names_version=versions["unicode-data"],
        counts="\n".join(f"{name} = {number}" for name, number in counts.items()),
        pictures_hash=hashes["pictures.parquet"],
        queries_hash=hashes["queries.jsonl"],
        with_twins=counts["with_twins"],
    )
