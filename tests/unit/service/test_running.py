"""Where the service listens."""

from __future__ import annotations

import socket

import httpx
import pytest
from served import serving

from mmrerank.errors import InputError
from mmrerank.service.running import bound


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The protocol of each connection that is accepted."""
    seen: list[int] = []
    accept = socket.socket.accept

    def noted(listening: socket.socket) -> tuple[socket.socket, object]:
        connection, address = accept(listening)
        seen.append(connection.proto)
        return connection, address

    monkeypatch.setattr(socket.socket, "accept", noted)
    return seen


def test_small_replies_are_sent_at_once(accepted: list[int]) -> None:
    with serving() as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
    assert accepted == [socket.IPPROTO_TCP], "asyncio turns off the wait for connections of this protocol alone"


def test_a_port_that_is_taken_or_an_address_that_is_elsewhere_is_said() -> None:
    with bound("127.0.0.1", 0) as first, pytest.raises(InputError, match="Address already in use"):
        bound("127.0.0.1", first.getsockname()[1])
    with pytest.raises(InputError, match="cannot listen at 192"):
        bound("192.0.2.1", 0)
