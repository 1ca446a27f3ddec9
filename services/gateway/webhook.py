"""``GET|POST /wechat/{account}``: from a callback to its answer.

The order matters. An event is confirmed by the bus (or on disk) before WeChat is told 200. The fact that an answer
goes out is confirmed before the answer is written: nothing is said that history does not know. WeChat is never shed
with a 5xx: it would cease to push to the account.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from aiohttp import web

from chassis import logs, metrics
from chassis.http import problem
from chassis.wechat.signature import age
from contracts import orders, topology, wechat
from contracts.envelope import Event, encode, raw
from contracts.errors import PublishFailed, Unavailable
from contracts.facts import Decision
from contracts.keys import inbound_id
from services.gateway import triage
from services.gateway.accounts import Account, AccountDirectory
from services.gateway.answers import RETRY_AFTER, Answers, Asked, State, Waiting
from services.gateway.body import read_body
from services.gateway.border import Sealed, check_url, close_answer, open_callback, read_query
from services.gateway.journal import JournalError
from services.gateway.load import seconds_to_wait
from services.gateway.outbox import Outbox
from services.gateway.refusal import Refused
from services.gateway.repeats import Repeats
from services.gateway.replies import SENT_KEY, keep_rest, reply_sent
from services.gateway.triagetable import EntryPatterns

log = logs.get(__name__)

PREFIX = "/wechat/"
CAREFUL_AGE = 3.0
"""Seconds since CreateTime from which a callback may be WeChat's retry, which another gateway may have seen."""

_NOBODY_WAITS = (triage.SIGNAL, triage.DESK)

Claim = Callable[[str, str, str], Any]
"""Coroutine function (answer id, account, openid) -> bool: the passive answer is ours. Raises ``Unavailable``."""


class Conversations(Protocol):
    """Who knows with whom a person talks right now."""

    def assigned(self, account: str, openid: str) -> bool: ...


class Webhook:
    def __init__(
        self,
        accounts: AccountDirectory,
        patterns: EntryPatterns,
        answers: Answers,
        outbox: Outbox,
        claim: Claim,
        conversing: Conversations,
        *,
        reply_queue: str,
        longest_wait: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._patterns = patterns
        self._answers = answers
        self._outbox = outbox
        self._claim = claim
        self._conversing = conversing
        self._reply_queue = reply_queue
        self._longest_wait = longest_wait
        self._clock = clock
        self._repeats = Repeats(clock)
        self._draining = False
        self._last_seen = ("", 0.0)
        """Timestamp of the last callback, by WeChat's clock and by ours."""
        self._replied = metrics.passive_replies.labels("replied")
        self._empty = metrics.passive_replies.labels("empty")
        self._missed = metrics.passive_replies.labels("deadline_missed")
        self._counters: dict[tuple[str, str], Any] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request under ``/wechat/``."""
        started = time.perf_counter()
        kind = "other"
        try:
            account = await self._account(request.path[len(PREFIX) :])
            if request.method == "POST":
                body = await read_body(request)
                query, now = read_query(request.raw_path), self._clock()
                self._last_seen = (query.get("timestamp", ""), now)
                fields, sealed = open_callback(account, query, body, now)
                kind = fields["MsgType"]
                response, outcome = await self._callback(request, account, fields, sealed)
            else:
                response, outcome = self._check(request, account), "checked"
        except Unavailable as error:
            # The accounts were never read, so nobody can say whose callback this is: WeChat shall try again.
            log.error("a callback came before the accounts could be read", reason=str(error))
            response, outcome = _no_answer(request), "no_accounts"
        except Refused as refused:
            outcome = refused.reason
            response = problem(refused.status, refused.reason, refused.sentence)
            if refused.status == 405:
                response.headers["Allow"] = "GET, POST"
            if not request.content.is_eof():
                response.force_close()  # the rest of the body is not worth reading
        if self._draining:
            response.force_close()  # WeChat's next callback goes to another gateway
        self._count(kind, outcome)
        metrics.callback_seconds.observe(time.perf_counter() - started)
        return response

    async def _account(self, name: str) -> Account:
        account = self._accounts.get(name) or await self._accounts.find(name)
        if account is None:
            raise Refused(404, "unknown_account", "there is no account of this name here")
        return account

    def _check(self, request: web.BaseRequest, account: Account) -> web.Response:
        if request.method != "GET":
            raise Refused(405, "method", "WeChat uses GET and POST here")
        return web.Response(
            text=check_url(account, read_query(request.raw_path), self._clock()), content_type="text/plain"
        )

    async def _callback(
        self, request: web.BaseRequest, account: Account, fields: dict[str, Any], sealed: Sealed | None
    ) -> tuple[web.Response, str]:
        openid = wechat.subject(fields)
        key = inbound_id(account.name, openid, fields)
        waiting = self._answers.waiting(key)
        try:
            if waiting:  # WeChat asks again while we are at it: it listens to this connection now
                waiting.turn += 1
                return await self._answer(request, key, waiting, waiting.turn, sealed), "duplicate"
            settled = self._answers.settled(key)
            if settled and not _asks_again(*settled):
                return _success(), "duplicate"
            return await self._accept(request, account, fields, openid, key, sealed), "ok"
        except JournalError as error:
            # Neither the bus nor the disk took it: closing without an answer makes WeChat try again.
            log.critical("a callback could not be accepted: bus and journal are both away", reason=str(error))
            self._answers.forget(key, error)
            return _no_answer(request), "lost"
        except asyncio.CancelledError:
            if waiting is None:  # else it is another connection's to end
                self._answers.forget(key, JournalError("the process stopped in the middle of it"))
            raise

    async def _accept(
        self,
        request: web.BaseRequest,
        account: Account,
        fields: dict[str, Any],
        openid: str,
        key: str,
        sealed: Sealed | None,
    ) -> web.Response:
        now = self._clock()
        event_type = wechat.event_type(fields)
        text = triage.text_of(fields) if fields["MsgType"] == "text" else ""
        repeats = bool(text) and self._repeats.seen(account.name, openid, text, key)
        in_conversation = self._conversing.assigned(account.name, openid)
        lane = triage.lane(fields, self._patterns.get(account.name), repeats=repeats, in_conversation=in_conversation)
        event = Event(
            id=key,
            source=f"/accounts/{account.name}",
            type=event_type,
            subject=openid,
            time=_created(fields["CreateTime"]),
            account=account.name,
            lane=lane,
            data=raw(fields),
        )
        routing_key = topology.event_key(lane, event_type)
        if lane in _NOBODY_WAITS or not self._outbox.healthy:
            # Nobody to wait for: a signal asks for nothing, and a person answers later than WeChat waits. While the bus
            # is away an answer can only come later, through the courier.
            await self._outbox.keep(encode(event), topology.EVENTS, routing_key)
            self._answers.settle(key, State.API)
            return _success()
        seconds = seconds_to_wait(len(self._answers), self._longest_wait)
        careful = now - fields["CreateTime"] >= CAREFUL_AGE
        asked = Asked(routing_key, event)
        waiting = self._answers.wait(key, seconds, asked, openid, fields["ToUserName"], careful=careful)
        event.replyto = self._reply_queue
        event.deadline = datetime.fromtimestamp(now, UTC) + timedelta(seconds=seconds)
        try:
            await self._outbox.put(encode(event), topology.EVENTS, routing_key)
        except PublishFailed:
            # It may have arrived all the same, with a reply queue; the answers' one id sees to "once".
            await self._outbox.journal(asked.encoded, topology.EVENTS, asked.key)
            waiting.accepted.set_result(False)
        else:
            waiting.accepted.set_result(True)
        return await self._answer(request, key, waiting, 1, sealed)

    async def _answer(
        self, request: web.BaseRequest, key: str, waiting: Waiting, turn: int, sealed: Sealed | None
    ) -> web.Response:
        """Wait for the answer and write it on the connection that WeChat listens to, ``success`` on any other."""
        if not await asyncio.shield(waiting.accepted):
            # On the disk: the answer comes when the bus is back, and leaves through the courier.
            self._answers.settle(key, State.API)
            return _success()
        xml = await asyncio.shield(waiting.answered) if turn > 1 else await waiting.answered
        if turn != waiting.turn:
            return _success()
        decision = waiting.decision
        if xml is None or decision is None:
            silent = decision is not None and decision.content is None
            (self._empty if silent else self._missed).inc()
            await self._settle(key, State.PASSIVE if silent else State.API)
            return _success()
        if waiting.careful and not await self._claimed(decision):
            await self._settle(key, State.API)
            return _success()
        if turn != waiting.turn:  # WeChat asked again while the claim was made, and hears the answer there
            return _success()
        transport = request.transport
        there = transport is not None and not transport.is_closing()
        self._answers.settle(key, State.PASSIVE if there else State.CUT)
        self._replied.inc()
        body = close_answer(xml, sealed, self._clock())
        response = web.Response(body=body, content_type="application/json" if sealed and sealed.as_json else "text/xml")
        if decision.more and there:
            await self._write_all(request, response, decision)
        return response

    async def _write_all(self, request: web.BaseRequest, response: web.Response, decision: Decision) -> None:
        """Write the answer here and now, then let the courier have those that come after it."""
        try:
            if self._draining:
                response.force_close()
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            return  # WeChat asks again, and the order for the rest is safe already
        try:
            await keep_rest(self._outbox, decision, at_once=True)
        except JournalError as error:
            log.error("the answers after the first leave five seconds late", reason=str(error))

    async def _claimed(self, decision: Decision) -> bool:
        """Whether the passive answer is ours where another gateway may hold the same callback; if so, it is told."""
        try:
            ours: bool = await self._claim(decision.id, decision.account, decision.openid)
        except Unavailable:
            # Without the ledger nobody can tell who else answers: the courier will, once.
            order = orders.send_decision(decision, datetime.now(UTC))
            await self._outbox.keep(encode(order), topology.COMMANDS, orders.REPLY)
            return False
        if ours:
            await keep_rest(self._outbox, decision)
            await self._outbox.keep(encode(reply_sent(decision)), topology.EVENTS, SENT_KEY)
        return ours

    async def _settle(self, key: str, state: State) -> None:
        again = self._answers.settle(key, state)
        if again:
            await self._outbox.keep(again.encoded, topology.EVENTS, again.key)

    async def ask_again(self) -> None:
        """The bus lost the reply queue: ask for the answers that may have been in it. The ledger sees to "once"."""
        for asked in self._answers.bus_lost():
            try:
                await self._outbox.keep(asked.encoded, topology.EVENTS, asked.key)
            except JournalError as error:
                log.error("an answer that the bus lost cannot be asked for again", reason=str(error))

    async def drain(self) -> None:
        """The process stops: answer those who wait, and see to it that what comes too late for us is not lost."""
        self._draining = True
        while len(self._answers):  # noqa: ASYNC110  # bounded by the last deadline; an event would cost every callback
            await asyncio.sleep(0.02)
        await self.ask_again()

    async def expire(self) -> None:
        """End waits at their deadline, for ever."""
        while True:
            self._answers.expire()
            self._repeats.forget()
            metrics.pending_callbacks.set(len(self._answers))
            skew = age(*self._last_seen)
            if skew is not None:
                metrics.clock_skew.set(skew)
            await asyncio.sleep(0.05)

    def _count(self, kind: str, outcome: str) -> None:
        counter = self._counters.get((kind, outcome))
        if counter is None:
            counter = metrics.callbacks.labels(metrics.kind_label(kind), outcome)
            if kind in metrics.MESSAGE_KINDS:
                self._counters[kind, outcome] = counter
        counter.inc()


def _asks_again(seconds_ago: float, state: State) -> bool:
    """Whether a repeated callback means that WeChat did not get the answer to the first."""
    return state is State.CUT or (state is State.PASSIVE and seconds_ago >= RETRY_AFTER)


def _created(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise Refused(400, "time", "CreateTime is no time in seconds since 1970") from None


def _no_answer(request: web.BaseRequest) -> web.Response:
    """Close the connection without a word: to WeChat that is a failed try."""
    if request.transport:
        request.transport.abort()
    return web.Response()  # goes nowhere


def _success() -> web.Response:
    return web.Response(body=b"success", content_type="text/plain")
