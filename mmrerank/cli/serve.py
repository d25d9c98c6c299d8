"""`mmrerank serve [COLLECTION...]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _backend, _output


def serve(
    collections: Annotated[
        list[Path] | None, typer.Argument(help="Folders of collections; with none it only reranks.", metavar="[COLLECTION]...")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; beyond this machine only with MMRERANK_TOKEN set.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    rerank: Annotated[
        list[str] | None, typer.Option(help="Reranker to offer, NAME or ALIAS=NAME with NAME as in search; the first is `default`.")
    ] = None,
    retriever: Annotated[list[str] | None, typer.Option(help="First stage to offer beside those that ship.")] = None,
    backend: _backend.BackendName = None,
    encoder: Annotated[str | None, typer.Option(help="Encodes candidates for rerankers that work on descriptors.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Host name by which clients address the service, such as behind a proxy.")] = None,
    fetch_from: Annotated[
        list[str] | None, typer.Option(help="Host from which pictures may be fetched, of an intranet too; nothing is without.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Origin of pages elsewhere that may ask, such as https://app.example.com, or *.")
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Write a line for each reply to standard error.")] = False,
    workers: Annotated[int, typer.Option(help="Requests worked on at once.", min=1)] = 16,
    queue: Annotated[int, typer.Option(help="Requests that may wait beside those.", min=0)] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds that an answer may take.")] = 120.0,
    max_body: Annotated[float, typer.Option(help="MiB that a request may have.")] = 32.0,
    no_cache: _backend.NoCache = False,
) -> int:
    """Serve collections and rerankers over HTTP, with a web page."""
    from mmrerank.service.app import create_app
    from mmrerank.service.running import run
    from mmrerank.service.settings import Limits, Load, Settings, check_host, named, token_from_environment

    token = token_from_environment()
    check_host(host, token)
    offered = named(rerank or ())
    own = _backend.own_backends(list(offered.values()))
    first = _backend.first_backend(list(offered.values()), backend)
    settings = Settings(
        collections=tuple(collections or ()),
        rerankers=offered,
        retrievers=tuple(retriever or ()),
        backend=backend,
        encoder=encoder,
        api_key=_backend.key_for(backend or ""),
        own_keys={model: key for model in own if (key := _backend.key_for(model, first)) is not None},
        rerank_key=_backend.rerank_key(),
        cache=None if no_cache else _backend.cache_folder(),
        token=token,
        names=tuple(name or ()),
        fetch_hosts=tuple(fetch_from or ()),
        origins=tuple(allow_origin or ()),
        access_log=_output.say if access_log else None,
        limits=Limits(body_mib=max_body),
        load=Load(workers=workers, queue=queue, timeout_s=timeout),
    )
    run(create_app(settings), host, port, load=settings.load, say=_output.say)
    return 0
