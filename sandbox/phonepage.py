"""Serves the phone page: plain files, no build step, and a policy that lets nothing else in."""

import struct
import zlib
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.uploads import Shelf

_FOLDER = Path(__file__).parent / "phone"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def phone_routes(shelf: Shelf) -> list[web.RouteDef]:
    files = [web.get(f"/sandbox/{path.name}", _file(path)) for path in sorted(_FOLDER.iterdir())]
    return [
        web.get("/sandbox", _to_page),
        web.get("/sandbox/", _file(_FOLDER / "index.html")),
        *files,
        web.get("/sandbox/picture.png", _picture),
        web.get("/sandbox/media/{media_id}", _uploaded(shelf)),
    ]


async def _to_page(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/sandbox/")


def _file(path: Path) -> Handler:
    body = path.read_bytes()

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=_TYPES[path.suffix], charset="utf-8", headers=_HEADERS)

    return handle


def _uploaded(shelf: Shelf) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        """An uploaded file, as the phone shows it. It stays to be seen after its id has expired, as on a phone."""
        file = shelf.get(request.match_info["media_id"])
        if file is None:
            raise web.HTTPNotFound(reason="no file was uploaded under this id, or the sandbox has started anew since")
        headers = {**_HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox"}
        return web.Response(body=file.content, content_type=file.content_type, headers=headers)

    return handle


async def _picture(_request: web.Request) -> web.Response:
    """What a follower's picture shows: a small square, enough for somebody who fetches PicUrl."""
    return web.Response(body=_PNG, content_type="image/png", headers={"X-Content-Type-Options": "nosniff"})


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(side: int, colour: tuple[int, int, int]) -> bytes:
    rows = (b"\x00" + bytes(colour) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


_PNG = _png(64, (7, 193, 96))
