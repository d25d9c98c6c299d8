"""Asks a service with the clients that others wrote, as they are: `make clients`, or

    python tests/clients/run.py --serve .venv/bin/mmrerank [--only NAME]... [--table docs/reference/clients.md]

Runs in an environment that has the clients, and installs nothing; a client that is not there is skipped with the reason. Exits with 1
where a client gets another order than the right one. Everything stays on this machine: the service listens on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from asking import BEST, CLIENTS, HERE, Client, Place

KEY = "a-key-of-32-letters-0123456789ab"  # some clients want one as long as the real ones
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HAYSTACK_TELEMETRY_ENABLED": "False", "DO_NOT_TRACK": "1", "NO_PROXY": "127.0.0.1"}
HEAD = """# Clients

`make clients` asks with each of these as its package is, with the base URL that its users write, for the order of four documents by
`bm25`, behind a key where the client can send one (`tests/clients/`). What is no package (open-webui, Dify, RAGFlow, Continue) is sent as
its sources send it, and read as they read it. `HOST` is where `mmrerank serve` listens. litellm sends the same to infinity as to vLLM
and reads it otherwise, hence the path of its own.

| client | version | base URL | right order |
|---|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    client: Client
    version: str
    verdict: str  # yes, or what went wrong
    skipped: bool = False


@contextlib.contextmanager
def serving(command: Sequence[str], *, key: str | None) -> Iterator[str]:
    """The address of a running service."""
    environment = {**os.environ, "MMRERANK_TOKEN": key or ""}
    with subprocess.Popen(
        [*command, "serve", "--port", "0", "--encoder", "openclip/mini"], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stderr is not None
            url = next((line.split()[-1] for line in process.stderr if line.startswith("serving on ")), None)
            if url is None:
                raise SystemExit("the service did not start")
            yield url
        finally:
            process.terminate()


def version_of(client: Client) -> str | None:
    """The version of its package; None where it is not installed."""
    if not client.package:
        return "-"
    if client.package.startswith("npm:"):
        file = Path(os.environ.get("NODE_PATH", "node_modules")) / client.package.removeprefix("npm:") / "package.json"
        return str(json.loads(file.read_text())["version"]) if file.exists() else None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(client.package)
    return None


def outcome(client: Client, place: Place) -> Outcome:
    version = version_of(client)
    if version is None:
        return Outcome(client=client, version="-", verdict=f"not tried: {client.package} is not installed", skipped=True)
    try:
        order = client.ask(place)[: len(BEST)]
    except Exception as error:  # whatever a client of others makes of a reply
        return Outcome(client=client, version=version, verdict=f"{type(error).__name__}: {str(error)[:300]}")
    return Outcome(client=client, version=version, verdict="yes" if order == BEST else f"no: {order}, expected {BEST}")


def collection_in(folder: Path, command: Sequence[str]) -> str:
    """A collection of two texts."""
    (folder / "texts.jsonl").write_text('{"id": "a", "text": "low water at nine"}\n{"id": "b", "text": "soup at noon"}\n')
    subprocess.run(
        [*command, "index", str(folder / "texts.jsonl"), "--into", str(folder / "texts")],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return str(folder / "texts")


def outcomes(clients: Sequence[Client], command: Sequence[str]) -> Iterator[Outcome]:
    """One after the other; those that can send no key ask a service that wants none."""
    with tempfile.TemporaryDirectory() as folder, serving(command, key=KEY) as closed, serving(command, key=None) as opened:
        collection = collection_in(Path(folder), command)
        for client in clients:
            url = closed if client.sends_key else opened
            yield outcome(client, Place(url=url, key=KEY, collection=collection, command=tuple(command)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs="+", default=["mmrerank"], help="the command that starts mmrerank")
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of the names of clients")
    parser.add_argument("--table", type=Path, help="write the table there as well")
    options = parser.parse_args()
    os.environ |= QUIET
    os.environ.setdefault("NODE_PATH", str(HERE / "node_modules"))
    warnings.simplefilter("ignore")  # of other people's packages
    chosen = [client for client in CLIENTS if not options.only or client.name.startswith(tuple(options.only))]
    done: list[Outcome] = []
    start = time.monotonic()
    for one in outcomes(chosen, options.serve):
        print(f"{one.client.name:70} {one.version:10} {one.client.base:45} {one.verdict}", flush=True)
        done.append(one)
    failed = [one for one in done if one.verdict != "yes" and not one.skipped]
    skipped = sum(one.skipped for one in done)
    print(f"{len(done) - len(failed) - skipped} right, {len(failed)} wrong, {skipped} not tried, {time.monotonic() - start:.0f} s")
    if options.table:
        rows = [f"| {one.client.name} | {one.version} | `{one.client.base}` | {one.verdict} |\n" for one in done]
        options.table.write_text(HEAD + "".join(rows), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
