"""Whose key goes to which server."""

from __future__ import annotations

import pytest

from mmrerank.cli._backend import key_for

ELSEWHERE = "chat_http/https://models.example.org/v1#some"
OPENAI = "chat_http/https://api.openai.com/v1#some"


@pytest.mark.parametrize(
    ("own", "openai", "name", "expected"),
    [
        ("", "sk-2", ELSEWHERE, None),
        ("", "sk-2", "chat_http/https://api.openai.com.example.org/v1#some", None),
        ("", "sk-2", OPENAI, "sk-2"),
        ("sk-1", "sk-2", ELSEWHERE, "sk-1"),
        ("sk-1", "sk-2", OPENAI, "sk-1"),
    ],
)
def test_the_key_of_openai_goes_to_openai_alone(
    monkeypatch: pytest.MonkeyPatch, own: str, openai: str, name: str, expected: str | None
) -> None:
    monkeypatch.setenv("MMRERANK_API_KEY", own)
    monkeypatch.setenv("OPENAI_API_KEY", openai)
    assert key_for(name) == expected
