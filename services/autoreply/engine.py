"""From what came and what is known of the follower to what is answered and done, and why. Pure, and never raises.

``decide`` is the whole of it. The order: a wish for a person, the rules, the questions and answers, the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts import wechat
from contracts.content import Content, Text, plain_text
from services.autoreply.conditions import Heard, Known
from services.autoreply.explain import Trace, explained
from services.autoreply.format import MAX_REPLIES, HandoverTo
from services.autoreply.looking import hear, look, wants_person
from services.autoreply.near import nearest
from services.autoreply.ruleset import Answering, Candidate, RuleSet
from services.autoreply.templates import TemplateFault

__all__ = ["Activity", "Answer", "FaqCandidate", "HandOver", "Known", "Outcome", "Tag", "Trace", "decide", "hear"]

MAX_TEXT_BYTES = 2048
EVENT_REPLIES = 3
"""Answers to an event: the allowance that a click, follow or scan opens [platform: customer service messages]."""
ENTRY = "entry"
HANDED_OVER = 3
"""Questions of the FAQ that go along with a handover."""


class Answer(msgspec.Struct, frozen=True):
    content: Content
    rule: str


class FaqCandidate(msgspec.Struct, frozen=True):
    """A known question that comes near, its answer as text."""

    faq: str
    question: str
    answer: str
    score: float


class HandOver(msgspec.Struct, frozen=True):
    """``reason`` is one of ``contracts.facts.HANDOVER_REASONS``."""

    skill: str
    priority: int
    reason: str
    candidates: tuple[FaqCandidate, ...] = ()


class Tag(msgspec.Struct, frozen=True):
    add: tuple[str, ...]
    remove: tuple[str, ...]


class Activity(msgspec.Struct, frozen=True):
    name: str


Action = HandOver | Tag | Activity


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """``matcher`` tells how the first rule was found, ``rules`` which ones took it; ``note`` why there is silence."""

    matcher: str
    rules: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    actions: tuple[Action, ...] = ()
    note: str = ""
    trace: tuple[Trace, ...] = ()
    """Why each rule did or did not take it; only when it is asked for."""


def decide(rules: RuleSet, inbound: wechat.Inbound, known: Known, *, explain: bool = False) -> Outcome:
    """What is answered and done; with ``explain`` also why each rule took it or did not."""
    heard = hear(inbound)
    outcome = _decided(rules, heard, known)
    return msgspec.structs.replace(outcome, trace=tuple(explained(rules, heard, known))) if explain else outcome


def _decided(rules: RuleSet, heard: Heard, known: Known) -> Outcome:
    if known.in_conversation:
        return Outcome(matcher="none", note="in a conversation with a person")
    if wants_person(rules, heard):
        people = rules.document.people
        return _person(rules, heard, known, people.skill, people.priority, "asked_for_a_person", rules.person)
    taken, _ = look(rules, heard, known)
    return _carry_out(rules, taken, heard, known) if taken else _nobody(rules, heard, known)


def _carry_out(rules: RuleSet, taken: list[Candidate], heard: Heard, known: Known) -> Outcome:
    answers: list[Answer] = []
    actions: list[Action] = []
    notes: list[str] = []
    for candidate in taken:
        rule = candidate.compiled.rule
        if candidate.compiled.answers:
            values = _values(rules, heard, known, candidate)
            try:
                answers += [_filled(one, values) for one in candidate.compiled.answers]
            except TemplateFault as fault:
                notes.append(f"rule {rule.id!r} could not answer: {fault}")
                actions.append(HandOver("", 0, "failed_rule"))
        if rule.handover:
            actions.append(HandOver(rule.handover.skill, rule.handover.priority, "rule"))
        if rule.tag:
            actions.append(Tag(rule.tag.add, rule.tag.remove))
        if rule.activity:
            actions.append(Activity(rule.activity))
        if rule.silent:
            notes.append(f"rule {rule.id!r} says nothing on purpose")
    most = EVENT_REPLIES if heard.event else MAX_REPLIES
    if len(answers) > most:
        notes.append(f"{len(answers) - most} answers more than the allowance of {most}")
    handed = any(isinstance(action, HandOver) for action in actions)
    matcher = taken[0].matcher if answers else "handoff" if handed else "silent"
    return Outcome(
        matcher=matcher,
        rules=tuple(one.compiled.rule.id for one in taken),
        answers=tuple(answers[:most]),
        actions=tuple(actions),
        note="; ".join(notes),
    )


def _nobody(rules: RuleSet, heard: Heard, known: Known) -> Outcome:
    """No rule took it: a known question, or the default, and a person for what may be a question."""
    if heard.event:
        return Outcome(matcher="none", note="no rule matched")
    near = rules.faq.best(heard.text, HANDED_OVER) if rules.faq and heard.text and known.lane != ENTRY else []
    if near and near[0].score >= rules.document.faq_threshold:
        answering = rules.faq_answers[near[0].pair]
        try:
            answer = _filled(answering, _values(rules, heard, known))
            return Outcome(matcher="faq", rules=(answering.rule,), answers=(answer,))
        except TemplateFault:
            pass  # a person will see to it, with the question beside it
    default = rules.document.default
    candidates = tuple(
        FaqCandidate(pair.id, one.question, plain_text(pair.answer), one.score)
        for one in near
        if (pair := rules.pair(one.pair))
    )
    asked = default.handover if default else True
    twice = known.unanswered >= 1
    if known.lane == ENTRY or not (asked or twice):
        return _default(rules, heard, known)
    to = asked if isinstance(asked, HandoverTo) else HandoverTo()
    skill = to.skill or (rules.pair(near[0].pair).skill if near else "")
    reason = "unanswered_twice" if twice else "no_rule"
    return _person(rules, heard, known, skill, to.priority, reason, rules.default, candidates)


def _default(rules: RuleSet, heard: Heard, known: Known) -> Outcome:
    if rules.default is None:
        return Outcome(matcher="none", note="no rule matched")
    try:
        answer = _filled(rules.default, _values(rules, heard, known))
    except TemplateFault as fault:
        return Outcome(matcher="none", note=f"the default could not answer: {fault}")
    return Outcome(matcher="default", rules=(rules.default.rule,), answers=(answer,))


def _person(
    rules: RuleSet,
    heard: Heard,
    known: Known,
    skill: str,
    priority: int,
    reason: str,
    told: Answering | None,
    candidates: tuple[FaqCandidate, ...] = (),
) -> Outcome:
    """A person is to see to it, and the follower is told so."""
    handover = HandOver(skill, priority, reason, candidates)
    wanted = reason == "asked_for_a_person"
    if told is None:
        return Outcome(matcher="handoff" if wanted else "none", actions=(handover,), note="handed over to a person")
    try:
        answer = _filled(told, _values(rules, heard, known))
    except TemplateFault as fault:
        note = f"handed over to a person; the acknowledgement failed: {fault}"
        return Outcome(matcher="handoff" if wanted else "none", actions=(handover,), note=note)
    matcher = "handoff" if wanted else "default"
    return Outcome(matcher=matcher, rules=(told.rule,), answers=(answer,), actions=(handover,))


def _values(rules: RuleSet, heard: Heard, known: Known, candidate: Candidate | None = None) -> Mapping[str, Any] | None:
    """What templates may use; None for an answer that has none, which is most of them."""
    answers = candidate.compiled.answers if candidate else None
    if answers is not None and not any(one.render for one in answers):
        return None
    groups: tuple[str, ...] = ()
    named: Mapping[str, str] = {}
    hit = candidate.hit if candidate else None
    if hit and hit.matcher == "regex" and rules.texts:
        groups, named = rules.texts.groups(hit.what, heard.text)
    return {
        **rules.document.variables,
        "text": heard.text,
        "account": known.account,
        "now": known.now.astimezone(rules.zone),
        "tags": sorted(known.tags),
        "stores": nearest(rules.document.stores, heard.position) if heard.position else [],
        "position": known.waiting_position,
        "groups": groups,
        "named": named,
    }


def _filled(answering: Answering, values: Mapping[str, Any] | None) -> Answer:
    """Raises ``TemplateFault``."""
    if answering.render is None:
        return Answer(answering.content, answering.rule)
    content = answering.render(values or {})
    if isinstance(content, Text):
        size = len(content.content.encode())
        if size > MAX_TEXT_BYTES:
            raise TemplateFault(f"the text has {size} bytes; WeChat takes {MAX_TEXT_BYTES}")
        if not content.content.strip():
            raise TemplateFault("the text is empty")
    return Answer(content, answering.rule)
