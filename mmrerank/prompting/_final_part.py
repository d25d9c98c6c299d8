"""What of a model's text is its answer: reasoning, tags, boxes, fences, labels and the writing of other scripts taken away.

    '<think>1 or 2?</think> <ANSWER>```［3］＞［１］```'   ->   '[3]>[1]', closed

Source: ours; the tags are those that released models write (R1 and its kin `<think>`, Magistral `[THINK]`, Kimi `◁think▷`, GLM-V's box
tokens, LaTeX's \\boxed), by their templates and by the notes on the methods.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

THOUGHTS = r"(?:think|thinking|thought|thoughts|reason|reasoning|analysis|scratchpad)"
THOUGHT_BEGINS = re.compile(rf"<\s*{THOUGHTS}\s*>|\[THINK\]|◁think▷|<\|begin_of_thought\|>", re.IGNORECASE)
THOUGHT_ENDS = re.compile(rf"<\s*/\s*{THOUGHTS}\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>", re.IGNORECASE)
ANSWERS = r"(?:answer|final_answer|final|ranking|rerank|order|result|output|solution)"
ANSWER_BEGINS = re.compile(rf"<\s*{ANSWERS}\s*>|<\|begin_of_box\|>|<\|begin_of_solution\|>", re.IGNORECASE)
ANSWER_ENDS = re.compile(rf"<\s*/\s*{ANSWERS}\s*>|<\|end_of_box\|>|<\|end_of_solution\|>", re.IGNORECASE)
BOX = re.compile(r"\\boxed\s*\{")
LABEL = re.compile(  # "### Final Reranking:", "So the answer is:", at the beginning of a line
    r"^[^\w\n]{0,9}(?:(?:so|thus|therefore|hence),? )?(?:(?:the|my|our) )?(?:final |correct |best |overall )?"
    r"(?:re-?ranking|ranking|ranked (?:list|order)|order|ordering|answer|output|result|conclusion)"
    r"(?: (?:is|are|would be|of [^:\n]{1,40}|\([^()\n]{1,40}\)))?[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
TEMPLATE = re.compile(  # tokens of chat templates, without those that begin or end a thought or an answer
    r"<\|(?!(?:begin|end)_of_(?:thought|box|solution))[^|<>\n]{1,40}\|>|</?s>|<(?:eos|bos|pad|end_of_turn|start_of_turn)>"
)
IN_ANGLES = re.compile(r"<\|?((?:image|img|picture|page|doc|document|passage|mark)?[ _-]?(?:id)?[ _-]?\d{1,4})\|?>", re.IGNORECASE)
BULLET = re.compile(r"^([ \t]*)\*[ \t]+", re.MULTILINE)
MARKUP = re.compile(r"^[ \t]*```[\w+-]*|```|`|(?<![/*])\*+(?![/*])|__+", re.MULTILINE)
SIGNS = str.maketrans(
    {
        **dict.fromkeys("［【〔「『〖⟦", "["),
        **dict.fromkeys("］】〕」』〗⟧", "]"),
        **dict.fromkeys("（", "("),
        **dict.fromkeys("）", ")"),
        **dict.fromkeys("，、،､", ","),
        **dict.fromkeys("；؛", ";"),
        **dict.fromkeys("：", ":"),
        **dict.fromkeys("＞〉≻⟩›»≫", ">"),
        **dict.fromkeys("→⟶➔➜⇒➡", ">"),
        **dict.fromkeys("＝", "="),
        **dict.fromkeys("＃", "#"),
        **dict.fromkeys("｛", "{"),
        **dict.fromkeys("｝", "}"),
        **dict.fromkeys("“”„«〝〞＂", '"'),
        **dict.fromkeys("‘’‚＇", "'"),
        **dict.fromkeys("‐‑‒–—―−－", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\ufe0f\u20e3", None),
    }
)
ARROWS = re.compile(r"\\(?:succ|to|rightarrow|Rightarrow|gt)\b|--?>|=>")
LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}|\\[,;! ]|\\left|\\right|\$")
CIRCLED = {chr(0x2460 + n): str(n + 1) for n in range(20)}  # the marks of a list in CJK text


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalPart:
    """The answer as text, or why there is none."""

    text: str
    closed: bool = True  # whether it ends by a tag or box of its own, so that nothing can be missing
    tagged: bool = False  # whether it stood in a tag or box: nothing in it is mere talk
    why: str = ""  # set where there is no answer to read


def final_part(text: str) -> FinalPart:
    """The last answer behind the last reasoning, in ASCII digits and brackets.

    A thought that never ends has no answer, unless the text ends with the only answer block there is.

    >>> final_part("<think>2?</think> <answer> [١, ٢] </answer>").text
    '[1, 2]'
    >>> final_part("<think>Image 1 shows a boat, so").why
    'the reasoning breaks off before an answer'
    """
    behind = plain(text)
    if not behind.strip():
        return FinalPart(text="", why="the answer is empty")
    behind = behind[max((match.end() for match in THOUGHT_ENDS.finditer(behind)), default=0) :]
    begun = THOUGHT_BEGINS.search(behind)
    if begun is not None:
        block = _only_block_at_the_end(behind[begun.end() :])
        return FinalPart(text=block, tagged=True) if block else FinalPart(text="", why="the reasoning breaks off before an answer")
    part = _tagged(behind) or _boxed(behind) or FinalPart(text=behind.strip(), closed=False)
    return part if part.text else FinalPart(text="", why="there is no answer behind the reasoning")


def plain(text: str) -> str:
    """The text with digits, brackets and signs of other scripts and of markup as ASCII writes them.

    >>> plain("**［３］** ＞ [①] -> $\\\\text{Bild 2}$")
    '[3] > [1] > Bild 2'
    """
    ascii_signs = html.unescape(text).translate(SIGNS)
    digits = "".join(CIRCLED.get(sign) or _ascii_digit(sign) for sign in ascii_signs)
    bare = LATEX.sub(lambda match: match[1] or "", TEMPLATE.sub(" ", IN_ANGLES.sub(r"[\1]", digits)))
    # long runs of blanks would be looked through over and over
    spaced = re.sub(r"\s*\n\s*\n\s*", "\n\n", re.sub(r"[^\S\n]+", " ", bare))
    return ARROWS.sub(">", MARKUP.sub("", BULLET.sub(r"\1- ", spaced)))


def _ascii_digit(sign: str) -> str:
    return sign if sign.isascii() else str(unicodedata.decimal(sign, sign))


def behind_label(text: str) -> str:
    """What follows the last label such as "Final ranking:", or the whole text where there is none.

    >>> behind_label("Step 1: compare.\\n### Final Reranking: [2] > [1]")
    '[2] > [1]'
    """
    ends = [match.end() for match in LABEL.finditer(text)]
    return text[ends[-1] :].strip() if ends else text


def _tagged(text: str) -> FinalPart | None:
    """The last block in answer tags; one that is never closed ends with the text."""
    begins = [match.end() for match in ANSWER_BEGINS.finditer(text)]
    if not begins:
        return None
    end = ANSWER_ENDS.search(text, begins[-1])
    return FinalPart(text=text[begins[-1] : end.start() if end else len(text)].strip(), closed=end is not None, tagged=True)


def _only_block_at_the_end(text: str) -> str:
    begins, ends = list(ANSWER_BEGINS.finditer(text)), list(ANSWER_ENDS.finditer(text))
    if len(begins) == len(ends) == 1 and begins[0].end() <= ends[0].start() and not text[ends[0].end() :].strip():
        return text[begins[0].end() : ends[0].start()].strip()
    return ""


def _boxed(text: str) -> FinalPart | None:
    r"""What stands in the last \boxed{...}, to the brace that belongs to it."""
    begins = [match.end() for match in BOX.finditer(text)]
    if not begins:
        return None
    depth, start = 1, begins[-1]
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return FinalPart(text=text[start:position].strip(), tagged=True)
    return FinalPart(text=text[start:].strip(), closed=False, tagged=True)
