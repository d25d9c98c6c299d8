"""The page with every command and its options, read from the command line itself."""

from __future__ import annotations

import inspect
from typing import Any

from typer.main import get_command

from mmrerank.cli import app


def page() -> str:
    """All commands as Markdown."""
    group: Any = get_command(app)
    return "\n".join(command(name, verb) for name, verb in group.commands.items())


def command(name: str, verb: Any) -> str:
    """One command: what it does, how it is written, a table of what it takes."""
    arguments = " ".join(argument_form(p) for p in verb.params if p.param_type_name == "argument")
    lines = [
        f"## {name}\n",
        f"{inspect.cleandoc(verb.help or '')}\n",
        f"```text\nmmrerank {name} {arguments}".rstrip() + "\n```\n",
        "| argument, option | default | meaning |",
        "|---|---|---|",
        *(f"| {spelled(p)} | {default(p)} | {meaning(p)} |" for p in verb.params),
    ]
    return "\n".join([*lines, ""])


def argument_form(parameter: Any) -> str:
    word = str(parameter.metavar or parameter.name.upper())
    return word if parameter.required or word.startswith("[") else f"[{word}]"


def spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{argument_form(parameter)}`"
    return ", ".join(f"`{flag}`" for flag in parameter.opts)


def default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    return "" if parameter.default in (None, False, []) or parameter.multiple else f"`{parameter.default}`"


def meaning(parameter: Any) -> str:
    """The help of a parameter as Markdown; rich's escapes are taken out."""
    return str(parameter.help or "").replace("\\[", "[").replace("|", "\\|")
