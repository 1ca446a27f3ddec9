"""The accounts' sending speeds and pauses over all couriers. Owner of the collection ``budgets``.

Permits are taken from MongoDB in blocks: while a process waits to ask again, the wants of its senders gather. What is
taken is written down before it is used, so a killed process can waste permits but never makes two of one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec

from chassis import logs, metrics
from chassis.mongo import Database
from contracts.errors import HandlerError, Later
from contracts.facts import SEND_CLASSES
from services.gateway.accounts import Account
from services.gateway.courier import budget as policy
from services.gateway.courier.budget import Budget, Pause
from services.gateway.courier.change import Document, change
from services.gateway.courier.clock import Clock

log = logs.get(__name__)

PACE_SECONDS = 0.1
"""Least time between two questions to MongoDB, per process and account."""

RECHECK_SECONDS = 5.0
"""How long a known pause is believed without looking again: someone may have had the quota cleared."""

_WORDS = {
    policy.THROTTLED: "WeChat says we call too often: slowing down",
    policy.UNREACHABLE: "WeChat cannot be reached for an access token: trying again soon",
    policy.QUOTA: "the account's daily quota is used up: nothing is sent until midnight in Beijing, "
    "unless an administrator clears the quota",
    policy.TOKEN: "WeChat does not accept the account's access token, or gives none: run `weir accounts check`",
}


class Paused(HandlerError):
    """The account sends nothing for now; ``seconds`` are left."""

    def __init__(self, pause: Pause, now: float) -> None:
        super().__init__(f"paused_{pause.reason}")
        self.seconds = max(1.0, pause.until - now)


class Rates:
    """Hands out permits to send and keeps the pauses."""

    def __init__(self, database: Database, clock: Clock, stopping: Callable[[], bool] = lambda: False) -> None:
        """``stopping`` tells that the process is to end: from then on nobody gets a permit."""
        self._collection = database["budgets"]
        self._clock = clock
        self._stopping = stopping
        self._tills: dict[str, _Till] = {}
        self._pauses: dict[str, Pause] = {}
        self._believed: dict[str, float] = {}

    async def permit(self, account: Account, kind: str) -> None:
        """Wait until a send of this class may go.

        Raises ``Paused``, ``Later`` when the process is to end, and ``Unavailable`` when MongoDB is away.
        """
        till = self._tills.get(account.name)
        if till is None:
            till = self._tills[account.name] = _Till(self, account.name)
        started = time.perf_counter()
        await till.wait(kind, account.sends_per_second)
        metrics.rate_limit_wait.observe(time.perf_counter() - started)

    def go_on(self) -> None:
        """Raise ``Later`` when the process is to end: what begins now might not be finished."""
        if self._stopping():
            raise Later("stopping", 1.0)

    async def pause(self, account: str, reason: str) -> float:
        """Pause an account for everybody; the seconds it takes. In this process it holds even before it is written."""
        self._note(account, policy.pause(Budget(pause=self._pauses.get(account)), reason, self.now()).pause)

        def decide(document: Document) -> tuple[Document | None, Pause | None]:
            known = _read(document)
            changed = policy.pause(known, reason, self.now())
            return (None if changed is known else _document(changed)), changed.pause

        pause = await change(self._collection, account, decide)
        self._note(account, pause)
        return max(1.0, pause.until - self.now()) if pause else 1.0

    def now(self) -> float:
        return self._clock().timestamp()

    def known_pause(self, account: str) -> Pause | None:
        """The pause this process knows of, if it is in force."""
        pause = self._pauses.get(account)
        return pause if pause and self.now() < pause.until else None

    def believed_pause(self, account: str) -> Pause | None:
        """The same, if it was looked at lately enough to act on it."""
        return self.known_pause(account) if self.now() < self._believed.get(account, 0.0) else None

    async def draw(self, account: str, wants: dict[str, int], speed: float) -> tuple[dict[str, int], Pause | None]:
        """Take permits for what is wanted, as far as there are any, unless the account is paused."""

        def decide(document: Document) -> tuple[Document | None, tuple[dict[str, int], Pause | None]]:
            known, now = _read(document), self.now()
            if (pause := policy.paused(known, now)) is not None:
                return None, ({}, pause)
            changed, grants = policy.grant(known, wants, speed, now)
            return _document(changed), (grants, None)

        grants, pause = await change(self._collection, account, decide)
        self._note(account, pause)
        return grants, pause

    def _note(self, account: str, pause: Pause | None) -> None:
        known = self.known_pause(account)
        if pause is None:
            # What this process has just found out may not be written yet.
            if self.believed_pause(account) is None:
                self._pauses.pop(account, None)
        else:
            self._pauses[account] = pause
            self._believed[account] = self.now() + RECHECK_SECONDS
            if known is None or known.reason != pause.reason:
                seconds = round(pause.until - self.now())
                log.warning(_WORDS[pause.reason], account=account, reason=pause.reason, seconds=seconds)
        for reason in policy.REASONS:
            paused = sum(1 for name in self._pauses if (p := self.known_pause(name)) and p.reason == reason)
            metrics.paused_accounts.labels(reason).set(paused)


class _Till:
    """Those of this process who wait for one account's permits."""

    def __init__(self, rates: Rates, account: str) -> None:
        self._rates = rates
        self._account = account
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {name: deque() for name in SEND_CLASSES}
        self._speed = 1.0
        self._task: asyncio.Task[None] | None = None

    async def wait(self, kind: str, speed: float) -> None:
        if (pause := self._rates.believed_pause(self._account)) is not None:
            raise Paused(pause, self._rates.now())
        self._rates.go_on()
        self._speed = speed
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append(mine)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve(), name=f"permits {self._account}")
        await mine

    async def _serve(self) -> None:
        while wants := self._wants():
            try:
                self._rates.go_on()
                grants, pause = await self._rates.draw(self._account, wants, self._speed)
            except Exception as error:  # whoever waits decides what it means for them
                self._fail(error)
                return
            if pause is not None:
                self._fail(Paused(pause, self._rates.now()))
                return
            self._hand_out(grants)
            await asyncio.sleep(PACE_SECONDS)

    def _wants(self) -> dict[str, int]:
        """How many wait, by class; those who gave up are forgotten."""
        for kind, waiting in self._waiting.items():
            if any(future.done() for future in waiting):
                self._waiting[kind] = deque(future for future in waiting if not future.done())
        return {kind: len(waiting) for kind, waiting in self._waiting.items() if waiting}

    def _hand_out(self, grants: dict[str, int]) -> None:
        pause = self._rates.believed_pause(self._account)
        for kind, count in grants.items():
            left = count
            waiting = self._waiting[kind]
            while left and waiting:
                future = waiting.popleft()
                if future.done():
                    continue
                left -= 1
                if pause:  # found out by another sender of this process while the permits were on their way
                    future.set_exception(Paused(pause, self._rates.now()))
                else:
                    future.set_result(None)

    def _fail(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            while waiting:
                future = waiting.popleft()
                if not future.done():
                    future.set_exception(error)


def _read(document: Document) -> Budget:
    return msgspec.convert({k: v for k, v in document.items() if k in Budget.__struct_fields__}, Budget)


def _document(budget: Budget) -> Document:
    document: Document = msgspec.to_builtins(budget)
    return document
