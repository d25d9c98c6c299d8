"""Which files a collection is made from: roots, ids of files, and the reader of each.

A file's id is the path below its root; the roots of a collection stand in `collection.toml`, so the id is the same on
every run. The first root has no prefix; a later one is told apart by its folder's name. Roots may lie inside one another, so what
lies below a folder is told by the places of files and never by how their ids begin.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import count
from pathlib import Path
from shlex import quote

from mmrerank.errors import DamagedData, InputError
from mmrerank.parts import make, names, parse
from mmrerank.protocols import Reader, SelectiveReader, TextReader, VectorReader
from mmrerank.readers import is_lance
from mmrerank.store.manifest import FILE, Root
from mmrerank.texts import is_clean, printable
from mmrerank.types import Failure

# which Synology, Windows, macOS and others keep beside files: small copies of pictures, what was deleted
SYSTEM_FOLDERS = frozenset(("@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"))
EXCLUDED = "they are excluded"
OF_A_SYSTEM = "a system keeps copies and deleted files there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusions:
    """Patterns of what is to be left out, as in a shell, whatever the case of letters: one without a slash is matched with the name
    of a file and of every folder around it, one with a slash with the path below the folder that is indexed.

    >>> small = Exclusions(patterns=("*_small.*", "drafts/*"))
    >>> [small.below(Path(path)) for path in ("a/1_SMALL.jpg", "drafts/b/2.jpg", "b/drafts/2.jpg")]
    [True, True, False]
    """

    patterns: tuple[str, ...] = ()

    def below(self, path: Path) -> bool:
        """Whether one of them names this file or folder, given as its path below an indexed folder, or a folder around it."""
        whole = path.as_posix().lower()
        names = whole.split("/")
        return any(self._names(pattern.lower().rstrip("/"), whole, names) for pattern in self.patterns)

    @staticmethod
    def _names(pattern: str, whole: str, names: Sequence[str]) -> bool:
        if "/" in pattern:
            return fnmatchcase(whole, pattern) or fnmatchcase(whole, f"{pattern}/*")
        return any(fnmatchcase(name, pattern) for name in names)


NOT_UTF8 = "its name, or that of a folder it lies in, is not UTF-8, so that no id can be made of it; rename it"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to index."""

    path: Path
    file_id: str
    reader: Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies below some paths."""

    files: tuple[SourceFile, ...]
    places: tuple[Path, ...]  # the files and folders that were listed
    roots: tuple[Root, ...]
    failures: tuple[Failure, ...] = ()  # folders that could not be listed
    passed_over: Mapping[str, str] = field(default_factory=dict)  # files and folders, as paths below those that were listed -> why
    linked: tuple[str, ...] = ()  # links in folders to folders elsewhere, which are not entered
    exclusions: Exclusions = field(default_factory=lambda: Exclusions())  # what was to be left out
    embeddings: tuple[SourceFile, ...] = ()  # files of ready vectors, which lie at places of their own
    embedding_places: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()  # what of the ready vectors was left aside, in sentences

    @property
    def ignored(self) -> tuple[str, ...]:
        """The files and folders that were passed over."""
        return tuple(self.passed_over)

    def is_excluded(self, file_id: str) -> bool:
        """Whether the file of this id lies in what was listed and is to be left out."""
        path = path_of(file_id, self.roots)
        folders = [place if place.is_dir() else place.parent for place in self.places if path.is_relative_to(place)]
        return any(self.exclusions.below(path.relative_to(folder)) for folder in folders)

    @property
    def has_texts_alone(self) -> bool:
        """Whether every file can be searched by its text without a picture encoder: PDFs, pictures of pages where OCR reads them,
        tables whose rows begin without a picture. Their readers say so, and open no more than tables for it."""
        return all(map(_has_texts, self.files))

    @property
    def has_some_texts(self) -> bool:
        """Whether one of the files can."""
        return any(map(_has_texts, self.files))

    def is_of(self, paths: Sequence[Path], roots: Sequence[Root], by_suffix: Mapping[str, Reader], exclude: Sequence[str]) -> bool:
        """Whether it lists these paths under these roots, for these readers, without what these patterns name."""
        if self.exclusions.patterns != tuple(exclude):
            return False
        is_read_so = {file.reader.name for file in (*self.files, *self.embeddings)} <= {reader.name for reader in by_suffix.values()}
        return is_read_so and ({*self.places, *self.embedding_places}, self.roots) == (set(map(located, paths)), tuple(roots))


def patterns_of(earlier: Sequence[str], further: Sequence[str]) -> tuple[str, ...]:
    """The patterns of earlier runs and further ones; an empty one forgets the earlier.

    >>> patterns_of(["*.nef"], ["drafts"]), patterns_of(["*.nef"], ["", "drafts"])
    (('*.nef', 'drafts'), ('drafts',))
    """
    patterns = further if "" in further else (*earlier, *further)
    return tuple(dict.fromkeys(pattern for pattern in patterns if pattern))


def _has_texts(file: SourceFile) -> bool:
    return isinstance(file.reader, TextReader) and file.reader.has_texts(file.path)


def readers(names_or_parts: Iterable[str | Reader] = ()) -> dict[str, Reader]:
    """Suffix -> reader: every reader with its defaults, and these instead of their namesakes.

    >>> readers()[".pdf"].name.split("(")[0]
    'pdf'
    """
    chosen = [make(reader, station="readers") if isinstance(reader, str) else reader for reader in names_or_parts]
    namesakes = {reader.name.split("(")[0] for reader in chosen}
    parts = [make(name, station="readers") for name in names("readers") if name not in namesakes]
    return {suffix: reader for reader in (*parts, *chosen) for suffix in reader.suffixes}


def _no_ids(prefix: str) -> bool:
    return False


def with_roots(paths: Sequence[Path], roots: tuple[Root, ...], *, taken: Callable[[str], bool] = _no_ids) -> tuple[Root, ...]:
    """The roots with a new one for each path that lies below none of them.

    Args:
        taken: whether ids in the collection begin with a prefix; asked where a root is away, such as a disk that is not plugged in.

    Raises:
        InputError: a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {path}", hint=_gone(path, roots))
        folder = _folder_of(path).resolve()
        if not is_clean(str(folder)) and not any(folder.is_relative_to(root.path) for root in roots):
            raise InputError(f"the folder {printable(str(folder))} cannot be indexed: {NOT_UTF8}")
        if not any(folder.is_relative_to(root.path) for root in roots):
            roots = (*roots, Root(path=str(folder), prefix=_free_prefix(folder.name, roots, taken)))
    return roots


def _folder_of(path: Path) -> Path:
    """The folder that becomes the root of a path: itself, or the one around a file, and around a table that is a folder."""
    return path if path.is_dir() and not is_lance(path) else path.parent


def _gone(path: Path, roots: Sequence[Root]) -> str:
    """What can be done where a path that was indexed is not there."""
    place = path.absolute()
    if not any(place.is_relative_to(root.path) or Path(root.path).is_relative_to(place) for root in roots):
        return ""
    return f"It was indexed. {gone_for_good_or_moved(place)}"


def gone_for_good_or_moved(place: Path, collection: str = "COLLECTION") -> str:
    """What a user does about an indexed folder that is not there.

    >>> print(gone_for_good_or_moved(Path("/my album"), "c"))
    If it moved: mmrerank index NEW --into c --moved-from '/my album'; if not: mmrerank remove c --path '/my album'
    """
    old, into = quote(str(place)), quote(collection)
    return f"If it moved: mmrerank index NEW --into {into} --moved-from {old}; if not: mmrerank remove {into} --path {old}"


def _free_prefix(name: str, roots: tuple[Root, ...], taken: Callable[[str], bool]) -> str:
    prefixes = {root.prefix for root in roots}
    if not prefixes:
        return ""
    is_away = not all(Path(root.path).is_dir() for root in roots)
    choices = (f"{name}/" if n == 1 else f"{name}-{n}/" for n in count(1))
    free = (c for c in choices if c not in prefixes and not any((Path(root.path) / c).exists() for root in roots))
    return next(c for c in free if not (is_away and taken(c)))


def located(path: Path) -> Path:
    """The absolute place of a file or folder, links to folders followed; a linked file counts where the link lies."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def file_id_of(path: Path, roots: Sequence[Root]) -> str:
    """The id of a file or folder: prefix + path below the nearest root, with forward slashes; a folder's ends with one.

    Raises:
        InputError: it lies below no root.
    """
    place = located(path)
    return _id_of(place, roots, folder=place.is_dir())


def _id_of(place: Path, roots: Sequence[Root], *, folder: bool = False) -> str:
    around = [root for root in roots if place.is_relative_to(root.path)]
    if not around:
        raise InputError(f"{place} lies below none of the indexed folders: {', '.join(root.path for root in roots)}")
    root = max(around, key=lambda r: len(r.path))
    below = place.relative_to(root.path).as_posix()
    below = "" if below == "." else below
    return root.prefix + below + ("/" if below and folder else "")


def path_of(file_id: str, roots: Sequence[Root]) -> Path:
    """Where the file of this id lies now; the longest matching prefix tells its root.

    Raises:
        DamagedData: no root has a prefix of it.
    """
    candidates = [root for root in roots if file_id.startswith(root.prefix)]
    if not candidates:
        raise DamagedData(f"the file {file_id!r} belongs to no root of the collection", hint="Restore its collection.toml.")
    root = max(candidates, key=lambda r: len(r.prefix))
    return Path(root.path) / file_id[len(root.prefix) :]


def below(places: Iterable[Path], roots: Sequence[Root]) -> Callable[[str], bool]:
    """Tells of a file id whether its file is one of these places or lies below one."""
    whole = frozenset(places)
    names: dict[Path, set[str]] = {}
    for place in whole:
        names.setdefault(place.parent, set()).add(place.name)

    @lru_cache(maxsize=4096)
    def extent(folder: str) -> tuple[bool, Collection[str]]:  # whether all in it is meant, and the names in it that are
        place = path_of(folder, roots)
        return place in whole or not whole.isdisjoint(place.parents), names.get(place, ())

    def is_below(file_id: str) -> bool:
        end = file_id.rfind("/") + 1
        everything, some = extent(file_id[:end])
        return everything or file_id[end:] in some

    return is_below


def beginnings(place: Path, roots: Sequence[Root]) -> set[str]:
    """How the ids of files at or below a place can begin; files elsewhere may have such ids too."""
    inside = {root.prefix for root in roots if Path(root.path).is_relative_to(place)}
    around = (root for root in roots if place.is_relative_to(root.path) and place != Path(root.path))
    return inside | {root.prefix + place.relative_to(root.path).as_posix() for root in around}


def list_files(
    paths: Sequence[Path],
    roots: Sequence[Root],
    by_suffix: Mapping[str, Reader],
    *,
    exclude: Sequence[str] = (),
    earlier: Listing | None = None,
) -> Listing:
    """Every readable file below the paths, each once, in the order of the names.

    Hidden files and folders, collections, folders that systems keep for themselves, and inside folders also what its reader passes over,
    such as tables, are left out. A file that is named itself must have a reader.

    Args:
        exclude: patterns of files and folders to leave out, see `Exclusions`.
        earlier: what was listed a moment ago; where it is of the same paths, roots and readers, nothing is walked again.

    Raises:
        InputError: a named file has a suffix that no reader takes.
    """
    if earlier is not None and earlier.is_of(paths, roots, by_suffix, exclude):
        return earlier
    walk = _Walk(roots=tuple(roots), by_suffix=by_suffix, exclusions=Exclusions(patterns=tuple(exclude)))
    vectors = Vectors(roots, by_suffix)
    for path in paths:
        if not vectors.take(path):
            walk.through(path)
    return Listing(
        files=tuple(walk.files.values()),
        places=tuple(place for place in map(located, paths) if place not in vectors.places),
        embeddings=tuple(vectors.files.values()),
        embedding_places=tuple(vectors.places),
        notes=tuple(vectors.notes),
        roots=walk.roots,
        failures=tuple(walk.failures),
        passed_over=walk.passed_over,
        linked=tuple(printable(str(link)) for link in walk.linked),
        exclusions=walk.exclusions,
    )


@dataclass(slots=True, kw_only=True)
class _Walk:
    """The files below the paths that it went through, and what was not taken of them."""

    roots: tuple[Root, ...]
    by_suffix: Mapping[str, Reader]
    exclusions: Exclusions
    files: dict[str, SourceFile] = field(default_factory=dict)  # by their ids
    failures: list[Failure] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)  # path -> why
    linked: list[Path] = field(default_factory=list)

    def through(self, path: Path) -> None:
        """Takes what lies below a folder, or a file that is named itself.

        Raises:
            InputError: a named file has a suffix that no reader takes.
        """
        is_folder, place = path.is_dir(), located(path)
        whole = path.resolve() if is_folder else place.parent
        files = _below(path, self.roots, self.failures, self.linked, self.exclusions, self.passed_over) if is_folder else [place]
        for file in files:
            below = file.relative_to(whole)
            reader = reader_of(file, self.by_suffix)
            if reader is None and not is_folder:
                raise InputError(f"no reader takes {path}", hint=f"Known suffixes: {' '.join(sorted(self.by_suffix))}")
            why = _why_passed_over(file, reader, self.exclusions.below(below), in_folder=is_folder)
            if reader is None or why:
                self.passed_over[printable(str(path / below if is_folder else path))] = why
            else:
                self._take(file, reader)

    def _take(self, file: Path, reader: Reader) -> None:
        """Takes a file whose id is a name in UTF-8 and its own."""
        file_id = _id_of(file, self.roots)
        if not is_clean(file_id):
            self.failures.append(Failure(path=printable(file_id), reason=NOT_UTF8))
        elif path_of(file_id, self.roots) != file:
            reason = "its id belongs to another indexed folder; rename one of the two folders"
            self.failures.append(Failure(path=file_id, reason=reason))
        else:
            self.files[file_id] = SourceFile(path=file, file_id=file_id, reader=reader)


class Vectors:
    """The ready vectors among the paths that are listed: what is such is told by what lies there."""

    def __init__(self, roots: Sequence[Root], by_suffix: Mapping[str, Reader]) -> None:
        self._roots, self._by_suffix = roots, by_suffix
        self.files: dict[str, SourceFile] = {}
        self.places: list[Path] = []
        self.notes: list[str] = []

    def take(self, path: Path) -> bool:
        """Whether ready vectors lie at the path, which are listed then; not where options were given to another reader of the file."""
        reader, files = vectors_at(path, self._by_suffix)
        if reader is None:
            return False
        listed = (SourceFile(path=located(file), file_id=_id_of(located(file), self._roots), reader=reader) for file in files)
        self.files.update((file.file_id, file) for file in listed)
        self.places.append(located(path))
        self.notes += filter(None, [reader.left_aside(path)])
        return True


def vectors_at(path: Path, by_suffix: Mapping[str, Reader]) -> tuple[VectorReader | None, tuple[Path, ...]]:
    """The files of ready vectors at a path, and what reads them; (None, ()) where something else is there."""
    if (path / FILE).exists():  # a collection's own table is no source
        return None, ()
    own = reader_of(path, by_suffix) if path.is_file() else None
    if own is not None and not isinstance(own, VectorReader) and own.name != _plainly(own).name:
        return None, ()
    for reader in dict.fromkeys(by_suffix.values()):
        if isinstance(reader, VectorReader) and (files := reader.vector_files(path)):
            return reader, files
    return None, ()


def _plainly(reader: Reader) -> Reader:
    """The reader of that kind with its defaults."""
    default: Reader = make(parse(reader.name).part, station="readers")
    return default


def _why_passed_over(file: Path, reader: Reader | None, excluded: bool, *, in_folder: bool) -> str:
    if excluded:
        return EXCLUDED
    if reader is None:
        return "no reader takes them"
    return reader.passes_over(file) if in_folder and isinstance(reader, SelectiveReader) else ""


def reader_of(file: Path, by_suffix: Mapping[str, Reader]) -> Reader | None:
    """The reader of a file by how its name ends; None where none takes it."""
    endings = ("".join(file.suffixes[n:]).lower() for n in range(len(file.suffixes)))  # ".tar.gz" before ".gz"
    return next((by_suffix[ending] for ending in endings if ending in by_suffix), None)


def _below(
    folder: Path,
    roots: Sequence[Root],
    failures: list[Failure],
    linked: list[Path],
    exclusions: Exclusions,
    passed_over: dict[str, str],
) -> Iterable[Path]:
    def refuse(error: OSError) -> None:
        place = Path(error.filename)
        failures.append(Failure(path=printable(file_id_of(place, roots)), reason=f"the folder cannot be listed: {error.strerror}"))

    whole = folder.resolve()
    # os.path where Path would raise over a folder that may not be looked into
    for place, folders, names_here in os.walk(whole, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not os.path.exists(os.path.join(place, f, FILE)))
        for name in [f for f in folders if f in SYSTEM_FOLDERS or exclusions.below(Path(place, f).relative_to(whole))]:
            folders.remove(name)
            why = OF_A_SYSTEM if name in SYSTEM_FOLDERS else EXCLUDED
            passed_over[os.path.join(str(folder / Path(place).relative_to(whole)), name, "")] = why
        links = (Path(place) / f for f in folders if os.path.islink(os.path.join(place, f)))
        linked += [folder / link.relative_to(whole) for link in links if not link.resolve().is_relative_to(whole)]
        for name in sorted(names_here):
            if not name.startswith("."):
                yield Path(place) / name
