"""Running replays: one at a time in a process, in a thread, so that answers go on beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.autoreply.pastmessages import PastMessages
from services.autoreply.replaying import Replay
from services.autoreply.ruleset import RuleSet

PROGRESS_SECONDS = 0.5


class Replays:
    def __init__(self, past: PastMessages) -> None:
        self._past = past
        self.busy = False

    async def run(
        self, account: str, before: RuleSet, after: RuleSet, *, days: int, skip: int, limit: int
    ) -> AsyncIterator[dict[str, Any]]:
        """Lines as they come: ``read``, ``change``, and ``done`` at the end. Raises ``Unavailable``."""
        self.busy = True
        try:
            began = told = time.monotonic()
            now = datetime.now(UTC)
            replay = Replay(before, after, now - timedelta(days=days), skip=skip, shown=limit)
            async for page in self._past.pages(account, now - timedelta(days=days), now):
                profiles = {}
                if replay.needs_profiles:
                    profiles = await self._past.profiles(account, (one["openid"] for one in page))
                for change in await asyncio.to_thread(replay.page, page, profiles):
                    yield {"change": msgspec.to_builtins(change)}
                if time.monotonic() - told >= PROGRESS_SECONDS:
                    told = time.monotonic()
                    yield {"read": replay.read}
            seconds = time.monotonic() - began
            yield {
                "done": {
                    "read": replay.read,
                    "changed": replay.changed,
                    "counts": [msgspec.to_builtins(one) for one in replay.counts()],
                    "assumptions": replay.assumptions(),
                    "seconds": round(seconds, 3),
                }
            }
        finally:
            self.busy = False
