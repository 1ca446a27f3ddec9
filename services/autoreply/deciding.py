"""From what is known about an event to its verdict, and to what is remembered of it. Pure: no clock, no store.

The time of every decision is that of the follower's act: an event that waited in a queue is answered as it was asked,
and deciding about it again gives the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec

from contracts import wechat
from contracts.envelope import Event
from contracts.facts import ActivityStarted, Because, Candidate, Handover, Part, Tagged
from services.autoreply.engine import Activity, HandOver, Known, Outcome, Tag, decide
from services.autoreply.ruleset import RuleSet
from services.autoreply.turn import Follower, Turn
from services.autoreply.verdict import Verdict

CONVERSATION = "conversation"
REPEATED = "repeated"
ENTRY = "entry"

NOT_ANSWERED = frozenset(("default", "none"))
"""Matchers of an event that no rule took."""

SETTLING = timedelta(seconds=5)
"""How long ago somebody may have been handed over without being seen waiting yet."""


@dataclass
class Asked:
    """One event on its way to a verdict."""

    event: Event
    inbound: wechat.Inbound
    rules: RuleSet | None
    verdict: Verdict | None = None
    error: Exception | None = None

    @property
    def follower(self) -> Follower:
        return self.event.account, self.event.subject

    @property
    def is_message(self) -> bool:
        return self.event.type.startswith(wechat.MESSAGE)

    @property
    def open(self) -> bool:
        return self.verdict is None and self.error is None


def known(asked: Asked, position: int) -> Known:
    """What is known without asking anybody."""
    event = asked.event
    return Known(
        now=event.time, account=event.account, openid=event.subject, lane=event.lane, waiting_position=position
    )


def verdict_of(asked: Asked, facts: Known) -> Verdict:
    """What the rules say about it."""
    assert asked.rules is not None
    outcome = decide(asked.rules, asked.inbound, facts)
    version = asked.rules.version
    parts = tuple(Part(answer.content, Because(rule=answer.rule, rules_version=version)) for answer in outcome.answers)
    verdict = Verdict(outcome.matcher, outcome.rules, parts, note=outcome.note)
    return _acting(verdict, outcome, version, wechat.said(asked.inbound)) if outcome.actions else verdict


def needs_memory(asked: Asked, verdict: Verdict) -> bool:
    """Whether nothing answered, so that it matters what was before. Contest entries that nothing takes end here."""
    return asked.is_message and verdict.matcher in NOT_ANSWERED and asked.event.lane != ENTRY


def in_conversation(asked: Asked) -> Verdict:
    """A person talks with this follower: the machine says nothing, and sees that the person gets it."""
    joins = Handover(reason="in_conversation", text=wechat.said(asked.inbound))
    return Verdict(CONVERSATION, handover=joins, note="in a conversation with a person")


def without_repetition(verdict: Verdict, turn: Turn, asked: Asked, *, waiting: bool) -> Verdict:
    """The verdict without its acknowledgement, when the follower who waits for a person was given it lately."""
    at = asked.event.time
    if verdict.matcher != "default" or not verdict.handover or not turn.acknowledged(at):
        return verdict
    assert turn.acknowledged_at is not None
    if not waiting and abs(at - turn.acknowledged_at) > SETTLING:
        return verdict  # that conversation is over
    return msgspec.structs.replace(verdict, parts=(), note="waits for a person, and was told so lately")


def remember(turn: Turn, asked: Asked, verdict: Verdict) -> Turn:
    """The turn after this verdict; the same object when nothing has to be remembered."""
    assert asked.rules is not None
    event = asked.event
    changed = turn
    limited = [rule for rule in verdict.rules if rule in asked.rules.limited]
    if limited:
        changed = changed.fire(limited, event.time, asked.rules.day_of(event.time))
    if needs_memory(asked, verdict):
        changed = changed.left_unanswered(event.id, event.time)
        if verdict.handover and verdict.parts:
            changed = replace(changed, acknowledged_at=event.time)
    elif asked.is_message:
        changed = changed.answered()
    return changed if changed is turn else changed.decide(event.id, event.time, verdict)


def _acting(verdict: Verdict, outcome: Outcome, version: str, text: str) -> Verdict:
    """The verdict with what else is to be done."""
    handover: Handover | None = None
    tags: dict[str, bool] = {}
    activities: list[ActivityStarted] = []
    because = Because(rule=outcome.rules[-1] if outcome.rules else "", rules_version=version)
    for action in outcome.actions:
        match action:
            case HandOver():
                candidates = tuple(Candidate(one.faq, one.question, one.answer, one.score) for one in action.candidates)
                # Of several rules in a row the most urgent one says who.
                if handover is None or action.priority > handover.priority:
                    handover = Handover(action.skill, action.priority, action.reason, text, candidates)
            case Tag():
                tags |= dict.fromkeys(action.remove, False) | dict.fromkeys(action.add, True)
            case Activity():
                activities.append(ActivityStarted(action.name, because))
    added, removed = (tuple(tag for tag, on in tags.items() if on is wanted) for wanted in (True, False))
    return msgspec.structs.replace(
        verdict,
        handover=handover,
        tagged=Tagged(added, removed, because) if tags else None,
        activities=tuple(activities),
    )
