"""The media library over HTTP. A file is what its bytes say; what WeChat would not take is refused at once."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from typing import IO, Annotated

import msgspec
from aiohttp import web

from chassis.api import Call, endpoint
from chassis.http import Problem
from services.gateway.accounts import AccountDirectory
from services.gateway.courier.media import LibraryFull, Media, MediaStore, Row, shown
from services.gateway.courier.mediafile import MAX_BYTES, MediaRefused, check_name, limit, read, too_large

AT_A_TIME = 2
"""Uploads that are taken at a time: each has its file in memory for a moment."""
MAX_TAKEN = 64 * 1024 * 1024
"""Bytes of a file that is too large anyway that are still taken before the connection is given up."""
SECONDS = 120.0
"""Longest time that one may take to send its file."""

_NONE = (404, "not_found")
_REFUSED = ("bad_name", "bad_kind", "media_empty", "media_type", "media_damaged", "media_too_long", "library_full")


class MediaPutQuery(msgspec.Struct):
    kind: Annotated[str, msgspec.Meta(description="image, voice, video or thumb; left out, it follows from it")] = ""


class MediaListQuery(msgspec.Struct):
    account: str = ""


class MediaLibrary(msgspec.Struct):
    media: list[Media]


class MediaApi:
    def __init__(self, store: MediaStore, accounts: AccountDirectory) -> None:
        self._store = store
        self._accounts = accounts
        self._places = asyncio.Semaphore(AT_A_TIME)

    @endpoint("GET", "/api/media", "The media library", allow="media.read", query=MediaListQuery, answers=MediaLibrary)
    async def list(self, call: Call) -> MediaLibrary:
        """Every file with its id at WeChat and what went wrong with it last."""
        return MediaLibrary([shown(row) for row in await self._store.all(call.query.account)])

    @endpoint(
        "PUT", "/api/media/{account}/{name}", "Add or replace a file", allow="media.write", query=MediaPutQuery,
        answers=Media, errors=(_NONE, (408, "too_slow"), (413, "media_too_large"), *((422, one) for one in _REFUSED)),
    )  # fmt: skip
    async def put(self, call: Call) -> Media:
        """The body is the file itself, whatever its content type is said to be."""
        account, kind = call.path["account"], call.query.kind
        if self._accounts.get(account) is None:
            raise Problem(404, "not_found", f"there is no account {account[:40]!r}")
        try:
            name = check_name(call.path["name"])
            async with self._places, asyncio.timeout(SECONDS):
                with tempfile.TemporaryFile() as file:
                    size, sha256 = await self._take(call.request, file, kind)
                    file.seek(0)
                    facts = read(file.read(), kind)
                    file.seek(0)
                    row, new = await self._store.put(account, name, "", facts, file, size, sha256, call.who.name)
        except MediaRefused as error:
            raise Problem(413 if error.code == "media_too_large" else 422, error.code, str(error)) from None
        except LibraryFull:
            raise Problem(422, "library_full", "the library is full: remove a file that nothing uses") from None
        except TimeoutError:
            raise Problem(408, "too_slow", f"the file did not arrive within {SECONDS:.0f} s: send it again") from None
        if new:
            await call.audit("media.put", name, {"kind": facts.kind, "size": size, "sha256": sha256})
        return shown(row)

    @endpoint(
        "GET", "/api/media/{account}/{name}", "One file's data", allow="media.read", answers=Media, errors=(_NONE,)
    )
    async def get(self, call: Call) -> Media:
        return shown(await self._row(call))

    @endpoint(
        "GET", "/api/media/{account}/{name}/content", "The file itself", allow="media.read",
        produces="application/octet-stream", errors=(_NONE,),
    )  # fmt: skip
    async def content(self, call: Call) -> web.StreamResponse:
        """To be saved: a browser does not run or guess anything of it."""
        row = await self._row(call)
        body = await self._store.whole(row)
        if body is None:
            raise _missing()
        return web.Response(
            body=body,
            content_type="application/octet-stream",
            headers={
                "Content-Disposition": "attachment",
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Cache-Control": "no-store",
            },
        )

    @endpoint(
        "DELETE", "/api/media/{account}/{name}", "Remove a file", allow="media.write", status=204,
        errors=(_NONE, (409, "in_use")),
    )  # fmt: skip
    async def remove(self, call: Call) -> None:
        """Refused while the account's published rules use it."""
        row = await self._row(call)
        if row["name"] in await self._store.live_names(row["account"]):
            raise Problem(409, "in_use", "the published rules use it: publish rules without it first")
        await self._store.remove(row["account"], row["name"])
        await call.audit("media.removed", row["name"])

    async def _row(self, call: Call) -> Row:
        try:
            row = await self._store.get(call.path["account"], check_name(call.path["name"]))
        except MediaRefused:
            row = None
        if row is None:
            raise _missing()
        return row

    async def _take(self, request: web.Request, file: IO[bytes], kind: str) -> tuple[int, str]:
        most = min(limit(kind), MAX_BYTES)
        size, digest = 0, hashlib.sha256()
        async for chunk in request.content.iter_chunked(64 * 1024):
            size += len(chunk)
            if size > MAX_TAKEN:
                break
            if size <= most:
                digest.update(chunk)
                file.write(chunk)
            # What is too much is still taken, and thrown away: a sender that is cut off never reads why.
        if size > most:
            raise too_large(kind)
        return size, digest.hexdigest()


def _missing() -> Problem:
    return Problem(404, "not_found", "there is no such media; GET /api/media lists what there is")
