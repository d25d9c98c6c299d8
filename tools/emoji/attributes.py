"""Role, gender, skin tone and hair of an emoji, read from its code points.

Source: Unicode Technical Standard 51 (emoji modifiers, ZWJ sequences); `emoji-test.txt` gives sequences, names and groups.
Names are only looked up, never parsed: the role of a picture is the name of the sequence that is left when skin tone, gender
and hair are taken away.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmrerank.errors import FormatError

JOINER, EMOJI_STYLE = 0x200D, 0xFE0F
SKIN_TONES = {0x1F3FB: "light", 0x1F3FC: "medium-light", 0x1F3FD: "medium", 0x1F3FE: "medium-dark", 0x1F3FF: "dark"}
SIGNS = {0x2640: "woman", 0x2642: "man"}
HAIR = {0x1F9B0: "red", 0x1F9B1: "curly", 0x1F9B3: "white", 0x1F9B2: "bald"}
PERSON, BLOND = 0x1F9D1, 0x1F471
# code point -> its gender and what stands for it when the gender is taken away
GENDERED: dict[int, tuple[str, tuple[int, ...]]] = {
    0x1F468: ("man", (PERSON,)),
    0x1F469: ("woman", (PERSON,)),
    0x1F466: ("man", (0x1F9D2,)),  # boy -> child
    0x1F467: ("woman", (0x1F9D2,)),
    0x1F474: ("man", (0x1F9D3,)),  # old man -> older person
    0x1F475: ("woman", (0x1F9D3,)),
    0x1F934: ("man", (0x1FAC5,)),  # prince -> person with crown
    0x1F478: ("woman", (0x1FAC5,)),
    0x1FAC3: ("man", (0x1FAC4,)),  # pregnant
    0x1F930: ("woman", (0x1FAC4,)),
    0x1F57A: ("man", (0x1F483,)),  # dancing: there is no neutral one, the woman's code point stands for both
    0x1F483: ("woman", (0x1F483,)),
    0x1F385: ("man", (PERSON, JOINER, 0x1F384)),  # Santa Claus -> mx claus
    0x1F936: ("woman", (PERSON, JOINER, 0x1F384)),
    0x1F9D5: ("woman", (0x1F9D5,)),  # woman with headscarf
}
ROLE_NAMES: dict[tuple[int, ...], str] = {(0x1F483,): "dancer", (0x1F9D4,): "person with beard", (0x1F9D5,): "person with headscarf"}
PEOPLE = {"person", "person-gesture", "person-role", "person-fantasy", "person-activity", "person-sport", "person-resting"}
GESTURES = {"hand-fingers-open", "hand-fingers-partial", "hand-single-finger", "hand-fingers-closed", "hands", "hand-prop", "body-parts"}
LINE = re.compile(r"^([0-9A-F ]+); fully-qualified +# \S+ E\d+\.\d+ (.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emoji:
    """One fully-qualified sequence with what its code points say; None where an attribute does not apply."""

    key: str  # readable, unique: the name as a slug
    name: str
    plain_name: str  # the name of the same picture without skin tone
    codepoints: tuple[int, ...]
    group: str
    subgroup: str
    role: str | None = None
    gender: str | None = None  # woman, man, or person where the sequence states none
    skin_tone: str | None = None
    skin_tones: tuple[str, ...] = ()
    hair: str | None = None

    @property
    def combination(self) -> tuple[str, str, str, str] | None:
        """Role, gender, skin tone and hair of one person with a skin tone; None for every other picture."""
        if self.role is None or self.gender is None or self.skin_tone is None:
            return None
        return self.role, self.gender, self.skin_tone, self.hair or ""


def read_names(path: Path) -> list[Emoji]:
    """All fully-qualified sequences of an `emoji-test.txt`, in its order.

    Raises:
        FormatError: a fully-qualified line cannot be read, or two names give one key.
    """
    rows: list[tuple[tuple[int, ...], str, str, str]] = []
    group = subgroup = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ")
        elif "; fully-qualified" in line and not line.startswith("#"):
            match = LINE.match(line)
            if match is None:
                raise FormatError("expected 'CODES ; fully-qualified # picture E1.0 name'", path=path, line=number)
            rows.append((tuple(int(code, 16) for code in match[1].split()), match[2], group, subgroup))
    names = {bare(codes): name for codes, name, _, _ in rows}
    emojis = [described(*row, names=names) for row in rows]
    if len({emoji.key for emoji in emojis}) != len(emojis):
        raise FormatError("two names give the same key", path=path)
    return emojis


def described(codes: tuple[int, ...], name: str, group: str, subgroup: str, *, names: dict[tuple[int, ...], str]) -> Emoji:
    """One sequence with its attributes; `names` maps bare sequences to names."""
    tones = tuple(SKIN_TONES[code] for code in codes if code in SKIN_TONES)
    plain = bare(code for code in codes if code not in SKIN_TONES)
    role, gender, hair = None, None, None
    if subgroup in PEOPLE:
        role, gender, hair = person_attributes(plain, names)
    elif subgroup in GESTURES:
        role = names.get(plain, name.split(":")[0])
    return Emoji(
        key=slug(name),
        name=name,
        # two people of two tones: the sequence without tones has no name where the one-code-point form is the usual one
        plain_name=names.get(plain, name.split(":")[0]),
        codepoints=codes,
        group=group,
        subgroup=subgroup,
        role=role,
        gender=gender,
        skin_tone=tones[0] if len(set(tones)) == 1 else None,
        skin_tones=tones,
        hair=hair,
    )


def person_attributes(plain: tuple[int, ...], names: dict[tuple[int, ...], str]) -> tuple[str, str, str | None]:
    """Role, gender and hair of one person from a bare sequence without skin tone."""
    gender, base, hair = "person", list(plain), None
    if base[-1] in SIGNS:
        gender, base = SIGNS[base[-1]], base[:-2]  # the sign and its joiner
    elif base[0] in GENDERED:
        gender, neutral = GENDERED[base[0]]
        base = [*neutral, *base[1:]]
    if base[-1] in HAIR:
        hair, base = HAIR[base[-1]], base[:-2]
    if base == [BLOND]:
        hair, base = "blond", [PERSON]
    key = tuple(base)
    return ROLE_NAMES.get(key) or names[key], gender, hair


def bare(codes: Iterable[int]) -> tuple[int, ...]:
    """The code points without the invisible one that asks for emoji style."""
    return tuple(code for code in codes if code != EMOJI_STYLE)


def slug(name: str) -> str:
    """A readable key of lower-case letters, digits and hyphens.

    >>> slug("woman firefighter: medium-dark skin tone")
    'woman-firefighter-medium-dark-skin-tone'
    >>> slug("keycap: *"), slug("flag: Côte d’Ivoire")
    ('keycap-asterisk', 'flag-cote-d-ivoire')
    """
    spelled = name.replace("#", "hash").replace("*", "asterisk")
    ascii_only = unicodedata.normalize("NFKD", spelled.replace("’", " ")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")
