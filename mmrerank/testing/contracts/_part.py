"""What the contracts of all stations share: which part is meant, what it is built with, and how what comes back is compared."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, ClassVar, Literal

import numpy as np

from mmrerank import parts
from mmrerank.errors import MMRerankError
from mmrerank.testing.fakes import FakeBackend, FakeDescriptors, fake_corpus

COMPARED = (str, bytes, bool, int, float, complex, type(None))


def resolved(part: Any, station: str) -> Any:
    """The module of a part: of one of ours by its name, of another package by `package.module:attribute`, or as it is.

    An attribute left out means the module itself.

    Raises:
        UnknownName: no part of ours has that name.
        InputError: that module or attribute is not there.
    """
    return parts.module(part, station=station) if isinstance(part, str) else part


@contextmanager
def refused(*errors: type[Exception], what: str) -> Iterator[None]:
    """Passes where the block raises one of these errors.

    Raises:
        AssertionError: nothing was raised.
    """
    try:
        yield
    except errors:
        return
    raise AssertionError(f"{what}: expected {' or '.join(error.__name__ for error in errors)}, and nothing was raised")


def content_of(value: Any, *, within: frozenset[int] = frozenset()) -> Any:
    """All that a value holds, as nested tuples that compare: fields, entries in their order, pixels of handles, bytes of arrays.

    >>> content_of([1, {"a": (2.0,)}]) == content_of([1, {"a": (2.0,)}]), content_of([1]) == content_of((1,))
    (True, False)
    """
    kind = type(value).__name__
    if isinstance(value, COMPARED):
        return kind, repr(value)
    if id(value) in within:
        return kind, "itself"
    inner = within | {id(value)}
    if hasattr(value, "__array_interface__") or hasattr(value, "__array__"):  # numpy, Pillow, torch
        array = np.asarray(value)
        return kind, array.dtype.str, array.shape, array.tobytes()
    if isinstance(value, Mapping):
        return kind, tuple((content_of(key, within=inner), content_of(entry, within=inner)) for key, entry in value.items())
    if isinstance(value, Set):
        return kind, tuple(sorted(repr(content_of(entry, within=inner)) for entry in value))
    if isinstance(value, Sequence):
        return kind, tuple(content_of(entry, within=inner) for entry in value)
    return kind, tuple((name, content_of(field, within=inner)) for name, field in _fields(value)), _opened(value, inner)


def _fields(value: Any) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return sorted(vars(value).items()) if hasattr(value, "__dict__") and not isinstance(value, type) else [("", repr(value))]


def _opened(handle: Any, within: frozenset[int]) -> Any:
    """What the handle of a picture opens, nothing for anything else."""
    if isinstance(handle, PurePath) or not callable(getattr(handle, "open", None)):
        return None
    try:
        return content_of(handle.open(), within=within)
    except (MMRerankError, OSError, TypeError) as error:  # broken, gone, or no handle of a picture
        return str(error)


@contextmanager
def untouched(*inputs: Any) -> Iterator[None]:
    """Passes where the block leaves the inputs as they were, deep inside too: metadata, pictures, arrays.

    Raises:
        AssertionError: one of them was changed.
    """
    before = [content_of(value) for value in inputs]
    yield
    for value, content in zip(inputs, before, strict=True):
        assert content_of(value) == content, f"an input was changed: {type(value).__name__} is not what it was before the call"


class PartContract:
    """What every part of every station keeps. Inherit the contract of a station, and name the part:

        class TestMine(RerankerContract):
            part = "my_package.my_module:part"

    `part` is the name of one of ours, `package.module:attribute`, or an object with `Options`, `build` and `tiny`, such as a
    module. The methods need no test runner: pytest finds them in a class called Test..., and so does unittest beside its
    TestCase. What a part of yours is shown can be changed by overriding what stands above the first test of a contract.
    """

    station: ClassVar[str]
    part: Any = None

    @property
    def module(self) -> Any:
        """The part's module, or what stands for one."""
        return resolved(self.part, self.station)

    def tiny(self) -> Any:
        """A new instance without weights and without a network: the part's `tiny()`, or one built from fakes where it has none."""
        make: Any = getattr(self.module, "tiny", None)
        return self.build(self.module.Options()) if make is None else make()

    def options(self) -> Any:
        """The options of the tiny part, as its name has them."""
        return parts.options_of(self.tiny().name.rstrip("/"), self.module.Options)

    def resources(self) -> dict[str, Any]:
        """What `build` may ask for by name."""
        return {"backend": FakeBackend(), "corpus": fake_corpus(), "descriptors": FakeDescriptors(), "dimension": 8}

    def build(self, options: Any, **resources: Any) -> Any:
        """The part with these options, and of the resources those that it asks for."""
        known = {**self.resources(), **resources}
        return self.module.build(options, **{name: known[name] for name in self.requests() if name in known})

    def requests(self) -> list[str]:
        """What `build` asks for beside the options."""
        return list(inspect.signature(self.module.build).parameters)[1:]

    def _is_ours(self) -> bool:
        return isinstance(self.part, str) and ":" not in self.part

    # ------------------------------------------------------------------

    def test_it_has_options_build_and_tiny(self) -> None:
        module = self.module
        assert dataclasses.is_dataclass(module.Options), "Options is a dataclass"
        parameters: Any = getattr(module.Options, "__dataclass_params__")  # noqa: B009, mypy knows it of no class
        assert parameters.frozen, "Options is frozen: @dataclass(frozen=True, kw_only=True)"
        assert callable(module.build), "build(options, ...) makes the part"
        assert callable(getattr(module, "tiny", None)) or not self._is_ours(), "tiny() makes it without weights and without a network"

    def test_its_printed_name_parses_back(self) -> None:
        name = self.tiny().name.rstrip("/")
        part = parts.parse(name).part
        if self._is_ours():
            assert part == parts.parse(self.part).part, f"the name begins with that of its file; got {name!r}"
        options = self.options()
        forms = [parts.printed(part, options, argument=argument).rstrip("/") for argument in (False, True) if _has_fields(options)]
        assert name in (forms or [part]), f"the name {name!r} leaves out or changes options: expected {' or '.join(forms or [part])}"


class NamedOptionsContract(PartContract):
    """Further, for parts that are built quickly: every option that moves a number is in the name."""

    def test_every_option_that_moves_a_number_is_in_its_name(self) -> None:
        for changed in _changes(self.options()):
            try:
                name = self.build(changed).name
            except MMRerankError:  # an option that goes with another one, or asks for what only a real one has
                continue
            options = parts.options_of(name.rstrip("/"), self.module.Options)
            assert options == changed, f"{name!r} parses back to {options}, and was built with {changed}"


def _has_fields(options: Any) -> bool:
    return any(field.metadata.get("in_name", True) for field in dataclasses.fields(options))


def _changes(options: Any) -> Iterator[Any]:
    """The options with one of those that are named moved a little, one after another; those that their record refuses are left out."""
    hints = typing.get_type_hints(type(options), include_extras=False)
    for field in dataclasses.fields(options):
        if not field.metadata.get("in_name", True):
            continue
        for value in _other_values(getattr(options, field.name), hints[field.name]):
            try:
                yield dataclasses.replace(options, **{field.name: value})
            except ValueError:
                continue


def _other_values(value: Any, hint: Any) -> list[Any]:
    if typing.get_origin(hint) is Literal:
        return [other for other in typing.get_args(hint) if other != value]
    moves: dict[type, Callable[[Any], Any]] = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 0.125}
    return [moves[type(value)](value)] if type(value) in moves else []
