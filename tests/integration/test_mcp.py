"""Collections as tools of an agent: the protocol's own client, in this process, over standard input and output, and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from makers import coloured
from mcp import Client, StdioServerParameters
from PIL import Image

from mmrerank import Collection
from mmrerank.errors import InputError
from mmrerank.integrations.mcp_server import mcp_server

LINES = [
    {"id": "tide", "text": "Low water is at nine in the morning, and the ferry waits for it."},
    {"id": "soup", "text": "Soup of the day is served from noon."},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A collection of texts and one of pictures."""
    place = tmp_path_factory.mktemp("mcp")
    (place / "photos").mkdir()
    for number in range(3):
        coloured(number, size=(1600, 40)).save(place / "photos" / f"{number}.png")
    (place / "texts.jsonl").write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    Collection.create(place / "notes").add(place / "texts.jsonl")
    Collection.create(place / "harbour", encoders=["openclip/mini"]).add(place / "photos")
    return place / "notes", place / "harbour"


@pytest.fixture
def notes(folders: tuple[Path, Path]) -> Path:
    return folders[0]


async def asked(server: Any, work: Callable[[Client], Awaitable[Any]]) -> Any:
    async with Client(server) as client:
        return await work(client)


def call(folders: Sequence[Path], name: str, **arguments: Any) -> Any:
    server = mcp_server([Collection.open(folder) for folder in folders])
    return asyncio.run(asked(server, lambda client: client.call_tool(name, arguments)))


def records(result: Any) -> Any:
    assert not result.is_error, result.content
    return result.structured_content["result"] if set(result.structured_content) == {"result"} else result.structured_content


def test_an_agent_sees_what_there_is_and_what_each_tool_takes(folders: tuple[Path, Path]) -> None:
    tools = asyncio.run(asked(mcp_server([]), lambda client: client.list_tools())).tools
    assert [tool.name for tool in tools] == ["collections", "search", "ask", "rerank", "picture"]
    assert all(tool.description and all("description" in field for field in tool.input_schema["properties"].values()) for tool in tools)
    entries = records(call(folders, "collections"))
    assert [(entry["name"], entry["items"], entry["takes"][0]) for entry in entries] == [("notes", 2, "text"), ("harbour", 3, "text")]


def test_search_ask_and_rerank(folders: tuple[Path, Path], notes: Path) -> None:
    (hit,) = records(call([notes], "search", text="when is low water", k=1))
    assert (hit["item_id"].endswith("tide"), hit["has_picture"], hit["text"]) == (True, False, LINES[0]["text"])
    alike = records(call(folders, "search", like="1.png", k=2, collection="harbour"))
    assert [hit["has_picture"] for hit in alike] == [True, True]
    answer = records(call([notes], "ask", question="When is low water?"))
    assert (answer["found"], answer["citations"][0]["item_id"]) == (True, hit["item_id"])
    order = records(call([], "rerank", query="low water", documents=["soup of the day", "low water at nine"]))
    assert [one["index"] for one in order] == [1, 0]


def test_a_picture_is_shown_no_larger_than_an_agent_needs(folders: tuple[Path, Path]) -> None:
    (content,) = call(folders, "picture", item_id="1.png", collection="harbour").content
    assert content.mime_type == "image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(content.data))).size == (1200, 30)


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search", {"text": "x", "collection": "harbor"}, "harbour"),
        ("search", {"text": "x"}, "name a collection; there are: notes, harbour"),
        ("search", {"text": "x", "filter": "nothing = 1", "collection": "notes"}, "filter"),
        ("picture", {"item_id": "9.png", "collection": "harbour"}, "9.png"),
    ],
)
def test_what_cannot_be_done_is_a_tool_error_with_the_way_out(
    folders: tuple[Path, Path], tool: str, arguments: dict[str, Any], words: str
) -> None:
    result = call(folders, tool, **arguments)
    assert result.is_error
    assert words in result.content[0].text


def test_a_text_has_no_picture_and_that_is_said(notes: Path) -> None:
    item_id = records(call([notes], "search", text="soup", k=1))[0]["item_id"]
    result = call([notes], "picture", item_id=item_id)
    assert (result.is_error, "has no picture" in result.content[0].text) == (True, True)


def test_what_others_index_meanwhile_is_seen(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text(json.dumps({"id": "gull", "text": "A gull sits on the crane."}), encoding="utf-8")
    server = mcp_server([Collection.open(notes)])
    Collection.open(notes).add(tmp_path / "more.jsonl")
    hits = asyncio.run(asked(server, lambda client: client.call_tool("search", {"text": "gull crane", "k": 1})))
    assert records(hits)[0]["item_id"].endswith("gull")


def test_two_collections_of_one_name_are_refused(notes: Path) -> None:
    with pytest.raises(InputError, match="one name"):
        mcp_server([Collection.open(notes), Collection.open(notes)])


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "mmrerank.cli", "mcp", *words]


def test_over_standard_input_and_output(notes: Path) -> None:
    program, *words = command(str(notes))
    server = StdioServerParameters(command=program, args=words, env=dict(os.environ))
    result = asyncio.run(asked(server, lambda client: client.call_tool("search", {"text": "when is low water", "k": 1})))
    assert records(result)[0]["item_id"].endswith("tide")


def test_over_http(notes: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(command(str(notes), "--port", str(port)), stderr=subprocess.PIPE) as process:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None
                    time.sleep(0.1)
            place = f"http://127.0.0.1:{port}/mcp"
            result = asyncio.run(asked(place, lambda client: client.call_tool("ask", {"question": "When is low water?"})))
            assert records(result)["found"]
        finally:
            process.terminate()
