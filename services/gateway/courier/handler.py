"""One ``send``, from the command to its outcome: claimed, tried, recorded, told.

Whatever happens, in this order: the ledger knows that the call begins before its first byte leaves, and how it ended
before anybody is told. Between the two lies the one doubt that cannot be helped; such a send is never repeated.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from chassis import logs, metrics
from chassis.consumer import EventHandler
from chassis.publisher import Publication, command
from contracts import orders
from contracts.envelope import Event, data_as
from contracts.errors import HandlerError, Later, Reject, Unavailable
from contracts.facts import Send
from contracts.keys import next_reply_id
from services.gateway.accounts import Account, AccountDirectory
from services.gateway.courier.allowances import Allowances
from services.gateway.courier.attempt import HELD_SECONDS, Attempts, ClaimLost, Ending, Job
from services.gateway.courier.outcomes import outcome
from services.gateway.ledger import Held, Ledger, Settled

log = logs.get(__name__)

T = TypeVar("T")

MAX_PAUSE = 2.0
"""Longest wait, in seconds, between tries to write down what must be written down."""

WARN_SECONDS = 10.0
"""Many sends wait for MongoDB at a time: one line in so many seconds tells it."""


class Courier:
    """Handles ``send`` commands; one for each process."""

    def __init__(self, ledger: Ledger, allowances: Allowances, attempts: Attempts, accounts: AccountDirectory) -> None:
        self._ledger = ledger
        self._allowances = allowances
        self._attempts = attempts
        self._accounts = accounts
        self._warned_at = -math.inf

    def of_class(self, kind: str) -> EventHandler:
        """The handler of one class's commands."""

        async def send(event: Event) -> Sequence[Publication]:
            return await self.handle(kind, event)

        return send

    async def handle(self, kind: str, event: Event) -> Sequence[Publication]:
        """Carry out a command once, however often it comes; returns the fact of its outcome."""
        send = _read(event)
        account = await self._account(event.account)
        async with self._attempts.turn(kind, account):
            found = await self._ledger.claim(event, send, kind)
            if isinstance(found, Held):
                raise Later("held", HELD_SECONDS)
            if isinstance(found, Settled):
                return _tell_again(kind, found, event, send)
            return await self._carry_out(Job(kind, event, send, account, found))

    async def _carry_out(self, job: Job) -> Sequence[Publication]:
        try:
            ending = await self._attempts.make(job)
        except ClaimLost:
            raise
        except Exception as error:
            # Nothing has reached the follower: everything goes back to where it was.
            await self._give_back(job)
            reason = error.reason if isinstance(error, HandlerError) else type(error).__name__
            await self._surely(lambda: self._ledger.release(job.claim, reason))
            raise
        return await self._record(job, ending)

    async def _record(self, job: Job, ending: Ending) -> Sequence[Publication]:
        if ending.state == "failed":
            await self._give_back(job)
        # What is known now is known nowhere else: without MongoDB this waits for it rather than forget.
        row = await self._surely(lambda: self._ledger.finish(job.claim, ending.state, ending.errcode, ending.reason))
        if row is None:
            raise ClaimLost("claim_lost", HELD_SECONDS)
        metrics.sends.labels(job.kind, ending.state).inc()
        return [outcome(row, job.send.content), *_next(job.kind, job.event, job.send)]

    async def _give_back(self, job: Job) -> None:
        if job.taken:
            account, openid = job.event.account, job.event.subject
            await self._surely(lambda: self._allowances.give_back(account, openid, job.share))

    async def _surely(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write, again and again until MongoDB takes it. The writes given here may all be repeated."""
        pause = 0.1
        while True:
            try:
                return await write()
            except Unavailable as error:
                now = asyncio.get_running_loop().time()
                if now - self._warned_at > WARN_SECONDS:
                    self._warned_at = now
                    log.warning("waiting for mongodb to take results", reason=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)

    async def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            # It may have been added since the directory was last read.
            await self._accounts.refresh()
            account = self._accounts.get(name)
        if account is None:
            raise Reject("unknown_account", "unknown account: add it with `weir accounts add`, then redrive")
        return account


def _read(event: Event) -> Send:
    if event.type != orders.SEND or not event.subject:
        raise Reject("bad_command", f"a {event.type} command without meaning here; type {orders.SEND} has a subject")
    try:
        send = data_as(event, Send)
        if send.more:
            next_reply_id(event.id)
    except (msgspec.DecodeError, ValueError) as error:
        raise Reject("bad_command", f"its data is no send: {error}") from error
    return send


def _tell_again(kind: str, settled: Settled, event: Event, send: Send) -> Sequence[Publication]:
    """It was over before: the fact again, in case the one who settled it could not tell any more."""
    if settled.row["state"] == "passive":
        # What comes after a passive answer is ordered by the gateway that gave it, when it has left.
        metrics.sends.labels(kind, "late_claim").inc()
        return []
    if settled.just_now:
        metrics.sends.labels(kind, settled.row["state"]).inc()
    return [outcome(settled.row, send.content), *_next(kind, event, send)]


def _next(kind: str, event: Event, send: Send) -> list[Publication]:
    """The order for the part after this one, now that this one is over, however it ended.

    It is published together with the outcome, before the command is acked: a kill in between leads to the same order
    again, and its id to one send.
    """
    following = orders.next_send(event, send, datetime.now(UTC))
    return [command(f"send.{kind}", following)] if following else []
