"""A served model that makes one descriptor of pictures and texts together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmrerank.encoders._served import EmbeddingServer, Messages, messages_of
from mmrerank.errors import BackendError
from mmrerank.types import Array, EncodedPart


class ServedModel:
    """A model behind a server, whose rows have one width."""

    weights_hash = ""  # a server does not say what it has loaded

    def __init__(self, server: EmbeddingServer) -> None:
        self._server = server
        self.dimension = len(server.vectors([messages_of(("a",), None)])[0])

    def prepare(self, parts: Sequence[EncodedPart], instruction: str | None, *, query: bool) -> Messages:
        """The value as a conversation; without an instruction there is no system's turn, on either side."""
        return messages_of(parts, instruction)

    def rows(self, values: Sequence[Messages], *, query: bool) -> Array:
        """(n, dimension) float32 rows as the server gives them.

        Raises:
            BackendError: the server does not answer with such rows.
        """
        vectors = self._server.vectors(values)
        if strangers := {len(vector) for vector in vectors} - {self.dimension}:
            raise BackendError(f"{self._server.name} gave a vector of {strangers.pop()} numbers; before, they had {self.dimension}")
        return np.stack(vectors)
