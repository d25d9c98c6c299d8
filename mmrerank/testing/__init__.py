"""For tests, yours too: fakes, so that nobody patches, and the contracts that any part keeps, ours or another's.

Two lines hold a part to what its station promises; pytest and unittest find the methods by their names:

    from mmrerank.testing import RerankerContract

    class TestMine(RerankerContract):
        part = "my_package.my_module:part"      # or a module, or any object with Options, build and tiny

A contract per station: `ReaderContract`, `EncoderContract`, `RowIndexContract`, `TextIndexContract`, `BackendContract`,
`RetrieverContract`, `RerankerContract`, `AnswererContract`. Each says at its head what a part declares to be held to more
(`pointwise = True`) and what can be overridden where yours wants other inputs. pytest is not needed to import them.

A fake model answers by a function of what it is asked, and remembers the questions:

    >>> from mmrerank.testing import FakeBackend, fake_corpus
    >>> from mmrerank.types import Message
    >>> backend = FakeBackend(answer=lambda prompt: "page 2")
    >>> backend.generate([[Message(role="user", parts=("Which page?",))]])[0].text, len(backend.prompts)
    ('page 2', 1)
    >>> [candidate.item.item_id for candidate in fake_corpus().matching("red door", 2)]
    ['red-door', 'blue-door']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmrerank.testing.fakes import (
    FakeBackend,
    FakeCorpus,
    FakeDescriptors,
    FakePredictor,
    FakeSpace,
    HashEncoder,
    fake_corpus,
    graded,
    turned,
)

if TYPE_CHECKING:
    from mmrerank.testing.contracts import (
        AnswererContract,
        BackendContract,
        EncoderContract,
        PartContract,
        ReaderContract,
        RerankerContract,
        RetrieverContract,
        RowIndexContract,
        TextIndexContract,
    )

_CONTRACTS = "mmrerank.testing.contracts"  # opened when asked for: rerankers import the fakes of this room, and need no contract
__all__ = [
    "AnswererContract",
    "BackendContract",
    "EncoderContract",
    "FakeBackend",
    "FakeCorpus",
    "FakeDescriptors",
    "FakePredictor",
    "FakeSpace",
    "HashEncoder",
    "PartContract",
    "ReaderContract",
    "RerankerContract",
    "RetrieverContract",
    "RowIndexContract",
    "TextIndexContract",
    "fake_corpus",
    "graded",
    "turned",
]


def __getattr__(name: str) -> Any:
    if name.endswith("Contract") and name in __all__:
        return getattr(import_module(_CONTRACTS), name)
    raise AttributeError(f"module 'mmrerank.testing' has no attribute {name!r}")
