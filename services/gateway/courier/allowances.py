"""The followers' allowances, shared by all couriers. Owner of the collection ``allowances``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from chassis.mongo import Database, timed
from contracts.facts import Window
from services.gateway.courier import allowance as policy
from services.gateway.courier.allowance import Allowance, Share
from services.gateway.courier.change import Document, change
from services.gateway.courier.clock import Clock

KEEP = timedelta(days=3)
"""A follower's document is dropped so long after its last change: every window in it is over by then."""


class Allowances:
    """Each call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._collection = database["allowances"]
        self._clock = clock

    async def prepare(self) -> None:
        with timed("create_index"):
            await self._collection.create_index("at", expireAfterSeconds=int(KEEP.total_seconds()))

    async def take(self, account: str, openid: str, share: Share, windows: Sequence[Window]) -> str:
        """Use one send of the follower's allowance, told of these acts of theirs; why not, in words, or empty.

        Exact over all processes; for the same send it may be called again and takes nothing more.
        """

        def decide(document: Document) -> tuple[Document | None, str]:
            now = self._clock()
            known = offered = _read(document)
            for window in windows:
                offered = policy.offer(offered, window)
            taken = policy.take(offered, share, now)
            if taken is None:
                # An act that is known but allows nothing is not worth a write.
                return None, policy.refusal(offered, now)
            return (None if taken == known else self._document(taken)), ""

        return await change(self._collection, _id(account, openid), decide)

    async def give_back(self, account: str, openid: str, share: Share) -> None:
        """Undo ``take``: the message provably did not reach the follower."""
        await self._apply(account, openid, lambda known: policy.give_back(known, share))

    async def spend(self, account: str, openid: str) -> None:
        """WeChat says there is none left: believe it until the follower acts again."""
        await self._apply(account, openid, policy.spend)

    async def _apply(self, account: str, openid: str, step: Callable[[Allowance], Allowance]) -> None:
        def decide(document: Document) -> tuple[Document | None, None]:
            known = _read(document)
            changed = step(known)
            return (None if changed == known else self._document(changed)), None

        await change(self._collection, _id(account, openid), decide)

    def _document(self, allowance: Allowance) -> Document:
        # Times stay times: MongoDB has a type for them.
        document: Document = msgspec.to_builtins(allowance, builtin_types=(datetime,))
        return {**document, "at": self._clock()}


def _id(account: str, openid: str) -> str:
    return f"{account}|{openid}"


def _read(document: Document) -> Allowance:
    return msgspec.convert({"windows": document.get("windows", {})}, Allowance)
