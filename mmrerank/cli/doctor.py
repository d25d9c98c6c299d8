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
from mmrerank.errors import InputError, MMRerankError, UnknownName

T = TypeVar("T")
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


def doctor(
    backend: _backend.BackendName = None,
    compare: Annotated[Path | None, typer.Option(help="Values recorded before, to compare with.")] = None,
    rerank: Annotated[
        list[str] | None,
        typer.Option(
            help="Reranker to try too: whether it reads its model's answers, and parts right from wrong on built-in pairs and on those of "
            "its recipe. One of your own: package.module:part."
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder whose vectors are looked at; each further one is compared with the first.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a model: which parts and recipes fit it, by its files; nothing is loaded.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Write the values of this backend and of the rerankers here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Check the installation, and whether a backend is fit for the rerankers; says what is wrong and how to mend it."""
    from mmrerank.doctor import examine, examine_checkpoint, examine_encoders, examine_rerankers, read_raw_scores, read_recorded

    recorded, raw = (read_recorded(compare), read_raw_scores(compare)) if compare else (None, None)
    findings = _installation()
    for folder in [checkpoint] if checkpoint is not None else _folders([*([backend] if backend else []), *_backend.own_backends(rerank)]):
        findings += examine_checkpoint(folder)
    model, rerankers = _opened(backend, rerank or (), findings)
    if model is not None:
        findings += examine(model, recorded=recorded)
    findings += examine_rerankers(rerankers, model, recorded=raw)
    findings += examine_encoders(_encoders(encoder or (), findings))
    if record is not None:
        _attempted("recording", lambda: _write(record, model, rerankers), findings)
    wrong = sum(finding.level == "wrong" for finding in findings)
    if json:
        checks = [{"name": f.name, "level": f.level, "detail": f.detail, "mend": f.mend} for f in findings]
        _output.emit({"backend": backend, "ok": not wrong, "checks": checks})
    else:
        _show(findings)
    return _output.BACKEND if wrong else 0


def _folders(names: Sequence[str]) -> list[Path]:
    """Folders of checkpoints that the names of backends say, each once."""
    from mmrerank.parts import parse

    arguments = [parse(name).argument for name in names]
    folders = [Path(argument) for argument in dict.fromkeys(filter(None, arguments))]
    return [folder for folder in folders if folder.is_dir()]


def _encoders(names: Sequence[str], findings: list[Any]) -> list[Any]:
    """The encoders of these names, as far as they can be had."""
    from mmrerank.parts import make

    made = (_attempted(name, partial(make, name, station="encoders"), findings) for name in names)
    return [one for one in made if one is not None]


def _write(path: Path, model: Any, rerankers: Sequence[Any]) -> None:
    """Writes the values of a backend, where there is one, and of the rerankers."""
    from mmrerank.doctor import golden_pairs, raw_scores
    from mmrerank.text_files import write_text

    try:
        golden = {} if model is None else golden_pairs(model)
    except InputError:  # a model of texts has no values of pictures
        golden = {}
    scores = {str(one.stage): raw_scores(one, model) for one in rerankers}
    content = {"backend": None if model is None else model.name, "golden": golden, "rerankers": scores}
    write_text(path, json_module.dumps(content, indent=2) + "\n")


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
