"""The ledger of everything that is sent: one row per idempotency key. Owner of the collection ``sends``.

A row goes new -> claimed (with a lease) -> sending (on disk before the first byte leaves) -> sent, failed or unknown.
The fourth end is ``passive``: the gateway answered on an open connection, and the courier drops the command. Every
step names the fence of its claim, a number that grows with each claim, so that a process which lost its claim while it
slept can change nothing. Shared by the gateway's two processes; each call raises ``Unavailable`` when MongoDB is away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from chassis.mongo import DESCENDING, Database, DuplicateKeyError, ReturnDocument, timed
from contracts.envelope import Event
from contracts.facts import Send

Row = dict[str, Any]

OPEN = ("new", "claimed", "sending")
SETTLED = ("sent", "failed", "unknown")
STATES = (*OPEN, *SETTLED, "passive")

CLAIM = timedelta(seconds=20)
"""A claim not gone through with for so long is anybody's."""

SENDING = timedelta(seconds=30)
"""A call not recorded for so long is of unknown outcome. Longer than a call can take."""

NO_RECORD = "The courier ended before WeChat's answer was written down: it may have arrived."

_CONTENDED = 10
"""Readings of a row that others keep changing, before it counts as theirs."""


@dataclass(frozen=True)
class Claim:
    """This row is ours to send, until the lease ends."""

    key: str
    fence: int


@dataclass(frozen=True)
class Held:
    """Somebody else is at it, or was until lately."""


@dataclass(frozen=True)
class Settled:
    """It is over: ``row`` tells how. ``just_now`` when this very look ended it."""

    row: Row
    just_now: bool = False


async def claim_passive(database: Database, key: str, account: str, openid: str) -> bool:
    """Claim that the answer ``key`` goes out passively; False when it is the courier's. Raises ``Unavailable``.

    True as well when the answer was claimed so before: WeChat's retry may be answered by another replica, with the
    same answer.
    """
    sends = database["sends"]
    now = datetime.now(UTC)
    row = {"_id": key, "state": "passive", "account": account, "openid": openid, "at": {"passive": now}, "changed": now}
    try:
        with timed("insert"):
            await sends.insert_one(row)
    except DuplicateKeyError:
        # A row that the courier gave back (it waits for a retry) is still free.
        with timed("update"):
            await sends.update_one(
                {"_id": key, "state": "new"},
                {"$set": {"state": "passive", "at.passive": now, "changed": now}, "$unset": {"content": ""}},
            )
        with timed("find"):
            found = await sends.find_one({"_id": key}, {"state": 1})
        return bool(found and found["state"] == "passive")
    return True


class Ledger:
    """The courier's side of the ledger. ``clock`` should be one that all couriers share."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        holder: str,
        *,
        claim: timedelta = CLAIM,
        sending: timedelta = SENDING,
    ) -> None:
        self._sends = database["sends"]
        self._clock = clock
        self._holder = holder
        self._claim = claim
        self._sending = sending

    async def prepare(self) -> None:
        with timed("create_index"):
            await self._sends.create_index([("state", 1), ("changed", DESCENDING), ("_id", DESCENDING)])
            # Only rows with a lease are in it: those under way, and unknown ones that nobody was told about.
            await self._sends.create_index("lease", partialFilterExpression={"lease": {"$exists": True}})

    async def claim(self, event: Event, send: Send, kind: str) -> Claim | Held | Settled:
        """Take a command on, unless another has it or it is over. An expired ``sending`` becomes unknown here."""
        now = self._clock()
        try:
            with timed("insert"):
                await self._sends.insert_one(self._new_row(event, send, kind, now))
        except DuplicateKeyError:
            return await self._claim_known(event.id, send)
        return Claim(event.id, 1)

    def _new_row(self, event: Event, send: Send, kind: str, now: datetime) -> Row:
        content = msgspec.to_builtins(send.content)
        return {
            "_id": event.id,
            "state": "claimed",
            "class": kind,
            "account": event.account,
            "openid": event.subject,
            "kind": content["type"],
            # Kept while the row is open, for the fact of an unknown outcome; what was said is history's to keep.
            "content": content,
            "cause": event.cause,
            "because": msgspec.to_builtins(send.because),
            "attempts": 0,
            "fence": 1,
            "holder": self._holder,
            "lease": now + self._claim,
            "at": {"new": now, "claimed": now},
            "changed": now,
        }

    async def _claim_known(self, key: str, send: Send) -> Claim | Held | Settled:
        for _ in range(_CONTENDED):
            with timed("find"):
                row: Row | None = await self._sends.find_one({"_id": key})
            now = self._clock()
            if row is None:
                return Held()
            if row["state"] not in OPEN:
                return Settled(row)
            if row["state"] != "new" and row["lease"] > now:
                return Held()
            if row["state"] == "sending":
                changed = await self._change(row, _unknown(now), {"lease": "", "content": ""})
                if changed:
                    return Settled(changed, just_now=True)
                continue
            step = {
                "state": "claimed",
                "fence": row["fence"] + 1,
                "holder": self._holder,
                "lease": now + self._claim,
                "content": msgspec.to_builtins(send.content),
                "at.claimed": now,
                "changed": now,
            }
            if await self._change(row, step, {}):
                return Claim(key, row["fence"] + 1)
        return Held()

    async def _change(self, seen: Row, values: Row, removed: Row) -> Row | None:
        """Change a row if it is still as it was seen."""
        with timed("find_and_modify"):
            changed: Row | None = await self._sends.find_one_and_update(
                {"_id": seen["_id"], "state": seen["state"], "fence": seen["fence"]},
                {"$set": values, **({"$unset": removed} if removed else {})},
                return_document=ReturnDocument.AFTER,
            )
        return changed

    async def sending(self, claim: Claim) -> bool:
        """Write down that the call begins; False when the claim is lost. On disk when this returns."""
        now = self._clock()
        values = {"state": "sending", "lease": now + self._sending, "at.sending": now, "changed": now}
        with timed("update"):
            result = await self._sends.update_one(
                {"_id": claim.key, "fence": claim.fence, "state": "claimed"}, {"$set": values, "$inc": {"attempts": 1}}
            )
        return bool(result.matched_count)

    async def release(self, claim: Claim, reason: str) -> None:
        """Give the row back as new: provably nothing reached WeChat, or WeChat refused."""
        now = self._clock()
        with timed("update"):
            await self._sends.update_one(
                {"_id": claim.key, "fence": claim.fence, "state": {"$in": ["claimed", "sending"]}},
                {
                    "$set": {"state": "new", "reason": reason, "changed": now},
                    "$unset": {"lease": "", "holder": "", "content": ""},
                },
            )

    async def finish(self, claim: Claim, state: str, errcode: int | None, reason: str) -> Row | None:
        """Write down how it ended; None when the claim was lost and it is somebody else's to tell.

        A row that was given up as unknown meanwhile takes the answer all the same: late, and still the truth.
        """
        now = self._clock()
        values = {"state": state, "errcode": errcode, "reason": reason, f"at.{state}": now, "changed": now}
        with timed("find_and_modify"):
            row: Row | None = await self._sends.find_one_and_update(
                {"_id": claim.key, "fence": claim.fence, "state": {"$in": ["claimed", "sending", "unknown"]}},
                {"$set": values, "$unset": {"lease": "", "holder": "", "content": ""}},
                return_document=ReturnDocument.AFTER,
            )
        return row

    async def expire(self) -> Row | None:
        """Give up one call that was never recorded, as unknown; the row, or None when there is none left.

        The row is the caller's to tell about for as long as a claim lasts, then the next one's; see ``told``.
        """
        now = self._clock()
        with timed("find_and_modify"):
            row: Row | None = await self._sends.find_one_and_update(
                {"lease": {"$lt": now}, "state": {"$in": ["sending", "unknown"]}},
                {"$set": {**_unknown(now), "lease": now + self._claim}},
                return_document=ReturnDocument.AFTER,
            )
        return row

    async def told(self, row: Row) -> None:
        """The fact of this unknown outcome is on the bus."""
        with timed("update"):
            await self._sends.update_one(
                {"_id": row["_id"], "state": "unknown"}, {"$unset": {"lease": "", "holder": "", "content": ""}}
            )

    async def get(self, key: str) -> Row | None:
        with timed("find"):
            row: Row | None = await self._sends.find_one({"_id": key})
        return row

    async def newest(self, state: str, account: str, before: tuple[datetime, str] | None, limit: int) -> list[Row]:
        """Rows in one state, the last changed first; ``before`` is the place of the row to go on after."""
        wanted = _wanted(state, account)
        if before:
            changed, key = before
            wanted["$or"] = [{"changed": {"$lt": changed}}, {"changed": changed, "_id": {"$lt": key}}]
        with timed("find"):
            rows: list[Row] = (
                await self._sends.find(wanted)
                .sort([("changed", DESCENDING), ("_id", DESCENDING)])
                .limit(limit)
                .max_time_ms(2500)
                .to_list(limit)
            )
        return rows

    async def count(self, state: str, account: str, most: int) -> int:
        """How many rows are in a state; ``most`` when there are more."""
        with timed("count"):
            counted: int = await self._sends.count_documents(_wanted(state, account), limit=most, maxTimeMS=2500)
        return counted


def _wanted(state: str, account: str) -> Row:
    return {"state": state, **({"account": account} if account else {})}


def _unknown(now: datetime) -> Row:
    return {"state": "unknown", "reason": NO_RECORD, "at.unknown": now, "changed": now}
