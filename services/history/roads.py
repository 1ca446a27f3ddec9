"""By which road a follower can still be reached, and what becomes of the recipients of a correction. Pure.

Source of the limits: WeChat's pages "Customer service message / send" (48 h and 5 sends after a message, one minute
and 3 after a click, follow or scan) and "Mass sending" (four a month for each follower, by Beijing's calendar).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from contracts.content import Content, News, Text
from contracts.facts import Window
from contracts.wechat import INTERACTIONS

Document = Mapping[str, Any]

BEIJING = timezone(timedelta(hours=8))
MESSAGE = timedelta(hours=48)
INTERACTION = timedelta(minutes=1)
MESSAGE_SENDS = 5
INTERACTION_SENDS = 3
MASS_A_MONTH = 4
MAX_TEXT_BYTES = 2048

STATES = ("pending", "released", "sent", "failed", "unknown", "skipped")
WINDOW = 50
"""Corrections under way at a time: what a pause can no longer stop, which the courier sends within 2 s."""

_INTERACTIONS = frozenset(f"event.{event}" for event in INTERACTIONS)


class Road(NamedTuple):
    """``kind`` is custom, mass or none; ``left`` how many messages it still carries; ``reason`` in words."""

    kind: str
    left: int
    reason: str
    window: Window | None = None


def since(now: datetime) -> datetime:
    """How far back a follower's messages tell something about the roads."""
    month = now.astimezone(BEIJING).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return min(month, now - MESSAGE)


def road(follower: Document | None, messages: Iterable[Document], now: datetime) -> Road:
    """The road to a follower, from what is stored of them since ``since``."""
    if follower and _left(follower):
        return Road("none", 0, "They no longer follow the account.")
    known = list(messages)
    message = _latest(one["at"] for one in known if one["direction"] == "in" and not _is_event(one))
    interaction = _latest(one["at"] for one in known if one["direction"] == "in" and one["kind"] in _INTERACTIONS)
    out = [one for one in known if one["direction"] == "out" and one.get("status") in ("sent", "unknown")]
    custom = [one["at"] for one in out if one.get("via") == "custom"]
    # A send uses the window that ends first: those in the minute after a click are not counted twice.
    minute = [at for at in custom if interaction and interaction <= at < interaction + INTERACTION]
    spent = min(len(minute), INTERACTION_SENDS)
    if interaction and now < interaction + INTERACTION and spent < INTERACTION_SENDS:
        left = INTERACTION_SENDS - spent
        window = Window("interaction", interaction)
        return Road("custom", left, "They clicked, followed or scanned within the minute.", window)
    if message and now < message + MESSAGE:
        used = sum(at >= message for at in custom)
        if interaction and interaction >= message:
            used -= spent
        left = MESSAGE_SENDS - used
        if left > 0:
            return Road("custom", left, "They wrote within 48 hours.", Window("message", message))
        why = "All 5 sends that their last message allows are used"
    elif interaction and not message:
        why = "They only clicked, followed or scanned, and that minute is over"
    else:
        why = "They have not written for 48 hours"
    month = since_month(now)
    mass = sum(one["at"] >= month for one in out if one.get("via") == "mass")
    if mass < MASS_A_MONTH:
        return Road("mass", MASS_A_MONTH - mass, f"{why}: only a mass message can reach them.")
    return Road("none", 0, f"{why}, and all {MASS_A_MONTH} mass messages of this month are used.")


def since_month(now: datetime) -> datetime:
    """The beginning of the month in Beijing."""
    return now.astimezone(BEIJING).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def room(released: int) -> int:
    """How many corrections may be released now."""
    return max(0, WINDOW - released)


def summed(groups: Iterable[Document]) -> dict[str, int]:
    """Recipients by state, every state named, and their total."""
    counts = dict.fromkeys(STATES, 0)
    for group in groups:
        counts[str(group["_id"])] += int(group["count"])
    return {"total": sum(counts.values()), **counts}


def wrong_with(content: Content) -> str:
    """Why a correction cannot be sent as a customer-service message, or empty."""
    match content:
        case Text():
            if not content.content.strip():
                return "content.content: must not be empty"
            if len(content.content.encode()) > MAX_TEXT_BYTES:
                return f"content.content: must be {MAX_TEXT_BYTES} bytes or fewer; a Chinese character has three"
        case News() if len(content.articles) != 1:
            return "content.articles: a customer-service message carries exactly one article"
    return ""


def _is_event(document: Document) -> bool:
    return str(document["kind"]).startswith("event.")


def _latest(times: Iterable[datetime]) -> datetime | None:
    return max(times, default=None)


def _left(follower: Document) -> bool:
    gone, came = follower.get("unsubscribed_at"), follower.get("subscribed_at")
    return bool(follower.get("erased")) or bool(gone and not (came and came >= gone))
