"""Docstrings as the documentation shows them: examples fenced as code, and fields described by the comments beside them.

A griffe extension, named in `mkdocs.yml`. What a field of a record means stands beside it in the source; an example in a docstring
is a doctest, which Markdown would take for a quotation.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import lru_cache
from typing import Any

import griffe

TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)$", re.MULTILINE)
INDENT = re.compile(r"^ *")


class SourceComments(griffe.Extension):
    """Completes what griffe read, when a package has been loaded."""

    def on_instance(self, *, node: ast.AST | griffe.ObjectNode, obj: griffe.Object, agent: Any, **kwargs: Any) -> None:
        """Fences the examples of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = with_fences(one_by_one(obj.docstring.value))

    def on_class_members(self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, agent: Any, **kwargs: Any) -> None:
        """Lists fields with the comments beside them behind the docstring of their class."""
        comments = comments_by_line(agent.code) if isinstance(node, ast.ClassDef) else {}
        fields = [field for field in cls.members.values() if isinstance(field, griffe.Attribute) and field.endlineno in comments]
        if fields:
            lines = [f"    {field.name}: {comments[field.endlineno]}" for field in fields if field.endlineno]
            docstring = cls.docstring.value if cls.docstring else ""
            text = "\n".join(["", docstring, "", "Attributes:", *lines])  # the first line would not count for the indent
            style = {"parser": agent.docstring_parser, "parser_options": agent.docstring_options}
            cls.docstring = griffe.Docstring(text, parent=cls, **style)


def one_by_one(text: str) -> str:
    """The text with arguments that are described together, as "retriever, depth: as in `search`.", each on a line of its own.

    >>> print(one_by_one("Args:\\n    retriever, depth: as in `search`."))
    Args:
        retriever: as in `search`.
        depth: as in `search`.
    """
    return TOGETHER.sub(lambda match: "\n".join(f"{match[1]}{name}: {match[3]}" for name in match[2].split(", ")), text)


def with_fences(text: str) -> str:
    """The text with each run of `>>>` lines, and what they print, as a block of code."""
    lines: list[str] = []
    indent: str | None = None  # of the block that is open
    for line in text.splitlines():
        if indent is None and line.lstrip().startswith(">>> "):
            indent = INDENT.match(line)[0]  # type: ignore[index]
            lines.append(f"{indent}```pycon")
        elif indent is not None and not line.strip():
            lines.append(f"{indent}```")
            indent = None
        lines.append(line)
    return "\n".join(lines if indent is None else [*lines, f"{indent}```"])


@lru_cache(maxsize=4)
def comments_by_line(source: str) -> dict[int, str]:
    """The comment at the end of each line that has one, without its mark; lines count from 1.

    >>> comments_by_line("depth: int = 16  # how many are drawn")
    {1: 'how many are drawn'}
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
