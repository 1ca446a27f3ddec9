"""Trying rules before they are published: one imagined message, which rule wins, and why each other did not. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from contracts.content import Content, plain_text
from services.autoreply import imagined
from services.autoreply.engine import Activity, HandOver, Known, Outcome, Tag, decide
from services.autoreply.ruleset import RuleSet

MAX_TRACE = 500
"""Rules of which it is told why they did not take it; those that came close go first."""


class Follower(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is imagined to write; what is left out is as for a stranger."""

    openid: str = "oTry"
    tags: tuple[str, ...] = ()
    first_message: bool = False
    following_since: datetime | None = None
    in_conversation: bool = False
    unanswered: int = 0


class Imagined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message, or an event when ``event`` names one; ``key`` is its EventKey (``qrscene_<scene>`` for a QR code)."""

    text: str = ""
    kind: str = "text"
    event: str = ""
    key: str = ""
    latitude: float | None = None
    longitude: float | None = None
    lane: str = "question"
    at: datetime | None = None


class TraceLine(msgspec.Struct, frozen=True):
    rule: str
    took: bool
    code: str
    words: str


class Said(msgspec.Struct, frozen=True):
    rule: str
    content: Content
    text: str


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules make of it. ``trace`` tells of every rule why it did or did not take it."""

    matcher: str
    rules: tuple[str, ...] = ()
    answers: tuple[Said, ...] = ()
    actions: tuple[dict[str, Any], ...] = ()
    note: str = ""
    trace: tuple[TraceLine, ...] = ()
    more: int = 0
    """Rules that are left out of the trace: their keywords are simply not in the text."""


def attempt(rules: RuleSet, account: str, message: Imagined, follower: Follower, now: datetime) -> Tried:
    """Decide about it, and explain."""
    at = message.at or now
    fields: dict[str, Any] = {}
    if message.latitude is not None and message.longitude is not None:
        names = ("Latitude", "Longitude") if message.event else ("Location_X", "Location_Y")
        fields = dict(zip(names, (message.latitude, message.longitude), strict=True))
    kind = f"event.{message.event.lower()}" if message.event else message.kind
    heard = imagined.inbound(
        kind, message.key if message.event else message.text, follower.openid, int(at.timestamp()), fields
    )
    known = Known(
        now=at,
        account=account,
        openid=follower.openid,
        lane=message.lane,
        tags=frozenset(follower.tags),
        first_message=follower.first_message,
        following_since=follower.following_since,
        in_conversation=follower.in_conversation,
        unanswered=follower.unanswered,
    )
    return _told(decide(rules, heard, known, explain=True))


def _told(outcome: Outcome) -> Tried:
    near = [one for one in outcome.trace if one.took or one.code != "other"]
    far = [one for one in outcome.trace if not one.took and one.code == "other"]
    kept = [*near[:MAX_TRACE], *far[: max(0, MAX_TRACE - len(near))]]
    return Tried(
        matcher=outcome.matcher,
        rules=outcome.rules,
        answers=tuple(Said(one.rule, one.content, plain_text(one.content)) for one in outcome.answers),
        actions=tuple(plain_action(one) for one in outcome.actions),
        note=outcome.note,
        trace=tuple(TraceLine(one.rule, one.took, one.code, one.words) for one in kept),
        more=len(outcome.trace) - len(kept),
    )


def plain_action(action: HandOver | Tag | Activity) -> dict[str, Any]:
    """An action as plain values, with its name under ``does``."""
    name = {HandOver: "handover", Tag: "tag", Activity: "activity"}[type(action)]
    plain: dict[str, Any] = msgspec.to_builtins(action)
    return {"does": name, **plain}
