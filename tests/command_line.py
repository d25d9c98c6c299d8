"""The command line as programs use it: one call, one JSON object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mmrerank.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and result of a command with `--json`."""
    code = main([*map(str, arguments), "--json"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1, "one JSON object on stdout and nothing else"
    return code, json.loads(out)
