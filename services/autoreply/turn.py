"""What the machine remembers about one follower, and how an event changes it. Pure.

A turn is remembered only where something depends on it: a rule with a cooldown or a cap fired, a rule asks for the
first message, or nothing answered. Plain keyword rules leave no trace here, so a flood of them writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from services.autoreply.verdict import Verdict, from_json, to_json

Document = dict[str, Any]
Follower = tuple[str, str]
"""Account and openid."""

MAX_DECIDED = 12
"""Events of a follower whose verdict is remembered. Retries and redeliveries come within minutes."""

KEEP_DECIDED = timedelta(hours=1)

ACKNOWLEDGED = timedelta(minutes=10)
"""A follower who waits for a person is told so once in this time."""


KEEP = timedelta(days=30)
"""After the last event about which something is remembered."""

KEEP_FIRED = timedelta(days=400)
"""The same where rules with a cooldown or a cap have fired: "once ever" must outlast a quiet spell."""


@dataclass(frozen=True)
class Firing:
    """When a rule last fired for this follower, and how often: on that day (by the rule set's zone), and ever."""

    at: datetime
    day: str
    today: int
    ever: int


@dataclass(frozen=True)
class Decided:
    cause: str
    at: datetime
    verdict: bytes


@dataclass(frozen=True)
class Turn:
    """``revision`` is that of the stored document, 0 for none."""

    follower: Follower
    revision: int = 0
    fired: dict[str, Firing] = field(default_factory=dict)
    unanswered: tuple[str, ...] = ()
    """The last events in a row that no rule answered, by id; two are enough to know."""
    unanswered_at: datetime | None = None
    acknowledged_at: datetime | None = None
    """When the follower was last told that a person will see to it."""
    met: str | None = None
    """The id of the first message ever, empty when it was before this memory began, None when nobody looked."""
    decided: tuple[Decided, ...] = ()

    def recall(self, cause: str) -> Verdict | None:
        """What was decided about this event before, if it is remembered."""
        for one in self.decided:
            if one.cause == cause:
                return from_json(one.verdict)
        return None

    def acknowledged(self, at: datetime) -> bool:
        """Whether the follower was told so lately that telling again would only annoy."""
        return self.acknowledged_at is not None and abs(at - self.acknowledged_at) < ACKNOWLEDGED

    def decide(self, cause: str, at: datetime, verdict: Verdict) -> Turn:
        """The turn with this verdict remembered."""
        kept = [one for one in self.decided if one.cause != cause and at - one.at < KEEP_DECIDED]
        return replace(self, decided=(*kept[1 - MAX_DECIDED :], Decided(cause, at, to_json(verdict))))

    def fire(self, rules: Iterable[str], at: datetime, day: str) -> Turn:
        """The turn after these rules fired."""
        fired = dict(self.fired)
        for rule in rules:
            last = fired.get(rule)
            if last is None:
                fired[rule] = Firing(at, day, 1, 1)
            else:
                today = last.today + 1 if last.day == day else 1
                fired[rule] = Firing(max(at, last.at), day, today, last.ever + 1)
        return replace(self, fired=fired)

    def left_unanswered(self, cause: str, at: datetime) -> Turn:
        """The turn after an event that nothing answered."""
        if cause in self.unanswered:
            return self
        return replace(self, unanswered=(*self.unanswered[-1:], cause), unanswered_at=at)

    def answered(self) -> Turn:
        """The turn after something answered."""
        return replace(self, unanswered=(), unanswered_at=None) if self.unanswered else self


def to_document(turn: Turn) -> Document:
    """As it is stored, with the revision that comes next."""
    account, openid = turn.follower
    document: Document = {
        "_id": f"{account}|{openid}",
        "account": account,
        "openid": openid,
        "revision": turn.revision + 1,
        # A list: a rule's id may hold what a field's name may not.
        "fired": [
            {"rule": rule, "at": one.at, "day": one.day, "today": one.today, "ever": one.ever}
            for rule, one in turn.fired.items()
        ],
        "unanswered": list(turn.unanswered),
        "decided": [{"cause": one.cause, "at": one.at, "verdict": one.verdict} for one in turn.decided],
    }
    if turn.decided:
        document["expires"] = turn.decided[-1].at + (KEEP_FIRED if turn.fired else KEEP)
    for name in ("unanswered_at", "acknowledged_at", "met"):
        if (value := getattr(turn, name)) is not None:
            document[name] = value
    return document


def from_document(document: Document) -> Turn:
    return Turn(
        (document["account"], document["openid"]),
        document["revision"],
        {one["rule"]: Firing(one["at"], one["day"], one["today"], one["ever"]) for one in document["fired"]},
        tuple(document["unanswered"]),
        document.get("unanswered_at"),
        document.get("acknowledged_at"),
        document.get("met"),
        tuple(Decided(one["cause"], one["at"], one["verdict"]) for one in document["decided"]),
    )
