"""Triage: the lane of an inbound event. Pure, a few microseconds; sees only contracts.

Lanes are separate queues, so a question never waits behind a hundred thousand contest entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts import wechat
from contracts.text import Texts

DESK = "desk"
QUESTION = "question"
ENTRY = "entry"
SIGNAL = "signal"

INTERACTIVE = frozenset(
    {"subscribe", "scan", "click", "scancode_push", "scancode_waitmsg", "location_select"}
    | {"pic_sysphoto", "pic_photo_or_album", "pic_weixin"}
)
"""Events by which a follower asks for something; all other events are signals."""

ASKING = re.compile(
    r"[?？]|怎么|怎样|如何|什么|为什么|为何|哪里|哪儿|在哪|几点|多少|能不能|可不可以|是否|吗[\s。!！~]*$"
)
"""Text with the shape of a question stays a question, even when it matches an entry pattern (报名怎么操作?)."""


@dataclass(frozen=True)
class Patterns:
    """What makes a text of one account an entry: expressions of the triage file, and what its live rules say."""

    entry: tuple[re.Pattern[str], ...] = ()
    published: Texts | None = None

    def __bool__(self) -> bool:
        return bool(self.entry) or self.published is not None

    def match(self, text: str) -> bool:
        if any(pattern.search(text) for pattern in self.entry):
            return True
        return self.published is not None and bool(self.published.find(text))


NO_PATTERNS = Patterns()


def lane(fields: Mapping[str, Any], patterns: Patterns, *, repeats: bool = False, in_conversation: bool = False) -> str:
    """The lane of a callback.

    ``repeats``: its text is the same as the follower's last one, moments ago. ``in_conversation``: a person talks with
    this follower, and answers whatever they say or click.
    """
    kind = fields["MsgType"]
    if kind == "event" and str(fields["Event"]).lower() not in INTERACTIVE:
        return SIGNAL
    if in_conversation:
        return DESK
    if kind == "event":
        return QUESTION
    if kind == "text":
        if repeats:
            return ENTRY
        text = text_of(fields)
        if patterns and patterns.match(text) and not ASKING.search(text):
            return ENTRY
    return QUESTION


def text_of(fields: Mapping[str, Any]) -> str:
    """The text of a text message. In the JSON push format it may come as a number."""
    return str(fields.get("Content") or "")


def is_message(event_type: str) -> bool:
    """A private message, which expects an answer, as against an event."""
    return event_type.startswith(wechat.MESSAGE)
