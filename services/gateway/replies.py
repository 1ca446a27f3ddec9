"""The gateway's own reply queue: decisions come back here and meet the callback that waits for them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import msgspec

from chassis import logs
from chassis.amqp import Delivery
from chassis.publisher import Publication, command, fact
from chassis.wechat.reply import UnsendableReply, render
from contracts import facts, orders, topology
from contracts.envelope import Event, data_as, decode_lenient, encode, raw
from contracts.errors import PublishFailed
from contracts.facts import Decision, ReplySent
from contracts.keys import outcome_id
from services.gateway.answers import Answers, State, Waiting
from services.gateway.journal import JournalError
from services.gateway.outbox import Outbox

log = logs.get(__name__)

AGAIN_SECONDS = 1.0
Answer = tuple[Waiting, str]
"""A callback, and the XML of its answer."""

SENT_KEY = topology.event_key("signal", facts.REPLY_SENT)

NET = topology.COURIER_REPLY.retry(topology.RUNGS[0][0])
"""Where the answers after a passive one wait for five seconds, in case this gateway does not live to order them."""


class Replies:
    def __init__(self, answers: Answers, outbox: Outbox) -> None:
        self._answers = answers
        self._outbox = outbox

    async def receive(self, delivery: Delivery) -> None:
        """Take a batch of decisions.

        The callbacks that wait get theirs once history is sure to know of it. Acked when those that come too late are
        safely on their way to the courier.
        """
        events, _ = decode_lenient(delivery.body)
        late: list[Publication] = []
        ready: list[Answer] = []
        for event in events:
            try:
                self._meet(event, data_as(event, Decision), ready, late)
            except msgspec.ValidationError as error:  # another version of autoreply; the follower is answered late
                log.error("a decision that cannot be read", error=str(error))
        told: dict[asyncio.Future[None], list[Answer]] = {}
        for waiting, xml in ready:
            if await _accepted(waiting):
                assert waiting.decision is not None
                if waiting.decision.more and not await self._spread_net(waiting, waiting.decision):
                    continue
                confirmed = self._outbox.put(encode(reply_sent(waiting.decision)), topology.EVENTS, SENT_KEY)
                told.setdefault(confirmed, []).append((waiting, xml))
        for confirmed, answered in told.items():
            await self._release(confirmed, answered)
        for publication in late:
            await self._keep(publication)
        await delivery.ack()

    async def _keep(self, publication: Publication) -> None:
        """Publish it or write it down, however long that takes: until then the broker has the delivery, unacked."""
        while True:
            try:
                await self._outbox.publish(publication)
                return
            except JournalError as error:
                log.error("an answer waits for bus or disk", reason=str(error))
                await asyncio.sleep(AGAIN_SECONDS)

    def _meet(
        self,
        event: Event,
        decision: Decision,
        ready: list[Answer],
        late: list[Publication],
    ) -> None:
        waiting = self._answers.waiting(decision.cause)
        if waiting and waiting.decision is None and not waiting.answered.done():
            self._answer(waiting, decision, ready, late)
            return
        settled = self._answers.settled(decision.cause)
        self._answers.decided(decision.cause)
        if decision.content is None or (settled and settled[1] is not State.API):
            return  # nothing to say, or said already
        if settled or (waiting and waiting.decision is None):
            late.append(command(orders.REPLY, orders.send_decision(decision, datetime.now(UTC))))
        elif not waiting:
            # So long ago that nobody here remembers how it ended; history does.
            late.append(
                fact(msgspec.structs.replace(event, id=outcome_id(event.id, "orphaned"), type=facts.REPLY_ORPHANED))
            )

    def _answer(
        self,
        waiting: Waiting,
        decision: Decision,
        ready: list[Answer],
        late: list[Publication],
    ) -> None:
        waiting.decision = decision
        if decision.content is None:
            waiting.answered.set_result(None)
            return
        try:
            xml = render(decision.content, waiting.openid, waiting.source, int(time.time()))
        except UnsendableReply as error:
            log.error("an answer that cannot be passive goes through the API", reason=str(error))
            waiting.answered.set_result(None)
            late.append(command(orders.REPLY, orders.send_decision(decision, datetime.now(UTC))))
            return
        if waiting.careful:  # it needs a claim first, and is told to history after that
            waiting.answered.set_result(xml)
            return
        ready.append((waiting, xml))

    async def _spread_net(self, waiting: Waiting, decision: Decision) -> bool:
        """Make sure of the answers after this one before it leaves; False when neither bus nor disk takes them."""
        try:
            await keep_rest(self._outbox, decision)
        except JournalError as error:
            if not waiting.answered.done():
                waiting.answered.set_exception(error)
            return False
        return True

    async def _release(self, confirmed: asyncio.Future[None], answered: list[Answer]) -> None:
        """Let the callbacks have their answers when the fact that they get them is safe."""
        try:
            await confirmed
        except PublishFailed:
            for waiting, xml in answered:
                await self._release_alone(waiting, xml)
            return
        for waiting, xml in answered:
            if not waiting.answered.done():
                waiting.answered.set_result(xml)

    async def _release_alone(self, waiting: Waiting, xml: str) -> None:
        assert waiting.decision is not None
        try:
            await self._outbox.keep(encode(reply_sent(waiting.decision)), topology.EVENTS, SENT_KEY)
        except JournalError as error:
            if not waiting.answered.done():
                waiting.answered.set_exception(error)
            return
        if not waiting.answered.done():
            waiting.answered.set_result(xml)


async def _accepted(waiting: Waiting) -> bool:
    """Whether the bus has the event. An answer can be quicker than the confirm of the event that it answers.

    When the confirm does not come at all, the event goes by the disk and its answer through the courier; history must
    not be told of a passive one.
    """
    try:
        return waiting.accepted.result() if waiting.accepted.done() else await asyncio.shield(waiting.accepted)
    except JournalError:
        return False


async def keep_rest(outbox: Outbox, decision: Decision, *, at_once: bool = False) -> None:
    """Order what comes after a passive answer. Raises ``JournalError`` when nothing takes the order.

    The courier must not have it before the passive answer is on its way: WeChat shows the follower what comes first.
    So the order is given twice, under the same id. Before the answer leaves it goes where the courier finds it five
    seconds later, long after the last deadline: that one survives this process. When the answer has been written it
    goes to the courier ``at_once``.
    """
    order = orders.rest_of_decision(decision, datetime.now(UTC))
    if order:
        exchange, key = (topology.COMMANDS, orders.REPLY) if at_once else ("", NET)
        await outbox.keep(encode(order), exchange, key)


def reply_sent(decision: Decision) -> Event:
    """The fact that this answer goes out passively."""
    assert decision.content is not None
    return Event(
        id=decision.id,
        source=f"/accounts/{decision.account}",
        type=facts.REPLY_SENT,
        subject=decision.openid,
        time=datetime.now(UTC),
        account=decision.account,
        lane="signal",
        cause=decision.cause,
        data=raw(ReplySent(decision.content, decision.because)),
    )
