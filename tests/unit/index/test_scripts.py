"""What is quick for words of ASCII says what the patterns of all scripts say."""

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mmrerank.index import _words

ASCII = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=30)


@given(ASCII)
def test_pieces_of_ascii_are_those_of_any_script(text):
    for compound in _words._COMPOUND.findall(_words.normal(text)):
        assert _words._pieces(compound) == _words._any_piece().findall(compound)
        assert not any(_words._without_spaces().match(piece) for piece in _words._pieces(compound))


def test_every_vowel_sign_below_the_astral_planes_is_a_mark():
    marks = [code for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    assert marks == _words._MARK_CODES, sys.version
