"""From a verdict to what is published because of it. The same event leads to the same ids: twice does no harm."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import msgspec

from chassis.publisher import Publication, command, direct, fact
from contracts import facts, orders, wechat
from contracts.envelope import Event, raw
from contracts.facts import Because, Decision, Window
from contracts.keys import action_id, outcome_id, reply_id
from services.autoreply.verdict import Verdict

LATE_SECONDS = 0.5
"""Past an event's deadline by more than this, no gateway holds its callback open any more."""

JOINS = "in_conversation"
"""The reason of a handover that only brings to a person what belongs to their conversation anyway."""


def publications(event: Event, verdict: Verdict, window: Window | None, now: datetime) -> list[Publication]:
    """Everything that is to be published about one event, the answer first: somebody waits for it."""
    return [*_answer(event, _decision(event, verdict, window), now), *_actions(event, verdict)]


def window(event: Event, inbound: wechat.Inbound) -> Window | None:
    """The allowance that this act of the follower opens [platform: customer service messages]."""
    if event.type.startswith(wechat.MESSAGE):
        menu_choice = isinstance(inbound, wechat.TextMessage) and inbound.biz_msg_menu_id
        return Window("interaction" if menu_choice else "message", event.time)
    if event.type.removeprefix(wechat.EVENT) in wechat.INTERACTIONS:
        return Window("interaction", event.time)
    return None


def _decision(event: Event, verdict: Verdict, window: Window | None) -> Decision:
    key = reply_id(event.id)
    if not verdict.parts:
        because = Because(note=verdict.note or "nothing is to be said")
        return Decision(key, event.id, event.account, event.subject, because)
    first, *more = verdict.parts
    return Decision(key, event.id, event.account, event.subject, first.because, first.content, window, more=tuple(more))


def _answer(event: Event, decision: Decision, now: datetime) -> list[Publication]:
    if not event.replyto:
        return [command(orders.REPLY, orders.send_decision(decision, now))] if decision.content else []
    answer = Event(
        id=decision.id,
        source=event.source,
        type=facts.REPLY_DECIDED,
        subject=event.subject,
        time=now,
        account=event.account,
        lane="signal",
        deadline=event.deadline,
        cause=event.id,
        data=raw(decision),
    )
    if answer.deadline and (now - answer.deadline).total_seconds() > LATE_SECONDS:
        # The gateway has long said `success`. It may also have died since: history sees to the rest.
        return [orphan(answer)] if decision.content else []
    # The gateway that asked knows whether its answer is still in time. When it is gone, history knows.
    return [direct(event.replyto, answer, otherwise=partial(orphan, answer) if decision.content else None)]


def orphan(answer: Event) -> Publication:
    """The answer as a fact: decided, but the gateway that waited for it is gone."""
    return fact(msgspec.structs.replace(answer, id=outcome_id(answer.id, "orphaned"), type=facts.REPLY_ORPHANED))


def _actions(event: Event, verdict: Verdict) -> list[Publication]:
    done: list[Publication] = []
    if verdict.handover:
        order = orders.handover(event, verdict.handover)
        done.append(command(orders.HANDOVER_KEY, order))
        if verdict.handover.reason != JOINS:
            requested = outcome_id(order.id, "requested")
            done.append(fact(msgspec.structs.replace(order, id=requested, type=facts.HANDOVER_REQUESTED)))
    if verdict.tagged:
        done.append(_fact(event, "tags", facts.FOLLOWER_TAGGED, verdict.tagged))
    done += [
        _fact(event, f"activity.{number}", facts.ACTIVITY_STARTED, started)
        for number, started in enumerate(verdict.activities)
    ]
    return done


def _fact(event: Event, name: str, kind: str, data: msgspec.Struct) -> Publication:
    """Its time is that of the follower's act: told again later, it must not win over what came in between."""
    return fact(
        Event(
            id=action_id(event.id, name),
            source=event.source,
            type=kind,
            subject=event.subject,
            time=event.time,
            account=event.account,
            lane="signal",
            cause=event.id,
            data=raw(data),
        )
    )
