"""Messages and followers as the API shows them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.history.documents import Document

_ALWAYS = ("account", "openid", "direction", "kind", "at", "text")
_IF_THERE = (
    "lane",
    "fields",
    "raw",
    "attempt",
    "content",
    "cause",
    "because",
    "via",
    "status",
    "errcode",
    "reason",
    "conflict",
    "others",
    "erased",
)


def stamp(at: datetime) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message(document: Document) -> dict[str, Any]:
    """A message. ``text`` is there even when it is empty; what a kind does not have is left out."""
    shown = {"id": document["_id"], **{name: document.get(name, "") for name in _ALWAYS}}
    shown |= {name: document[name] for name in _IF_THERE if name in document}
    shown["at"] = stamp(document["at"])
    if "others" in document:
        shown["others"] = [{**other, "at": stamp(other["at"])} for other in document["others"]]
    return shown


def follower(account: str, openid: str, stored: Document | None, erased: bool, activity: Document) -> dict[str, Any]:
    """A follower: what the platform said of following, and what their messages tell."""
    stored = stored or {}
    subscribed_at, unsubscribed_at = stored.get("subscribed_at"), stored.get("unsubscribed_at")
    subscribed: bool | None = None
    if subscribed_at or unsubscribed_at:
        subscribed = not unsubscribed_at or bool(subscribed_at and subscribed_at >= unsubscribed_at)
    shown = {
        "account": account,
        "openid": openid,
        "subscribed": subscribed,
        "subscribed_at": subscribed_at,
        "unsubscribed_at": unsubscribed_at,
        "scene": stored.get("scene") or None,
        "tags": sorted(stored.get("tags", ())),
        **activity,
        "erased": erased,
        "erase_after": stored.get("erase_after"),
    }
    return {name: stamp(value) if isinstance(value, datetime) else value for name, value in shown.items()}
