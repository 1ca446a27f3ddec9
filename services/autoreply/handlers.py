"""From an event to the decision about it: an answer, or silence with its reason."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

import msgspec

from chassis import metrics
from chassis.consumer import Result
from chassis.publisher import Publication, command, direct, fact
from contracts import facts, orders, wechat
from contracts.envelope import Event, raw
from contracts.facts import Because, Decision, Window
from contracts.keys import outcome_id, reply_id
from services.autoreply.rules import decide
from services.autoreply.store import RuleStore

LATE_SECONDS = 0.5
"""Past an event's deadline by more than this, no gateway holds its callback open any more."""


class AutoReply:
    """Decides about events. The same event leads to the same answer id, so deciding twice does no harm."""

    def __init__(self, rules: RuleStore) -> None:
        self._rules = rules
        self._count = {
            matcher: metrics.decisions.labels(matcher)
            for matcher in ("exact", "contains", "click", "subscribe", "default", "none")
        }

    async def handle(self, events: list[Event]) -> list[Result]:
        started = time.perf_counter()
        results: list[Result] = []
        for event in events:
            try:
                results.append(self._publications(event))
            except Exception as error:  # one odd event must not take its batch along
                results.append(error)
        metrics.match_seconds.observe(time.perf_counter() - started)
        return results

    def _publications(self, event: Event) -> list[Publication]:
        decision = self._decide(event)
        if not event.replyto:
            if decision.content is None:
                return []
            return [command(orders.REPLY, orders.send_decision(decision, datetime.now(UTC)))]
        answer = Event(
            id=decision.id,
            source=event.source,
            type=facts.REPLY_DECIDED,
            subject=event.subject,
            time=datetime.now(UTC),
            account=event.account,
            lane="signal",
            deadline=event.deadline,
            cause=event.id,
            data=raw(decision),
        )
        if answer.deadline and (answer.time - answer.deadline).total_seconds() > LATE_SECONDS:
            # The gateway has long said `success`. It may also have died since: history sees to the rest.
            return [orphan(answer)] if decision.content else []
        # The gateway that asked knows whether its answer is still in time. When it is gone, history knows.
        return [direct(event.replyto, answer, otherwise=partial(orphan, answer) if decision.content else None)]

    def _decide(self, event: Event) -> Decision:
        inbound = wechat.view(event.type, event.data)
        rules = self._rules.get(event.account)
        match = decide(rules, inbound) if rules else None
        self._count[match.matcher if match else "none"].inc()
        if not match or not rules:
            because = Because(note="no rule matched" if rules else "the account has no rules")
            return Decision(reply_id(event.id), event.id, event.account, event.subject, because)
        return Decision(
            reply_id(event.id),
            event.id,
            event.account,
            event.subject,
            Because(rule=match.rule, rules_version=rules.version),
            match.reply,
            window(event, inbound),
        )


def window(event: Event, inbound: wechat.Inbound) -> Window | None:
    """The allowance that this act of the follower opens [platform: customer service messages]."""
    if event.type.startswith(wechat.MESSAGE):
        menu_choice = isinstance(inbound, wechat.TextMessage) and inbound.biz_msg_menu_id
        return Window("interaction" if menu_choice else "message", event.time)
    if event.type.removeprefix(wechat.EVENT) in wechat.INTERACTIONS:
        return Window("interaction", event.time)
    return None


def orphan(answer: Event) -> Publication:
    """The answer as a fact: decided, but the gateway that waited for it is gone."""
    return fact(msgspec.structs.replace(answer, id=outcome_id(answer.id, "orphaned"), type=facts.REPLY_ORPHANED))
