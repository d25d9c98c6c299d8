"""Collections as tools of an agent, over the Model Context Protocol: list, search, ask, rerank, and look at pictures and pages.

    server = mcp_server([Collection.open("reports.collection")])
    server.run()                                        # over standard input and output, as agents start it

Everything is read only. Texts are cut to EXCERPT characters, pictures to SIDE_PX, so that an answer does not fill an agent's context; the
whole of a page is had by `picture`. What cannot be done is a tool error with what was expected and what to do, never an empty result.

Source: the protocol's official Python SDK (`mcp`); the tools are ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Annotated, Any, TypeVar

from pydantic import Field

from mmrerank import __version__
from mmrerank.collection import Collection, capabilities
from mmrerank.documents import rerank as rerank_documents
from mmrerank.errors import InputError, MissingExtra, MMRerankError, UnknownName
from mmrerank.parts import RERANKS_BY_WORDS
from mmrerank.pipeline import AnyReranker
from mmrerank.protocols import Backend
from mmrerank.readers import body_of
from mmrerank.results import Hit, RerankResult
from mmrerank.types import Citation, Item

try:
    from mcp.server.mcpserver import Image as Picture
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError as missing:
    raise MissingExtra.of("mcp", "mcp", "An MCP server") from missing

T = TypeVar("T")
EXCERPT = 600  # characters of an item's text
SIDE_PX = 1200  # of a picture: a page of that size can be read
MOST = 50  # hits of one search
INSTRUCTIONS = (
    "Search collections of pictures and document pages. `search` finds items by words or by the picture of another item, `ask` answers "
    "from document pages and cites them, `picture` shows an item, `rerank` orders texts of your own by a query."
)
Name = Annotated[str | None, Field(description="A collection as `collections` lists it; may be left out where there is one.")]
Filter = Annotated[str | None, Field(description="SQL over the fields of the collection, such as \"document_id = 'report.pdf'\".")]


def mcp_server(
    collections: Sequence[Collection], *, rerank: Sequence[AnyReranker] = (), backend: Backend | str | None = None
) -> MCPServer[Any]:
    """A server with the tools `collections`, `search`, `ask`, `rerank` and `picture` over these collections.

    Args:
        collections: named by their folders; two of one name are refused.
        rerank: rerankers that every search goes through.
        backend: the MLLM that those ask, and that answers; without one the best passage is quoted.

    Raises:
        InputError: two collections have one name.
    """
    library = Library(collections, rerank, backend)
    server: MCPServer[Any] = MCPServer("mmrerank", version=__version__, instructions=INSTRUCTIONS)

    @server.tool("collections")
    async def listing() -> list[dict[str, Any]]:
        """The collections with what they hold and what a filter may speak of."""
        return await _worked(library.listing)

    @server.tool()
    async def search(
        text: Annotated[str | None, Field(description="What to find; with `like`, what should be different.")] = None,
        like: Annotated[str | None, Field(description="The item_id of a picture to start from.")] = None,
        without: Annotated[list[str] | None, Field(description="Words of what must not be there.")] = None,
        filter: Filter = None,
        k: Annotated[int, Field(ge=1, le=MOST, description="How many hits.")] = 10,
        collection: Name = None,
    ) -> list[dict[str, Any]]:
        """Finds pictures and document pages, best first, with scores and reasons."""
        return await _worked(lambda: library.search(collection, text, like, without or (), filter, k))

    @server.tool()
    async def ask(
        question: Annotated[str, Field(description="A question about the documents.")], filter: Filter = None, collection: Name = None
    ) -> dict[str, Any]:
        """Answers a question from document pages, with the pages that the answer rests on, or says that they do not answer it."""
        return await _worked(lambda: library.ask(collection, question, filter))

    @server.tool("rerank")
    async def ordering(
        query: Annotated[str, Field(description="What the texts should be about.")],
        documents: Annotated[list[str], Field(min_length=1, max_length=1000, description="Texts to put in order.")],
    ) -> list[dict[str, Any]]:
        """Puts texts of your own in the order in which they fit a query; `index` is a text's place among those that came."""
        return await _worked(lambda: library.rerank(query, documents))

    @server.tool()
    async def picture(item_id: Annotated[str, Field(description="An item of a search or a citation.")], collection: Name = None) -> Picture:
        """The picture of an item; of a document page, the page."""
        return Picture(data=await _worked(lambda: library.picture(collection, item_id)), format="jpeg")

    return server


class Library:
    """The collections of a server, and what is done with them."""

    def __init__(self, collections: Sequence[Collection], rerank: Sequence[AnyReranker], backend: Backend | str | None) -> None:
        self._collections = {collection.path.resolve().name: collection for collection in collections}
        if len(self._collections) < len(collections):
            raise InputError("two collections have one name", hint="Rename a folder: agents name collections by them.")
        self._rerank, self._backend = tuple(rerank), backend

    def listing(self) -> list[dict[str, Any]]:
        """The collections as records."""
        return [
            {
                "name": name,
                "items": len(collection),
                "has_pages": collection.version.has_pages,
                "takes": capabilities.takes(collection.version),
                "fields": capabilities.fields(collection.version),
            }
            for name, collection in self._collections.items()
        ]

    def search(
        self, name: str | None, text: str | None, like: str | None, without: Sequence[str], filter: str | None, k: int
    ) -> list[dict[str, Any]]:
        """The hits of a search as records."""
        collection = self._open(name)
        image = None if like is None else _picture_of(collection.item(like))
        options: dict[str, Any] = {
            "exclude_text": tuple(without),
            "filter": filter,
            "k": k,
            "rerank": self._rerank,
            "backend": self._backend,
        }
        return [_hit(hit) for hit in collection.search(text, image=image, **options)]

    def ask(self, name: str | None, question: str, filter: str | None) -> dict[str, Any]:
        """An answer with its citations as a record."""
        answer = self._open(name).ask(question, filter=filter, rerank=self._rerank, backend=self._backend).answer
        return {"answer": answer.text, "found": answer.found, "citations": [_citation(citation) for citation in answer.citations]}

    def rerank(self, query: str, documents: Sequence[str]) -> list[dict[str, Any]]:
        """The order of texts as records."""
        result: RerankResult = rerank_documents(query, documents, self._rerank or RERANKS_BY_WORDS, backend=self._backend)
        return [{"index": one.index, "score": one.score, "reason": one.reason} for one in result]

    def picture(self, name: str | None, item_id: str) -> bytes:
        """The picture of an item as JPEG, its longer side at most SIDE_PX.

        Raises:
            InputError: there is no such item, or it has no picture.
            FormatError: its picture cannot be opened.
        """
        opened = _picture_of(self._open(name).item(item_id)).open()
        opened.thumbnail((SIDE_PX, SIDE_PX))
        stream = BytesIO()
        opened.save(stream, "JPEG", quality=85)
        return stream.getvalue()

    def _open(self, name: str | None) -> Collection:
        """A collection at its newest version."""
        names = list(self._collections)
        if name is None and len(names) != 1:
            raise InputError(f"name a collection; there are: {', '.join(names) or 'none'}")
        if name is not None and name not in self._collections:
            raise UnknownName.among("collection", name, names)
        collection = self._collections[name or names[0]]
        collection.refresh()
        return collection


async def _worked(work: Callable[[], T]) -> T:
    """The work done in a thread; errors of ours as errors of the tool, with what to do.

    Raises:
        ToolError: the work cannot be done.
    """
    try:
        return await asyncio.to_thread(work)
    except MMRerankError as error:
        raise ToolError(str(error)) from error


def _picture_of(item: Item) -> Any:
    if item.image is None:
        raise InputError(f"the item {item.item_id!r} has no picture", hint="It is a text: search shows it.")
    return item.image


def _hit(hit: Hit) -> dict[str, Any]:
    return {"rank": hit.rank, "score": hit.score, "reason": hit.reason, **_item(hit.item)}


def _citation(citation: Citation) -> dict[str, Any]:
    return {"score": citation.score, "quote": citation.quote, **_item(citation.item)}


def _item(item: Item) -> dict[str, Any]:
    text = body_of(item.text or "")
    return {
        "item_id": item.item_id,
        "document_id": item.document_id,
        "page_number": item.page_number,
        "text": text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…",
        "has_picture": item.image is not None,
    }
