"""`mmrerank serve [COLLECTION...]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _backend, _output


def serve(
    collections: Annotated[
        list[Path] | None, typer.Argument(help="Folders of collections; none: rerank only.", metavar="[COLLECTION]...")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    rerank: Annotated[list[str] | None, typer.Option(help="Reranker to offer, NAME or ALIAS=NAME; the first is the default.")] = None,
    backend: _backend.BackendName = None,
    encoder: Annotated[str | None, typer.Option(help="Encodes candidates for rerankers that work on descriptors.")] = None,
    no_cache: _backend.NoCache = False,
) -> int:
    """Serve collections and rerankers over HTTP, with a web page."""
    from mmrerank.service.app import create_app
    from mmrerank.service.running import run
    from mmrerank.service.settings import Settings, named, token_from_environment

    settings = Settings(
        collections=tuple(collections or ()),
        rerankers=named(rerank or ()),
        backend=backend,
        encoder=encoder,
        api_key=_backend.key_for(backend or ""),
        cache=None if no_cache else _backend.cache_folder(),
        token=token_from_environment(),
    )
    run(create_app(settings), host, port, stop_seconds=settings.load.stop_seconds, say=_output.say)
    return 0
