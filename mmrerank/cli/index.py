"""`mmrerank index PATH... --into COLLECTION`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrerank.cli import _downloads, _output, _passwords
from mmrerank.errors import BackendError, InputError

if TYPE_CHECKING:
    from mmrerank.collection import Collection
    from mmrerank.ingest.files import Listing
    from mmrerank.ingest.run import IngestReport

MOST_REASONS, MOST_NAMES = 20, 5  # of failures, and names with each of them


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Pictures, PDFs, tar shards and folders of them; tables and ready embeddings when named.", metavar="PATH..."),
    ],
    into: Annotated[Path, typer.Option("--into", help="Folder of the collection; made when it does not exist.")],
    encoder: Annotated[
        str | None, typer.Option(help="Picture encoder, such as openclip/ViT-B-32.laion2b_s34b_b79k@224; 'none' for text only.")
    ] = None,
    text_encoder: Annotated[str | None, typer.Option(help="Text encoder beside it, such as sentence/PATH.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Index recipe (indexes/X.toml), an index name, or auto, which is the default: by the number of items."),
    ] = None,
    max_failures: Annotated[float, typer.Option(help="Share of failed items above which the exit code is 1.", min=0.0, max=1.0)] = 0.05,
    read_mislabelled: Annotated[bool, typer.Option(help="Read pictures whose format and suffix disagree.")] = False,
    ocr_language: Annotated[
        str | None, typer.Option(help="Language of scanned pages, as Tesseract calls it, such as deu or eng+fra; again in later runs.")
    ] = None,
    moved_from: Annotated[
        Path | None, typer.Option(help="Where the folder was when it was indexed: its items keep ids and descriptors.")
    ] = None,
    password: Annotated[
        list[str] | None,
        typer.Option(help="Password of encrypted PDFs; may be repeated. Or MMRERANK_PDF_PASSWORDS, one a line, for every command."),
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of tables that has the pictures; found by name or content.")] = None,
    text_column: Annotated[
        list[str] | None, typer.Option(help="Column of tables that has the text; repeat it for several.", metavar="NAME")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of tables that has the keys of the rows.")] = None,
    pages: Annotated[
        str | None, typer.Option(help="Pictures that are pages of documents, read by OCR: auto (by name), all, never; again in later runs.")
    ] = None,
    vector_column: Annotated[str | None, typer.Option(help="Column of ready embeddings, in tables that have several.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder that ready embeddings' paths of pictures are relative to; again in later runs.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Leave out files and folders of this name, such as '*_small.jpg', in later runs too; '' forgets earlier ones."),
    ] = None,
    commit_items: Annotated[int, typer.Option(help="Items per commit: what a kill can lose.", min=1)] = 1000,
    table: Annotated[
        str | None, typer.Option(help="For a new collection: where its table lies in object storage, such as s3://BUCKET/NAME.lance.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="Encode with Ray's workers, one a device: ray (this machine) or ray://HOST:PORT.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Download the encoder's weights without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Index files into a collection: new ones are added, changed ones encoded again, deleted ones removed."""
    _passwords.use(password or ())
    columns = {"image_column": image_column, "text_column": tuple(text_column or ()) or None, "id_column": id_column}
    vectors = {"vector_column": vector_column, "pictures": None if pictures is None else str(pictures.absolute())}
    readers = _readers(read_mislabelled, ocr_language, pages, columns, vectors)
    job = _Job(paths=paths, into=into, readers=readers, exclude=exclude or [], encoder=encoder, text_encoder=text_encoder, table=table)
    collection, listing = _opened(job, recipe, yes=yes or json)
    with _output.progress_bar("indexing") as progress, _stop_explained(collection):
        report = collection.add(
            paths,
            encoders=job.encoders,
            read_with=readers,
            exclude=job.exclude,
            commit_items=commit_items,
            progress=progress,
            listing=listing,
            moved_from=moved_from,
            refuse_pictures="" if encoder == "none" else _downloads.NO_ENCODER,
            workers=workers,
        )
    if report.found == 0 and report.removed == 0:
        raise _nothing(paths, report.notes)
    _tell(_as_record(into, report), json=json)
    return _output.INPUT if len(report.failed) > max_failures * max(report.found, 1) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is to be indexed, where to and how."""

    paths: list[Path]
    into: Path
    readers: list[str]  # whose options are not the defaults
    exclude: list[str]
    encoder: str | None  # "none": no pictures
    text_encoder: str | None
    table: str | None

    @property
    def encoders(self) -> list[str]:
        """The encoders that are named."""
        return [name for name in (self.encoder, self.text_encoder) if name and name != "none"]


def _as_record(into: Path, report: IngestReport) -> dict[str, Any]:
    """The report in the shape that programs depend on."""
    from mmrerank.ingest.notes import bounded, noted

    return {
        "collection": str(into),
        "expected": report.expected,
        "found": report.found,
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "failed": [{"path": failure.path, "reason": failure.reason} for failure in report.failed],
        "seconds": round(report.seconds, 3),
        "items_per_s": round(report.items_per_s, 1),
        "bottleneck": report.bottleneck,
        "text_notes": noted(report.text_notes),
        "picture_notes": noted(report.picture_notes),
        "ignored": bounded(report.ignored),
        "linked_folders": bounded(report.linked_folders),
        "notes": list(report.notes),
    }


@contextmanager
def _stop_explained(collection: Collection) -> Iterator[None]:
    """Says what the collection has where somebody stops the indexing."""
    try:
        yield
    except KeyboardInterrupt:
        collection.refresh()
        message = f"indexing was stopped; the collection {collection.path} has {len(collection)} items now, and they stay"
        raise _output.Stopped(message, hint="The same command goes on from there.") from None


def _readers(
    read_mislabelled: bool, ocr_language: str | None, pages: str | None, columns: dict[str, Any], vectors: dict[str, Any]
) -> list[str]:
    """Names of the readers whose options are not the defaults."""
    mislabelled, language = {"mislabelled": "accept" if read_mislabelled else None}, {"ocr_language": ocr_language}
    options: dict[str, dict[str, Any]] = {
        "images": {**mislabelled, "pages": pages, **language},
        "pdf": language,
        "office": language,
        "table": {**columns, **mislabelled},
        "embeddings": vectors,
        "webdataset": mislabelled,
    }
    chosen = {reader: {name: value for name, value in values.items() if value is not None} for reader, values in options.items()}
    return [f"{reader}({', '.join(f'{k}={v!r}' for k, v in values.items())})" for reader, values in chosen.items() if values]


def _opened(job: _Job, recipe: str | None, *, yes: bool) -> tuple[Collection, Listing | None]:
    """The collection, and where it is a new one what there is to index: it says whether an encoder of pictures is needed."""
    from mmrerank.collection import DEFAULT_INDEX, Collection
    from mmrerank.collection.folder import check_vacant
    from mmrerank.index import read_recipe

    index = read_recipe(Path(recipe)) if recipe and recipe.endswith(".toml") else recipe or DEFAULT_INDEX
    if (job.into / "collection.toml").exists():
        collection = _present(job, yes=yes)
        if recipe is not None:
            collection.use_index(index)
        return collection, None
    check_vacant(job.into)  # before anything is downloaded for it
    listing = _listing(job)
    encoders = _first_encoders(job, listing, yes=yes) if listing.places else []
    return Collection.open_or_create(job.into, encoders=encoders, index=index, table=job.table), listing


def _present(job: _Job, *, yes: bool) -> Collection:
    """A collection that is there already, with the weights of its encoders.

    Raises:
        InputError: its table lies elsewhere.
    """
    from mmrerank.collection import Collection

    collection = Collection.open(job.into)
    if job.table not in (None, collection.manifest.table):
        raise InputError(f"the table of {job.into} lies {collection.manifest.table or 'in its folder'}, and stays there")
    if not _are_ready(job):  # ready embeddings need no encoder before somebody searches
        _downloads.announce([entry.name for entry in collection.manifest.encoders] + job.encoders, yes=yes)
    return collection


def _first_encoders(job: _Job, listing: Listing, *, yes: bool) -> list[str]:
    """The encoder of pictures that a new collection begins with; none where it needs none, or texts can do without it."""
    from mmrerank.collection import DEFAULT_ENCODER

    chosen = job.encoder or ("none" if listing.has_texts_alone else DEFAULT_ENCODER)
    encoders = [] if chosen == "none" else [chosen]
    try:
        _downloads.announce(encoders + job.encoders, yes=yes)
    except BackendError as error:
        if job.encoder is not None or not listing.has_some_texts:
            raise
        _output.say(f"{error.message}; texts are indexed without it, pictures are not")
        _downloads.announce(job.encoders, yes=yes)
        return []
    return encoders


def _listing(job: _Job) -> Listing:
    """What there is to index, before a collection is made or an encoder loaded for it.

    Raises:
        InputError: nothing.
    """
    from mmrerank.ingest.files import list_files, patterns_of, readers, with_roots
    from mmrerank.ingest.notes import passed_over

    listing = list_files(job.paths, with_roots(job.paths, ()), readers(job.readers), exclude=patterns_of((), job.exclude))
    if not listing.files and not listing.embeddings:
        unread = (f"{failure.path}: {failure.reason}" for failure in listing.failures)
        raise _nothing(job.paths, (*unread, *passed_over(listing)))
    return listing


def _are_ready(job: _Job) -> bool:
    """Whether nothing but ready embeddings is to be indexed."""
    from mmrerank.ingest.files import readers, vectors_at

    by_suffix = readers(job.readers)
    return all(vectors_at(path, by_suffix)[0] is not None for path in job.paths)


def _nothing(paths: list[Path], notes: tuple[str, ...]) -> InputError:
    return InputError(f"nothing to index below {', '.join(map(str, paths))}", hint="\n".join(notes))


def _tell(result: dict[str, Any], *, json: bool) -> None:
    if json:
        _output.emit(result)
    else:
        _show(result)
    for note in result["notes"]:
        _output.say(f"note: {note}")


def _show(result: dict[str, Any]) -> None:
    console = _output.out()
    counts = ", ".join(f"{result[name]} {name}" for name in ("added", "updated", "unchanged", "removed"))
    console.print(f"[bold]{result['found']} of {result['expected']} items[/]: {counts}, {len(result['failed'])} failed")
    console.print(f"{result['seconds']:.1f} s, {result['items_per_s']:.0f} items/s, bottleneck: {result['bottleneck']}")
    reasons = Counter(failure["reason"] for failure in result["failed"])
    for reason, count in reasons.most_common(MOST_REASONS):
        names = [_output.one_line(failure["path"]) for failure in result["failed"] if failure["reason"] == reason]
        more = f" and {count - MOST_NAMES} more" if count > MOST_NAMES else ""
        console.print(f"  failed: {', '.join(names[:MOST_NAMES])}{more}: {reason}", markup=False)
    if len(reasons) > MOST_REASONS or max(reasons.values(), default=0) > MOST_NAMES:
        console.print(f"  mmrerank info {result['collection']} --json lists all {len(result['failed'])}", markup=False)
