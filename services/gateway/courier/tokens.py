"""Where the couriers share access tokens. Owner of the collection ``tokens``.

The token is stored as it is: whoever can read this collection can call WeChat as the account for up to two hours. It
stands beside the AppSecrets in ``accounts``, which allow the same for longer, so encrypting it with a key that every
courier has would add nothing: access to the database is what has to be guarded. It is never logged.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from chassis import metrics
from chassis.mongo import Database, DuplicateKeyError, ReturnDocument, timed
from chassis.wechat.tokens import StoredToken
from services.gateway.courier.clock import Clock


class MongoTokens:
    """``chassis.wechat.tokens.TokenStore`` over MongoDB; ``_id`` is the appid."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._collection = database["tokens"]
        self._clock = clock
        self._ends: dict[str, float] = {}

    async def get(self, appid: str) -> StoredToken | None:
        with timed("find"):
            document = await self._collection.find_one({"_id": appid})
        return self._read(appid, document)

    async def lease(self, appid: str, holder: str, seconds: float) -> bool:
        """See ``TokenStore``: an update that matches only a lease that is free, over or the holder's own."""
        now = self._clock()
        free = {"$or": [{"lease": {"$exists": False}}, {"lease.until": {"$lte": now}}, {"lease.holder": holder}]}
        lease = {"holder": holder, "until": now + timedelta(seconds=seconds)}
        try:
            with timed("update"):
                await self._collection.update_one({"_id": appid, **free}, {"$set": {"lease": lease}}, upsert=True)
        except DuplicateKeyError:
            # The document is there and did not match: somebody else has the lease.
            return False
        return True

    async def put(self, appid: str, token: str, expires_at: float, version_seen: int) -> StoredToken:
        """See ``TokenStore``: a late one, whose lease ended meanwhile, does not replace what came after it."""
        values = {"value": token, "version": version_seen + 1, "expires_at": expires_at}
        seen = {"version": version_seen} if version_seen else {"version": {"$exists": False}}
        try:
            with timed("find_and_modify"):
                document = await self._collection.find_one_and_update(
                    {"_id": appid, **seen},
                    {"$set": values, "$unset": {"lease": ""}},
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
        except DuplicateKeyError:
            with timed("find"):
                document = await self._collection.find_one({"_id": appid})
        stored = self._read(appid, document)
        return stored or StoredToken(token, version_seen + 1, expires_at)

    def _read(self, appid: str, document: dict[str, Any] | None) -> StoredToken | None:
        if document is None or "value" not in document:
            return None
        stored = StoredToken(document["value"], document["version"], document["expires_at"])
        self._ends[appid] = stored.expires_at
        metrics.token_expires.set(min(self._ends.values()))
        return stored
