"""Uploads to WeChat: a file of the library gets an id, or words that say why not; one process at a time a file."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

from chassis import logs, metrics
from chassis.wechat.outcome import Outcome
from contracts.content import Content, media_ids, media_names, with_id, with_media
from contracts.errcodes import Fate, explain
from contracts.errors import Later, Retry
from services.gateway.accounts import Account
from services.gateway.courier import budget
from services.gateway.courier.clock import Clock
from services.gateway.courier.lines import Lines
from services.gateway.courier.media import MediaStore, Row, key_of

log = logs.get(__name__)

PATIENCE_SECONDS = 5.0
"""How long a send waits in this process for its file's upload, less than its claim lasts; then on the bus."""
AGAIN_SECONDS = 5.0
FRESH = timedelta(seconds=60)
"""An id younger than this that WeChat does not know gets no better by another upload."""
MARGIN = timedelta(minutes=1)
"""An id that ends within this is as good as ended: the call must still arrive."""

_FIRST_WAIT = timedelta(seconds=30)
_MOST_WAIT = timedelta(minutes=30)
_REFUSED_WAIT = timedelta(days=1)
"""What WeChat refuses for good is not tried again by itself for so long."""
_SOON = timedelta(hours=1)
_MISSING = "its file is missing in the library: add it again"


def _always(media_id: str, _name: str, _kind: str) -> str:
    return media_id


class NoMedia(Exception):
    """The content's file cannot be had; the text says why, and what to do."""


class Uploads:
    """Uploads files of the library, and puts their ids into contents."""

    def __init__(self, store: MediaStore, lines: Lines, clock: Clock) -> None:
        self._store = store
        self._lines = lines
        self._clock = clock
        self._running: dict[str, asyncio.Task[Row | None]] = {}

    async def resolve(self, account: Account, content: Content) -> Content:
        """The content with an id that WeChat still knows, uploading the file first if that is needed.

        An id that was one of the library's is replaced by the present one. Raises ``NoMedia``, ``Later``, ``Retry``.
        """
        for name, kind in media_names(content).items():
            row = await self._store.get(account.name, name)
            if row is None:
                raise NoMedia(f"There is no media {name!r} in the library of the account.")
            if row["kind"] != kind:
                raise NoMedia(f"The media {name!r} is of kind {row['kind']}; this needs {kind}.")
            return with_media(content, partial(_always, await self._id(account, row))) or content
        for given in media_ids(content):
            if row := await self._store.of_id(account.name, given):
                return with_id(content, await self._id(account, row))
        return content

    async def renew(self, account: Account, content: Content) -> bool:
        """WeChat does not know this content's id: upload its file again; False when that is of no use."""
        for given in media_ids(content):
            row = await self._store.of_id(account.name, given)
            if row is None:
                return False
            if row["media_id"] != given:  # somebody else has done it meanwhile
                return True
            if self._clock() - row["uploaded_at"] < FRESH:
                return False
            return bool((await self.ensure(account, row)).get("media_id") != given)
        return False

    def good(self, row: Row) -> bool:
        """Whether the row's id can be sent."""
        return bool(row.get("media_id")) and bool(row["expires_at"] > self._clock() + MARGIN)

    async def ensure(self, account: Account, row: Row) -> Row:
        """The row after an upload that was begun after this call or was under way.

        Raises ``Later`` when it takes long, ``Retry`` when it failed for now, ``NoMedia`` when it failed for longer.
        """
        key = row["_id"]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._upload(account, row))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        if not done:
            raise Later("media_upload", AGAIN_SECONDS)
        after = task.result()
        if after is None:  # another process is at it
            raise Later("media_upload", AGAIN_SECONDS)
        self._mind(after)
        return after

    async def close(self) -> None:
        """End what is under way; its lease runs out by itself."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _id(self, account: Account, row: Row) -> str:
        if not self.good(row):
            self._mind(row)
            row = await self.ensure(account, row)
            if not self.good(row):  # the file was replaced meanwhile: the new one is to be uploaded
                raise Later("media_upload", AGAIN_SECONDS)
        await self._store.used(row)
        return str(row["media_id"])

    def _mind(self, row: Row) -> None:
        """Raise when the row is not to be tried before long."""
        wait = row["not_before"] - self._clock() if row.get("not_before") else timedelta()
        if wait > timedelta():
            words = f"The media {row['name']!r} could not be uploaded: {row['last_error']}"
            raise NoMedia(words) if wait > _SOON else Retry("media_upload", words)

    async def _upload(self, account: Account, seen: Row) -> Row | None:
        row = await self._store.lease(account.name, seen["name"])
        if row is None:
            return None
        if self.good(row) and row["media_id"] != seen.get("media_id"):
            await self._store.release(row)
            return row
        content = await self._store.whole(row)
        if content is None:
            await self._store.failed(row, _MISSING, _REFUSED_WAIT)
        else:
            answer = await self._lines.to(account).api.media_upload(
                row["kind"], row["filename"], content, row["content_type"]
            )
            await self._note(row, answer)
        return await self._store.get(account.name, row["name"])

    async def _note(self, row: Row, answer: Outcome) -> None:
        data = answer.data or {}
        media_id = data.get("media_id") or data.get("thumb_media_id")
        if answer.fate is Fate.OK and isinstance(media_id, str):
            metrics.media_uploads.labels("ok").inc()
            await self._store.uploaded(row, media_id)
            return
        words = explain(answer.errcode) if answer.errcode else answer.errmsg or "WeChat gave no id"
        log.warning("media could not be uploaded", media=key_of(row["account"], row["name"]), errcode=answer.errcode)
        if answer.fate is Fate.WAIT_MIDNIGHT:
            metrics.media_uploads.labels("quota").inc()
            until = datetime.fromtimestamp(budget.midnight(self._clock().timestamp()), UTC)
            await self._store.failed(row, words, until - self._clock())
            await self._store.hold_back(row["account"], until, words)
            return
        refused = answer.fate in (Fate.FINAL, Fate.OTHER_ROAD, Fate.FOLLOWER_GONE) and not answer.token_trouble
        metrics.media_uploads.labels("refused" if refused else "failed").inc()
        wait = _REFUSED_WAIT if refused else min(_FIRST_WAIT * 2 ** min(row.get("tries", 0), 10), _MOST_WAIT)
        await self._store.failed(row, words, wait)
