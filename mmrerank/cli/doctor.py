"""`mmrerank doctor [--backend NAME]`"""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mmrerank.cli import _backend, _output
from mmrerank.errors import MMRerankError, UnknownName

T = TypeVar("T")
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


def doctor(
    backend: _backend.BackendName = None,
    compare: Annotated[Path | None, typer.Option(help="Golden values recorded before, to compare with.")] = None,
    rerank: Annotated[list[str] | None, typer.Option(help="Reranker to try too, such as one of your own: package.module:part.")] = None,
    record: Annotated[Path | None, typer.Option(help="Write the golden values of this backend here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Check the installation, and whether a backend is fit for the rerankers; says what is wrong and how to mend it."""
    from mmrerank.doctor import examine, examine_rerankers, golden_pairs, read_recorded
    from mmrerank.text_files import write_text

    recorded = read_recorded(compare) if compare else None
    findings = _installation()
    model, rerankers = _opened(backend, rerank or (), findings)
    if model is not None:
        findings += examine(model, recorded=recorded)
        if record is not None:
            _attempted("recording", lambda: write_text(record, _recording(model.name, golden_pairs(model))), findings)
    findings += examine_rerankers(rerankers, model)
    wrong = sum(finding.level == "wrong" for finding in findings)
    if json:
        checks = [{"name": f.name, "level": f.level, "detail": f.detail, "mend": f.mend} for f in findings]
        _output.emit({"backend": backend, "ok": not wrong, "checks": checks})
    else:
        _show(findings)
    return _output.BACKEND if wrong else 0


def _recording(name: str, golden: dict[str, float]) -> str:
    return json_module.dumps({"backend": name, "golden": golden}, indent=2) + "\n"


def _opened(backend: str | None, names: Sequence[str], findings: list[Any]) -> tuple[Any, list[Any]]:
    """The backend and the rerankers, as far as they can be had; what cannot is a finding, and the rest is still checked."""
    from mmrerank.pipeline import NamedReranker

    first = _backend.first_backend(names, backend)
    models: dict[str, Any] = {}

    def own(name: str) -> Any:
        if name not in models:
            models[name] = _backend.opened(name, no_cache=True, first=first)
        return models[name]

    def named(name: str) -> Any:
        return NamedReranker.of(name, open_backend=own, api_key=_backend.rerank_key())

    model = None if backend is None else _attempted(backend, partial(own, backend), findings)
    tried = (_attempted(name, partial(named, name), findings) for name in names)
    return model, [reranker for reranker in tried if reranker is not None]


def _attempted(name: str, make: Callable[[], T], findings: list[Any]) -> T | None:
    """What is made; None, with a finding, where it cannot be. A name that there is none of is a slip of the command, and raised."""
    from mmrerank.doctor import Finding

    try:
        return make()
    except UnknownName:
        raise
    except MMRerankError as error:
        findings.append(Finding(name=name, level="wrong", detail=error.message, mend=error.hint))
    except OSError as error:
        findings.append(Finding(name=name, level="wrong", detail=f"{error.filename}: {error.strerror}"))
    return None


def _installation() -> list[Any]:
    import torch

    from mmrerank.doctor import Finding
    from mmrerank.provenance import made_by

    libraries = ", ".join(f"{name} {version}" for name, version in made_by()["libraries"].items())
    findings = [Finding(name="libraries", level="ok", detail=libraries)]
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    detail = f"models run on {gpu}" if gpu else "models run on the CPU: a large MLLM takes minutes a query"
    findings.append(Finding(name="device", level="ok" if gpu else "note", detail=detail))
    return [*findings, *_faiss(made_by()["libraries"])]


def _faiss(libraries: dict[str, str]) -> list[Any]:
    """What there is to say of FAISS, which approximate indexes need and nothing else."""
    from mmrerank.doctor import Finding

    if {"faiss-cpu", "faiss-gpu"} <= set(libraries):
        mend = "Uninstall both, then install one: pip install 'mmrerank[cpu]' or 'mmrerank[gpu]'."
        return [Finding(name="FAISS", level="wrong", detail="faiss-cpu and faiss-gpu are both installed and share one name", mend=mend)]
    if find_spec("faiss") is None:
        detail = "not installed; only indexes that name it need it, such as approximate ones for millions of items"
        mend = "For those: pip install 'mmrerank[cpu]' or 'mmrerank[gpu]' (never both)."
        return [Finding(name="FAISS", level="note", detail=detail, mend=mend)]
    return []


def _show(findings: list[Any]) -> None:
    console = _output.out()
    for finding in findings:
        console.print(f"[{COLOURS[finding.level]}]{finding.level:>5}[/]", end="  ")
        console.print(f"{finding.name}: {finding.detail}", markup=False)
        if finding.mend and finding.level != "ok":
            console.print(f"       {finding.mend}", markup=False, style="dim")
