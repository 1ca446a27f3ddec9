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
FOLLOWER_TAGGED = "weir.follower.tagged"
HANDOVER_REQUESTED = "weir.handover.requested"
CONVERSATION_OPENED = "weir.conversation.opened"
CONVERSATION_ASSIGNED = "weir.conversation.assigned"
CONVERSATION_CLOSED = "weir.conversation.closed"
ACTIVITY_STARTED = "weir.activity.started"
RULES_PUBLISHED = "weir.rules.published"

SEND_CLASSES = ("urgent", "reply", "bulk")
"""Classes of ``send`` commands, each with its own queue: people, late replies, campaigns."""


class Because(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why something was said: exactly one of the groups is filled. No answer is anonymous."""

    rule: str = ""
    rules_version: str = ""
    campaign: str = ""
    agent: str = ""
    note: str = ""
    incident: str = ""
    """The incident whose correction it is."""


class Window(msgspec.Struct, frozen=True, gc=False):
    """The follower's act that opens an allowance: ``message`` (48 h, 5 sends) or ``interaction`` (1 min, 3 sends)."""

    kind: str
    opened_at: datetime


class Part(msgspec.Struct, frozen=True, gc=False):
    """A further answer to the same event, with the rule that gave it."""

    content: Content
    because: Because


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What autoreply decided about one event: an answer, or silence with its reason (``because.note``).

    ``id`` is the answer's idempotency key; ``cause`` the event's id. This is what travels to the gateway's reply queue.
    ``more`` are the answers after the first, in order: they leave one after the other, each when the one before it did.
    """

    id: str
    cause: str
    account: str
    openid: str
    because: Because
    content: Content | None = None
    window: Window | None = None
    more: tuple[Part, ...] = ()


class ReplySent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gateway answers passively with this. Written before the answer leaves, so that none goes unrecorded."""

    content: Content
    because: Because
    via: str = "passive"


class Send(msgspec.Struct, frozen=True, omit_defaults=True):
    """The command ``send``: give this follower this content through the API. The event's id is the idempotency key.

    ``window`` is the act of the follower that allows it, as the sender of the command knows it.
    ``expires`` ends the attempt: past it the send fails as ``expired`` and is never made.
    ``more`` is what this follower gets after it: when this send is over, the courier orders the next part itself, so
    that none overtakes another. The command's id must then be one of ``contracts.keys.reply_id``.
    """

    content: Content
    because: Because
    window: Window | None = None
    expires: datetime | None = None
    more: tuple[Part, ...] = ()


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


class Candidate(msgspec.Struct, frozen=True):
    """A question of the FAQ that comes near, for the person who answers: ``score`` is from 0 to 1."""

    faq: str
    question: str
    answer: str
    score: float


class Handover(msgspec.Struct, frozen=True, omit_defaults=True):
    """The command ``handover``, and the fact that it was given: a person is to see to this follower's question.

    ``skill`` names who can answer, empty for anybody; a higher ``priority`` is answered sooner. ``reason`` is one of
    ``HANDOVER_REASONS``. ``text`` is what the follower said, or what stands for it, empty for an event.
    """

    skill: str = ""
    priority: int = 0
    reason: str = "rule"
    text: str = ""
    candidates: tuple[Candidate, ...] = ()


HANDOVER_REASONS = ("rule", "no_rule", "unanswered_twice", "asked_for_a_person", "in_conversation", "failed_rule")
"""Why a question goes to a person: a rule says so, no rule took it, no rule took it twice in a row, the follower asked
for a person, it belongs to a conversation that is open already, or the rule that took it could not answer."""


class Tagged(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tags that a follower got and lost. The later of two facts about one tag wins, by their ``time``."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    because: Because = Because()


class ActivityStarted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule started an activity with this follower."""

    activity: str
    because: Because = Because()


class Conversation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the facts ``weir.conversation.*`` tell. ``agent`` is who took it, or closed it."""

    conversation: str
    skill: str = ""
    priority: int = 0
    reason: str = ""
    agent: str = ""


class RulesPublished(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another version of an account's rules is live: a new one, or an older one that was brought back."""

    version: int
    previous: int = 0
    by: str = ""
    note: str = ""
    rolled_back: bool = False
