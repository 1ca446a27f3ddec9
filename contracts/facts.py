"""Facts that Weir itself puts on the bus (past tense), and the commands it gives (imperative), as typed data.

What comes from WeChat is in ``contracts.wechat``. Field names are stable: stored history is made of them.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from contracts.content import Content

REPLY_DECIDED = "weir.reply.decided"
"""Goes to the waiting gateway's own queue only; it is never on the exchange."""
REPLY_SENT = "weir.reply.sent"
REPLY_ORPHANED = "weir.reply.orphaned"
SEND_ACCEPTED = "weir.send.accepted"
SEND_FAILED = "weir.send.failed"
SEND_UNKNOWN = "weir.send.unknown"

SEND_CLASSES = ("urgent", "reply", "bulk")
"""Classes of ``send`` commands, each with its own queue: people, late replies, campaigns."""


class Because(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why something was said: exactly one of the groups is filled. No answer is anonymous."""

    rule: str = ""
    rules_version: str = ""
    campaign: str = ""
    agent: str = ""
    note: str = ""


class Window(msgspec.Struct, frozen=True, gc=False):
    """The follower's act that opens an allowance: ``message`` (48 h, 5 sends) or ``interaction`` (1 min, 3 sends)."""

    kind: str
    opened_at: datetime


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What autoreply decided about one event: an answer, or silence with its reason (``because.note``).

    ``id`` is the answer's idempotency key; ``cause`` the event's id. This is what travels to the gateway's reply queue.
    """

    id: str
    cause: str
    account: str
    openid: str
    because: Because
    content: Content | None = None
    window: Window | None = None


class ReplySent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gateway answers passively with this. Written before the answer leaves, so that none goes unrecorded."""

    content: Content
    because: Because
    via: str = "passive"


class Send(msgspec.Struct, frozen=True, omit_defaults=True):
    """The command ``send``: give this follower this content through the API. The event's id is the idempotency key.

    ``window`` is the act of the follower that allows it, as the sender of the command knows it.
    ``expires`` ends the attempt: past it the send fails as ``expired`` and is never made.
    """

    content: Content
    because: Because
    window: Window | None = None
    expires: datetime | None = None


class SendOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a ``send``: what was (to be) sent and why, and the platform's answer in words.

    ``send`` is the command's id. The fact's own id is ``contracts.keys.outcome_id`` of it, so that a send that was
    unknown and got resolved is two facts; the fact's ``cause`` is the inbound event, as with a passive reply.
    """

    send: str
    content: Content
    because: Because
    via: str = "custom"
    errcode: int | None = None
    reason: str = ""
