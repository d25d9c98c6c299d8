"""The contract of each station, one file each: what any part keeps, ours or another's. `PartContract` says how one is used."""

from mmrerank.testing.contracts._part import NamedOptionsContract, PartContract, content_of, refused, resolved, untouched
from mmrerank.testing.contracts.answering import AnswererContract
from mmrerank.testing.contracts.backends import BackendContract
from mmrerank.testing.contracts.encoders import EncoderContract
from mmrerank.testing.contracts.index import RowIndexContract, TextIndexContract
from mmrerank.testing.contracts.readers import ReaderContract
from mmrerank.testing.contracts.rerankers import RerankerContract
from mmrerank.testing.contracts.retrievers import RetrieverContract

__all__ = [
    "AnswererContract",
    "BackendContract",
    "EncoderContract",
    "NamedOptionsContract",
    "PartContract",
    "ReaderContract",
    "RerankerContract",
    "RetrieverContract",
    "RowIndexContract",
    "TextIndexContract",
    "content_of",
    "refused",
    "resolved",
    "untouched",
]
