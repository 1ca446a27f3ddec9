"""The media library: files of an account by name, and the platform's id of each. Owner of ``media`` and its files.

The platform keeps an upload for three days; the file itself stays with us, in GridFS, so that it can be uploaded again
whenever its id is about to end or has ended. A row changes in one step, so a reader never sees half of a change; a file
that no row names any more is what a killed process left, and goes when it is found.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import IO, Any

import msgspec

from chassis.mongo import (
    DESCENDING,
    CorruptGridFile,
    Database,
    DuplicateKeyError,
    NoFile,
    ReturnDocument,
    bucket,
    timed,
)
from services.gateway.courier.clock import Clock
from services.gateway.courier.mediafile import ENDINGS, MediaFacts

COLLECTION = "media"
FILES = "media_files"
MAX_NAMES = 1000
"""Files of one account."""

LIFETIME = timedelta(days=3)
"""How long the platform keeps an upload. It does not say when it ends: this is what its page promises."""
RENEW_BEFORE = timedelta(hours=12)
LEASE = timedelta(seconds=90)
"""An upload that takes longer than this is given up by its process (see ``uploads``)."""
USED_FOR = timedelta(days=7)
"""A file that was sent or uploaded lately is kept ready for so long."""
OLD_IDS = 4
"""Ids before the present one that are remembered, to know a content by that was made with one of them."""
ORPHAN_AFTER = timedelta(hours=1)

Row = dict[str, Any]


class Media(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file of the library, as it is shown. ``expires_at`` is when the platform forgets it."""

    account: str
    name: str
    kind: str
    filename: str
    content_type: str
    size: int
    sha256: str
    uploaded_by: str
    at: datetime
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    media_id: str = ""
    uploaded_at: datetime | None = None
    expires_at: datetime | None = None
    last_error: str = ""


def key_of(account: str, name: str) -> str:
    return f"{account}|{name}"


def shown(row: Row) -> Media:
    return msgspec.convert({k: v for k, v in row.items() if k in Media.__struct_fields__}, Media)


class LibraryFull(Exception):
    """The account has as many files as it may have."""


class MediaStore:
    """The library in MongoDB. ``clock`` should be one that all couriers share; ``holder`` names this process."""

    def __init__(self, database: Database, clock: Clock, holder: str) -> None:
        self._rows = database[COLLECTION]
        self._live = database["rules_live"]
        self._stored = database[f"{FILES}.files"]
        self._database = database
        self._clock = clock
        self._holder = holder

    async def prepare(self) -> None:
        with timed("create_index"):
            await self._rows.create_index([("account", 1), ("name", 1)])
            await self._rows.create_index("ids")
            await self._rows.create_index([("expires_at", 1)])

    async def get(self, account: str, name: str) -> Row | None:
        with timed("find"):
            row: Row | None = await self._rows.find_one({"_id": key_of(account, name)})
        return row

    async def all(self, account: str = "") -> list[Row]:
        """The rows of one account, or of all, by name."""
        with timed("find"):
            rows: list[Row] = await self._rows.find({"account": account} if account else {}).sort("_id").to_list(None)
        return rows

    async def put(
        self,
        account: str,
        name: str,
        filename: str,
        facts: MediaFacts,
        file: IO[bytes],
        size: int,
        sha256: str,
        by: str,
    ) -> tuple[Row, bool]:
        """Keep a file under a name, in place of one that has it; and whether it is a new one.

        The same file again changes nothing, so that its id stays. Raises ``LibraryFull``.
        """
        known = await self.get(account, name)
        if known and known["sha256"] == sha256 and known["kind"] == facts.kind:
            return known, False
        if known is None:
            with timed("count"):
                count = await self._rows.count_documents({"account": account})
            if count >= MAX_NAMES:
                raise LibraryFull(account)
        with timed("gridfs"):
            stored = await self._bucket().upload_from_stream(key_of(account, name), file)
        row: Row = {
            "_id": key_of(account, name),
            "account": account,
            "name": name,
            "kind": facts.kind,
            "filename": filename or name + ENDINGS[facts.content_type],
            "content_type": facts.content_type,
            "size": size,
            "sha256": sha256,
            "seconds": facts.seconds,
            "width": facts.width,
            "height": facts.height,
            "uploaded_by": by,
            "at": self._clock(),
            "file": stored,
            "ids": [],
            "tries": 0,
        }
        with timed("replace"):
            try:
                before = await self._rows.find_one_and_replace({"_id": row["_id"]}, row, upsert=True)
            except DuplicateKeyError:  # somebody else made it in this moment: the later one wins
                before = await self._rows.find_one_and_replace({"_id": row["_id"]}, row)
        if before:
            await self._delete_file(before["file"])
        return row, True

    async def remove(self, account: str, name: str) -> bool:
        """Forget a file; False when there was none of that name."""
        with timed("delete"):
            row = await self._rows.find_one_and_delete({"_id": key_of(account, name)})
        if row:
            await self._delete_file(row["file"])
        return row is not None

    async def live_names(self, account: str) -> frozenset[str]:
        """The names that the account's published rules use."""
        with timed("find"):
            live = await self._live.find_one({"_id": account}, {"media": 1})
        return frozenset((live or {}).get("media") or ())

    async def content(self, row: Row) -> AsyncIterator[bytes]:
        """The file in pieces. Raises ``NoFile`` when it has been replaced or removed meanwhile."""
        with timed("gridfs"):
            stream = await self._bucket().open_download_stream(row["file"])
        try:
            while True:
                with timed("gridfs"):
                    chunk = await stream.readchunk()
                if not chunk:
                    return
                yield chunk
        finally:
            stream.close()

    async def whole(self, row: Row) -> bytes | None:
        """The whole file; None when it is not there any more."""
        try:
            return b"".join([chunk async for chunk in self.content(row)])
        except (NoFile, CorruptGridFile):
            return None

    # -- uploads --

    async def lease(self, account: str, name: str, *, unless: str = "") -> Row | None:
        """The row, if this process may upload its file now; None when another does, or it is not there.

        With ``unless``, only while the id is still this one: who finds another has no more to do.
        """
        now = self._clock()
        query = {
            "_id": key_of(account, name),
            "$or": [{"lease": {"$exists": False}}, {"lease": {"$lte": now}}],
        }
        if unless:
            query["media_id"] = unless
        with timed("update"):
            row: Row | None = await self._rows.find_one_and_update(
                query,
                {"$set": {"lease": now + LEASE, "holder": self._holder}},
                return_document=ReturnDocument.AFTER,
            )
        return row

    async def uploaded(self, row: Row, media_id: str) -> bool:
        """Note the file's new id and end the lease. False when the file was replaced meanwhile."""
        now = self._clock()
        ids = [media_id, *(row.get("ids") or [])][:OLD_IDS]
        change = {
            "$set": {
                "media_id": media_id,
                "ids": ids,
                "uploaded_at": now,
                "expires_at": now + LIFETIME,
                "tries": 0,
            },
            "$unset": {"lease": "", "holder": "", "last_error": "", "not_before": ""},
        }
        return await self._settle(row, change)

    async def release(self, row: Row) -> None:
        """End the lease: there was nothing to do."""
        await self._settle(row, {"$unset": {"lease": "", "holder": ""}})

    async def failed(self, row: Row, why: str, wait: timedelta) -> bool:
        """Note why it could not be uploaded, and when it may be tried again by itself."""
        change = {
            "$set": {"last_error": why, "not_before": self._clock() + wait},
            "$inc": {"tries": 1},
            "$unset": {"lease": "", "holder": ""},
        }
        return await self._settle(row, change)

    async def _settle(self, row: Row, change: Row) -> bool:
        with timed("update"):
            result = await self._rows.update_one({"_id": row["_id"], "file": row["file"]}, change)
        return bool(result.matched_count)

    async def hold_back(self, account: str, until: datetime, why: str) -> None:
        """Try none of the account's files before ``until``: its quota of uploads is used up."""
        with timed("update"):
            await self._rows.update_many(
                {"account": account, "$or": [{"not_before": {"$exists": False}}, {"not_before": {"$lt": until}}]},
                {"$set": {"not_before": until, "last_error": why}},
            )

    async def of_id(self, account: str, media_id: str) -> Row | None:
        """The row that has, or had lately, this id of the platform."""
        with timed("find"):
            row: Row | None = await self._rows.find_one({"ids": media_id, "account": account})
        return row

    async def used(self, row: Row) -> None:
        """Remember that it was sent, to keep it ready; to the hour, which is one write an hour at most."""
        now = self._clock()
        if (before := row.get("used_at")) and now - before < timedelta(hours=1):
            return
        with timed("update"):
            await self._rows.update_one({"_id": row["_id"]}, {"$set": {"used_at": now}})

    async def due(self) -> list[Row]:
        """What is to be uploaded now: without an id, or with one that ends within ``RENEW_BEFORE``; and wanted.

        Wanted is what published rules use, and what was added or sent within ``USED_FOR``. Anything else is uploaded
        when it is next sent: renewing for ever what nobody sends would use up the account's quota of uploads.
        """
        now = self._clock()
        query = {
            "$and": [
                {"$or": [{"expires_at": {"$exists": False}}, {"expires_at": {"$lte": now + RENEW_BEFORE}}]},
                {"$or": [{"not_before": {"$exists": False}}, {"not_before": {"$lte": now}}]},
                {"$or": [{"lease": {"$exists": False}}, {"lease": {"$lte": now}}]},
            ]
        }
        with timed("find"):
            rows: list[Row] = await self._rows.find(query).sort([("expires_at", 1), ("at", DESCENDING)]).to_list(200)
        live: dict[str, frozenset[str]] = {}
        wanted = []
        for row in rows:
            if row["account"] not in live:
                live[row["account"]] = await self.live_names(row["account"])
            if row["name"] in live[row["account"]] or now - max(row["at"], row.get("used_at") or row["at"]) < USED_FOR:
                wanted.append(row)
        return wanted

    async def sweep_files(self) -> int:
        """Delete the files that no row names, left by a process that died between the two; how many."""
        before = self._clock() - ORPHAN_AFTER
        swept = 0
        with timed("find"):
            old = await self._stored.find({"uploadDate": {"$lt": before}}, {"_id": 1, "filename": 1}).to_list(None)
        for file in old:
            with timed("find"):
                row = await self._rows.find_one({"_id": file["filename"]}, {"file": 1})
            if row is None or row["file"] != file["_id"]:
                await self._delete_file(file["_id"])
                swept += 1
        return swept

    async def _delete_file(self, file: Any) -> None:
        try:
            with timed("gridfs"):
                await self._bucket().delete(file)
        except NoFile:
            pass

    def _bucket(self) -> Any:
        return bucket(self._database, FILES)
