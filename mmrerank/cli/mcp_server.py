"""`mmrerank mcp [COLLECTION...]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _backend, _output


def mcp_server(
    collections: Annotated[
        list[Path] | None, typer.Argument(help="Folders of collections; with none it only reranks texts.", metavar="[COLLECTION]...")
    ] = None,
    rerank: Annotated[list[str] | None, typer.Option(help=_backend.RERANK)] = None,
    backend: _backend.BackendName = None,
    port: Annotated[
        int | None,
        typer.Option(help="Serve over HTTP at this port of this machine; over standard input and output without.", min=1, max=65535),
    ] = None,
    no_cache: _backend.NoCache = False,
) -> int:
    """Serve collections as tools of an agent (Model Context Protocol)."""
    from mmrerank.collection import Collection
    from mmrerank.integrations.mcp_server import mcp_server

    model, rerankers = _backend.stages(rerank, backend, no_cache=no_cache)
    server = mcp_server([Collection.open(folder) for folder in collections or ()], rerank=rerankers, backend=model)
    if port is None:
        server.run()
    else:
        _output.say(f"serving MCP on http://127.0.0.1:{port}/mcp")
        server.run("streamable-http", host="127.0.0.1", port=port)
    return 0
