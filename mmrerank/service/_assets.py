"""Pictures of items, grids, and the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from mmrerank.service._failures import RESPONSES, NoSuchThing
from mmrerank.service._rendering import as_jpeg
from mmrerank.service._searching import gone
from mmrerank.service._state import Service
from mmrerank.service.schemas import Error, ItemId

PAGE = Path(__file__).parent / "page"
THUMBNAIL_PX, PICTURE_PX = 320, 1600
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
Id = Annotated[ItemId, Query(alias="id", description="The item.", examples=["cats/tabby.jpg"])]
Side = Annotated[int, Query(ge=16, le=4096, description="The longer side in pixels.")]
IMAGES: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    200: {"content": {"image/jpeg": {}}, "description": "The picture."},
    304: {"description": "It is as it was."},
    410: {"model": Error, "description": "Its file is gone or broken."},
}
GRID: dict[int | str, dict[str, Any]] = {**RESPONSES, 200: {"content": {"image/png": {}}, "description": "The grid."}}


def router(service: Service) -> APIRouter:
    """The routes, over one service."""
    routes = APIRouter()

    @routes.get("/v1/collections/{collection}/picture", response_class=Response, responses=IMAGES, tags=["pictures"])
    async def picture(request: Request, collection: str, item: Id, side: Side = PICTURE_PX) -> Response:
        """The picture of an item, or the page rendered, no larger than `side`."""
        return await _rendering(service, request, collection, item, side)

    @routes.get("/v1/collections/{collection}/thumbnail", response_class=Response, responses=IMAGES, tags=["pictures"])
    async def thumbnail(request: Request, collection: str, item: Id) -> Response:
        """The picture of an item, small."""
        return await _rendering(service, request, collection, item, THUMBNAIL_PX)

    @routes.get("/v1/grids/{name}", response_class=Response, responses=GRID, tags=["pictures"])
    async def grid(name: str) -> Response:
        """A grid that a reranker showed its model, kept for a while."""
        return Response(service.grids.get(name), media_type="image/png", headers={"Cache-Control": "private, max-age=3600, immutable"})

    @routes.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file("index.html")

    @routes.get("/static/{path:path}", include_in_schema=False)
    async def static(path: str) -> Response:
        return _file(path)

    return routes


async def _rendering(service: Service, request: Request, collection: str, item_id: str, side_px: int) -> Response:
    """The picture of an item as JPEG; nothing but 304 for who has it as it is."""

    def work() -> tuple[str, bytes | None]:
        _, version = service.version(collection)
        key = service.key_of(item_id, version, "id")  # another one once the item changes
        etag = f'"{key:x}-{side_px}"'
        return etag, None if etag == request.headers.get("if-none-match") else as_jpeg(version.item(item_id), side_px)

    etag, data = await service.work.run(work, gone=lambda: gone(request))
    headers = {"ETag": etag, "Cache-Control": "private, max-age=60"}
    if data is None:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)


def _file(name: str) -> Response:
    """A file of the web page; nothing outside of its folder, and nothing of another type."""
    try:
        path = (PAGE / name).resolve()
        is_ours = path.is_file() and path.is_relative_to(PAGE.resolve()) and path.suffix in TYPES
    except (ValueError, OSError):  # a zero byte, a name too long
        is_ours = False
    if not is_ours:
        raise NoSuchThing("there is no such page")
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})
