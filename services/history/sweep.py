"""The sweep that erases: follower by follower, batch by batch, and safe to stop and start again anywhere."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from chassis import logs
from chassis.mongo import timed
from services.history.documents import Document, of_follower
from services.history.erasure import Pseudonyms
from services.history.followers import Followers
from services.history.incidents import Incidents
from services.history.index import Index
from services.history.store import ID_INDEX, OPENID_INDEX, Store

log = logs.get(__name__)

SWEEP_SECONDS = 3600.0
AGAIN_SECONDS = 60.0
BATCH = 500
_KEY = "erasure"


class Sweep:
    """Pseudonymises the followers whose time has come. Several processes may run it: they share the work."""

    def __init__(
        self,
        store: Store,
        followers: Followers,
        index: Index,
        incidents: Incidents,
        clock: Callable[[], datetime],
        tell: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._tell = tell
        self._followers = followers
        self._index = index
        self._incidents = incidents
        self._clock = clock
        self._pseudonyms: Pseudonyms | None = None

    async def pseudonyms(self) -> Pseudonyms:
        """The pseudonyms of this installation; the key is made once and kept in ``history_keys``."""
        if self._pseudonyms is None:
            keys: Any = self._store.database["history_keys"]
            with timed("update"):
                await keys.update_one({"_id": _KEY}, {"$setOnInsert": {"key": secrets.token_bytes(32)}}, upsert=True)
            with timed("find"):
                found: Document = await keys.find_one({"_id": _KEY})
            self._pseudonyms = Pseudonyms(bytes(found["key"]))
        return self._pseudonyms

    async def forever(self) -> None:
        """Sweep every hour; after a failure again in a minute."""
        while True:
            pause = SWEEP_SECONDS
            try:
                erased = await self.run()
                if erased:
                    log.info("followers erased", count=erased)
            except Exception as error:  # whatever it was, the follower stays due and the next sweep takes it up
                log.warning("erasure waits", reason=repr(error))
                pause = AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def run(self) -> int:
        """Erase everybody who is due; how many that were."""
        erased = 0
        while follower := await self._followers.claim_due(self._clock()):
            await self.erase(follower)
            erased += 1
        return erased

    async def erase(self, follower: Document) -> None:
        """Replace one follower's messages and facts, then the follower: last, so that a stop half-way is resumed."""
        pseudonyms = await self.pseudonyms()
        account, openid = follower["account"], follower["openid"]
        await self._replace(self._store.messages, of_follower(account, openid), ID_INDEX, pseudonyms)
        mine = {"openid": openid, "account": account}
        await self._replace(self._store.facts, mine, OPENID_INDEX, pseudonyms)
        await self._incidents.forget(account, openid, pseudonyms.of(account, openid))
        if self._tell:
            # What other services keep is theirs to delete. When they cannot be told, the follower stays due.
            await self._tell(account, openid)
        now = self._clock()
        await self._followers.replace_by(follower, pseudonyms.follower(follower, now), now)

    async def _replace(self, collection: Any, mine: Document, index: str, pseudonyms: Pseudonyms) -> None:
        while True:
            with timed("find"):
                documents = await collection.find(mine, hint=index).limit(BATCH).to_list(BATCH)
            if not documents:
                return
            # First the new, then away with the old: killed in between, the same is found and written again.
            _, failed = await self._store.add(collection, [pseudonyms.message(document) for document in documents])
            if failed:
                raise next(iter(failed.values()))
            if collection is self._store.messages:
                await self._index.forget(documents[0]["account"], documents)
            with timed("delete"):
                await collection.delete_many({"_id": {"$in": [document["_id"] for document in documents]}})
