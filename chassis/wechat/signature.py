"""Callback signatures: who sent this request, and when.

WeChat signs a callback with SHA-1 over the sorted parts, joined without a separator. Plain mode signs the token, the
timestamp and the nonce (``signature``); safe mode adds the ciphertext (``msg_signature``). Source: WeChat's pages
"Access overview" and "Message encryption".
"""

from __future__ import annotations

import enum
import hashlib
import hmac

FRESH_SECONDS = 300
"""How far a callback's timestamp may be from our clock, either way."""

_LONGEST_TIMESTAMP = 15


class Freshness(enum.StrEnum):
    """What a callback's timestamp says about it; the values are safe as metric labels."""

    FRESH = "fresh"
    STALE = "stale"
    """Older than the window: a replay, or a request that waited too long."""
    FUTURE = "future"
    """Ahead of us by more than the window: one of the two clocks is wrong."""
    MALFORMED = "malformed"
    """No Unix time at all."""


def callback_signature(token: str, timestamp: str, nonce: str, *more: str) -> str:
    """Return the 40 hexadecimal digits of ``signature``, or of ``msg_signature`` when ``more`` is ``Encrypt``."""
    joined = "".join(sorted((token, timestamp, nonce, *more)))
    # surrogatepass: a query string with broken UTF-8 must give a wrong signature, not an exception.
    return hashlib.sha1(joined.encode("utf-8", "surrogatepass")).hexdigest()  # noqa: S324 - the platform's choice


def verify(token: str, timestamp: str, nonce: str, *more: str, given: str) -> bool:
    """Tell whether ``given`` is the right signature, in a time that does not depend on where it differs."""
    expected = callback_signature(token, timestamp, nonce, *more).encode("ascii")
    return hmac.compare_digest(expected, given.encode("utf-8", "surrogatepass"))


def age(timestamp: str, now: float) -> float | None:
    """Return the seconds since ``timestamp`` (negative when it lies ahead), or None when it is no Unix time."""
    if not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > _LONGEST_TIMESTAMP:
        return None
    return now - int(timestamp)


def freshness(timestamp: str, now: float, window: float = FRESH_SECONDS) -> Freshness:
    """Judge a callback's timestamp against ``now`` (Unix seconds); the edges of the window still count as fresh."""
    seconds = age(timestamp, now)
    if seconds is None:
        return Freshness.MALFORMED
    if seconds > window:
        return Freshness.STALE
    return Freshness.FUTURE if seconds < -window else Freshness.FRESH
