"""Writing in batches: one round trip for a whole batch, and one bad document that does not take the others with it."""

from __future__ import annotations

import asyncio
from typing import Any

from chassis import logs, metrics
from chassis.mongo import ASCENDING, BulkWriteError, Database, PyMongoError, ensure_clustered, insert_new, timed
from contracts.errors import Retry, Unavailable
from services.history.documents import Document, plain
from services.history.outcomes import merge

log = logs.get(__name__)

PING_SECONDS = 2.0
DUPLICATE_KEY = 11000
LOCKED_OUT = (13, 18)
"""Unauthorized, AuthenticationFailed: true of every document alike."""
MERGE_TRIES = 10
ACCOUNT_INDEX = "account_at_id"
ID_INDEX = "_id_"
OPENID_INDEX = "openid_at"


class Store:
    """The collections ``messages`` and ``facts``. Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.messages: Any = database["messages"]
        self.facts: Any = database["facts"]
        self.reachable = False
        """How the last write or ping ended."""

    async def prepare(self) -> None:
        """Make collections and indexes, idempotently.

        ``messages`` has one index beside ``_id`` and no more: each costs a flood. It is not clustered by ``_id``: with
        280,000 pairs of documents in it a pair cost mongod 257 us clustered and with an index on openid, 48 us as here.
        """
        await ensure_clustered(self.database, "facts")
        with timed("create_index"):
            # Lists page by (at, _id) within an account, so the index ends in _id.
            await self.messages.create_index(
                [("account", ASCENDING), ("at", ASCENDING), ("_id", ASCENDING)], name=ACCOUNT_INDEX
            )
            await self.facts.create_index([("openid", ASCENDING), ("at", ASCENDING)], name=OPENID_INDEX)
        self.reachable = True

    async def keep_asking(self) -> None:
        """Ping for ever, so that ``reachable`` is true to life while nothing is written."""
        while True:
            try:
                with timed("ping"):
                    await self.database.command("ping")
                self.reachable = True
            except Exception as error:  # whatever it is, the store did not answer
                if self.reachable:
                    log.warning("mongodb does not answer", error=repr(error))
                self.reachable = False
            await asyncio.sleep(PING_SECONDS)

    async def add(self, collection: Any, documents: list[Document]) -> tuple[int, dict[str, Exception]]:
        """Insert what is not there yet. How many were known, and for ids that cannot be stored the reason."""
        if not documents:
            return 0, {}
        metrics.store_batch.observe(len(documents))
        failed: dict[str, Exception] = {}
        try:
            new, known = await insert_new(collection, documents)
        except Unavailable:
            self.reachable = False
            raise
        except BulkWriteError as error:
            if error.details.get("writeConcernErrors"):
                raise Unavailable("mongodb", "the write was not made durable") from error
            new = error.details["nInserted"]
            known = 0
            for item in error.details["writeErrors"]:
                if item["code"] == DUPLICATE_KEY:
                    known += 1
                else:
                    failed[documents[item["index"]]["_id"]] = Retry("store", str(item["errmsg"])[:300])
        except Exception as error:
            if isinstance(error, PyMongoError) and getattr(error, "code", None) in LOCKED_OUT:
                self.reachable = False
                raise Unavailable("mongodb", repr(error)[:300]) from error
            # Something here does not fit into BSON (a number too large, a NUL in a name, nested too deep).
            return await self._add_singly(collection, documents, error)
        self.reachable = True
        metrics.stored.labels("new").inc(new)
        metrics.stored.labels("duplicate").inc(known)
        return known, failed

    async def _add_singly(
        self, collection: Any, documents: list[Document], error: Exception
    ) -> tuple[int, dict[str, Exception]]:
        """Find the document that cannot be written, and write it as text; what fails even so has itself to blame."""
        if len(documents) > 1:
            known = 0
            failed: dict[str, Exception] = {}
            for document in documents:
                more, why = await self.add(collection, [document])
                known += more
                failed |= why
            return known, failed
        kept = plain(documents[0])
        if kept is documents[0]:
            return 0, {kept["_id"]: error}
        return await self.add(collection, [kept])

    async def merge_outcomes(self, documents: list[Document]) -> dict[str, Exception]:
        """Bring what is told about answers that are stored already into their documents; ids that failed, and why."""
        left = {document["_id"]: document for document in documents}
        for _ in range(MERGE_TRIES):
            with timed("find"):
                stored = await self.messages.find({"_id": {"$in": list(left)}, "direction": "out"}).to_list(None)
            changed = [(old, new) for old in stored if (new := merge(old, left[old["_id"]])) != old]
            left = {old["_id"]: left[old["_id"]] for old, new in changed if not await self._replace(old, new)}
            if not left:
                return {}
        return {name: Retry("contended", "the answer changed under our hands again and again") for name in left}

    async def _replace(self, old: Document, new: Document) -> bool:
        """Replace a document; False when somebody else was faster, and what it says now must be merged anew."""
        unchanged = {"_id": old["_id"], **{name: old.get(name) for name in ("status", "via", "others")}}
        with timed("replace"):
            result = await self.messages.replace_one(unchanged, new)
        return bool(result.matched_count)

    async def known(self, names: list[str]) -> set[str]:
        """Which of these ids ``messages`` has."""
        with timed("find"):
            found = await self.messages.find({"_id": {"$in": names}}, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}
