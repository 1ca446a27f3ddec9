"""Idempotency keys: the same happening gets the same key in every process and after every retry.

The platform's own advice falls short: MsgId alone collides between followers, and FromUserName + CreateTime drops
real events that share a second. Hence these.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

MAX_KEY = 512
"""Longest key in bytes; a longer one (an EventKey can be a whole URL) ends in a digest of itself."""


def inbound_id(account: str, openid: str, fields: Mapping[str, Any]) -> str:
    """The id of a callback: messages by MsgId, job-finish reports by MsgID, other events by what happened when."""
    created = fields["CreateTime"]
    if fields["MsgType"] != "event":
        if "MsgId" in fields:
            return f"{account}|{openid}|{fields['MsgId']}|{created}"
        return _bounded(f"{account}|{openid}|{created}|{fields['MsgType']}|{_digest(fields)}")
    event = fields["Event"]
    if "MsgID" in fields and str(event).upper().endswith("JOBFINISH"):
        return _bounded(f"{account}|{event}|{fields['MsgID']}")
    return _bounded(f"{account}|{openid}|{created}|{event}|{fields.get('EventKey') or ''}")


def reply_id(cause: str, part: int = 0) -> str:
    """The id of the answer to an event; ``part`` counts the answers to the same event."""
    return f"{cause}#r{part}"


def next_reply_id(answer: str) -> str:
    """The id of the answer that comes after ``answer``. Raises ``ValueError`` when that is no id of an answer."""
    cause, mark, part = answer.rpartition("#r")
    if not mark or not part.isdecimal():
        raise ValueError("only the answers to an event are counted")
    return reply_id(cause, int(part) + 1)


def action_id(cause: str, action: str) -> str:
    """The id of what an event led to beside answers, e.g. ``handover``."""
    return f"{cause}#{action}"


def outcome_id(command: str, outcome: str) -> str:
    """The id of the fact that a command ended in an outcome."""
    return f"{command}!{outcome}"


def _bounded(key: str) -> str:
    encoded = key.encode()
    if len(encoded) <= MAX_KEY:
        return key
    digest = blake2b(encoded, digest_size=16).hexdigest()
    return encoded[: MAX_KEY - 33].decode(errors="ignore") + "~" + digest


def _digest(fields: Mapping[str, Any]) -> str:
    """A stand-in for a missing MsgId: two different messages of one second must not share a key."""
    return blake2b(repr(sorted(fields.items())).encode(), digest_size=12).hexdigest()
