"""Composed queries over the emoji grid: a picture and what shall change about it.

Source: ours. A change names one or two of role, gender, skin tone and hair; all else stays, so each query has one target.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.emoji.attributes import Emoji

CHANGES = (
    ("skin_tone",),
    ("gender",),
    ("role",),
    ("hair",),
    ("gender", "skin_tone"),
    ("role", "skin_tone"),
    ("gender", "role"),
    ("hair", "skin_tone"),
    ("gender", "hair"),
)
LEADS_NOUN = ("make it {}", "now as {}", "the same, but as {}", "turn this into {}", "change it to {}", "the same picture, but {}")
LEADS_WITH = (
    "the same, but with {}",
    "give it {}",
    "now with {}",
    "the same picture with {}",
    "change it to have {}",
    "like this, only with {}",
)
TONES = ("{} skin", "{} skin tone", "a {} skin tone", "{} skin colour")
HAIR = {
    "red": ("red hair", "ginger hair"),
    "blond": ("blond hair", "fair hair"),
    "curly": ("curly hair", "curls"),
    "white": ("white hair", "hair that is white"),
    "bald": ("a bald head", "no hair"),
}
NOUNS = {
    "breast-feeding": "someone breast-feeding",
    "horse racing": "someone racing a horse",
    "mx claus": "mx claus",
    "Santa Claus": "Santa Claus",
    "Mrs. Claus": "Mrs. Claus",
}


def with_article(noun: str) -> str:
    """The noun with its indefinite article.

    >>> with_article("office worker"), with_article("pilot")
    ('an office worker', 'a pilot')
    """
    return NOUNS.get(noun) or f"{'an' if noun[0].lower() in 'aeio' else 'a'} {noun}"


def noun(emoji: Emoji) -> str:
    """The person in words, with role and gender, without skin tone and hair style.

    >>> noun(Emoji(key="k", name="man: medium skin tone, beard", plain_name="man: beard", codepoints=(), group="", subgroup=""))
    'man with beard'
    """
    name = emoji.plain_name
    return name.split(":")[0] if emoji.hair else name.replace(": ", " with ")


def wording(change: Sequence[str], target: Emoji, chance: random.Random) -> str:
    """One of the ways to ask for the changed attributes of the target, for instance 'now as a pilot with dark skin'."""
    extras = []
    if "hair" in change and target.hair:
        extras.append(chance.choice(HAIR[target.hair]))
    if "skin_tone" in change and target.skin_tone:
        extras.append(chance.choice(TONES).format(target.skin_tone))
    chance.shuffle(extras)
    whom = _whom(change, target)
    if whom is None:
        return chance.choice(LEADS_WITH).format(" and ".join(extras))
    return chance.choice(LEADS_NOUN).format(" with ".join([whom, " and ".join(extras)]) if extras else whom)


def _whom(change: Sequence[str], target: Emoji) -> str | None:
    """Whom a changed role or gender makes of the picture; None when neither changes."""
    if "role" in change and ("gender" not in change or target.gender == "person"):
        neutral = with_article(target.role or "")
        return neutral if "gender" not in change else f"a gender-neutral {target.role}"
    if "role" in change:
        return with_article(noun(target))
    if "gender" in change and target.role == "child":
        return {"man": "a boy", "woman": "a girl"}.get(target.gender or "", "a gender-neutral child")
    if "gender" in change:
        return {"man": "a man", "woman": "a woman"}.get(target.gender or "", "a gender-neutral person")
    return None


def differences(reference: Emoji, target: Emoji) -> tuple[str, ...]:
    """The attributes in which two pictures differ, in alphabetical order."""
    return tuple(name for name in ("gender", "hair", "role", "skin_tone") if getattr(reference, name) != getattr(target, name))


def askable(reference: Emoji, target: Emoji) -> bool:
    """Whether the way from one picture to the other is a change that has words."""
    change = differences(reference, target)
    if change not in CHANGES or target.role is None or target.gender is None:
        return False
    if "role" in change and (target.role == "person" or target.hair):
        return False  # "now as a person" would say nothing
    if change == ("gender", "role") and target.gender == "person" and target.role in NOUNS:
        return False  # nobody says "a gender-neutral Mrs. Claus"
    return not (("hair" in change and target.hair is None) or ("skin_tone" in change and target.skin_tone is None))


def composed_queries(
    emojis: Sequence[Emoji], splits: Mapping[str, str], twins: Mapping[str, Sequence[str]], *, prefix: str, seed: int
) -> list[dict[str, Any]]:
    """For each target with a combination one query per kind of change, from a reference drawn at random.

    Args:
        emojis: all pictures.
        splits: key -> train, dev or test. A query belongs to the split of its target; the reference of a train query is a train
            picture, that of a dev query a train or dev picture, that of a test query any picture.
        twins: key -> keys of pixel-identical pictures, itself included; missing keys have none.
        prefix: what an item id has before the key.
        seed: of references and wordings.
    """
    chance = random.Random(seed)
    allowed = {"train": {"train"}, "dev": {"train", "dev"}, "test": {"train", "dev", "test"}}
    people = [emoji for emoji in emojis if emoji.role is not None and emoji.gender is not None]
    numbers = dict.fromkeys(allowed, 0)
    queries = []
    for target in people:
        if target.combination is None:
            continue
        split = splits[target.key]
        references = [emoji for emoji in people if splits[emoji.key] in allowed[split]]
        for change, group in _by_change(target, references, twins.get(target.key, ())):
            reference = chance.choice(group)
            numbers[split] += 1
            queries.append(
                {
                    "query_id": f"{split}-{numbers[split]:04d}",
                    "image": prefix + reference.key,
                    "text": wording(change, target, chance),
                    "relevant": [prefix + key for key in twins.get(target.key, [target.key])],
                    "split": split,
                    "change": "+".join(change),
                }
            )
    return queries


def _by_change(target: Emoji, references: Iterable[Emoji], excluded: Sequence[str]) -> list[tuple[tuple[str, ...], list[Emoji]]]:
    """The references from which the target can be asked for, by kind of change, in the order of CHANGES."""
    groups: dict[tuple[str, ...], list[Emoji]] = {}
    for reference in references:
        if reference.key not in excluded and askable(reference, target):
            groups.setdefault(differences(reference, target), []).append(reference)
    return [(change, groups[change]) for change in CHANGES if change in groups]
