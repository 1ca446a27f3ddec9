"""The format of a rule set, version 2: what operators write, as typed data. Version 1 files are a part of it.

``docs/rules.md`` explains it; the JSON Schema there is made of these types.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.content import Content
from services.autoreply.faq import DEFAULT_THRESHOLD

FORMATS = (1, 2)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_REPLIES = 5
"""Answers to one message: the allowance that a follower's message opens [platform: customer service messages]."""

Share = Annotated[float, Meta(ge=0, le=100)]
Positive = Annotated[int, Meta(ge=1)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class TextMatch(_Strict, frozen=True):
    """Any one of these. ``regex`` is in RE2's syntax and searched for in the text."""

    exact: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()


class Window(_Strict, frozen=True):
    """When a rule holds, by the rule set's time zone: weekdays, times of the day, dates (the last one included)."""

    days: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    """Like ``09:00-12:00``; a range that ends before it begins goes over midnight."""
    start: str = msgspec.field(name="from", default="")
    end: str = msgspec.field(name="to", default="")


class Tags(_Strict, frozen=True):
    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()


class Portion(_Strict, frozen=True):
    """A share of the followers, in percent: the same followers always. Rules with the same salt share the scale."""

    start: Share = msgspec.field(name="from", default=0)
    end: Share = msgspec.field(name="to", default=100)
    salt: str = ""


class When(_Strict, frozen=True):
    """What a rule takes: one or more of the first group, narrowed by all of the second."""

    text: TextMatch | None = None
    kind: tuple[str, ...] = ()
    """Kinds of messages: image, voice, video, location, ..."""
    event: tuple[str, ...] = ()
    """Events in lower case: subscribe, scan, click, location, ..."""
    click: tuple[str, ...] = ()
    """Keys of menu items: short for ``event: [click]`` with ``key``."""
    subscribe: bool = False
    """Short for ``event: [subscribe]``."""
    near: bool = False
    """A position: a location message or the event that reports one."""
    first_message: bool = False
    """The follower's first message ever. By itself it takes any message."""

    key: tuple[str, ...] = ()
    """Keys of the event; of a QR code its scene."""
    scene: bool | None = None
    """Followed through a QR code, or not."""
    time: Window | None = None
    hours: str = ""
    """``inside`` or ``outside`` the working hours."""
    new_days: Positive | None = None
    """Follows since at most so many days."""
    tags: Tags | None = None
    share: Portion | None = None


class Limit(_Strict, frozen=True):
    """How often one follower gets it."""

    cooldown: Positive | None = None
    """Seconds between two."""
    per_day: Positive | None = None
    ever: Positive | None = None


class HandoverTo(_Strict, frozen=True):
    """A person is to see to it: ``skill`` names who can, a higher ``priority`` is answered sooner."""

    skill: str = ""
    priority: Annotated[int, Meta(ge=0, le=9)] = 0


class TagChange(_Strict, frozen=True):
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class Rule(_Strict, frozen=True):
    id: str
    when: When
    reply: Content | None = None
    replies: tuple[Content, ...] = ()
    """Several in a row: the first at once, the rest behind it."""
    silent: bool = False
    """Say nothing, on purpose."""
    handover: HandoverTo | None = None
    tag: TagChange | None = None
    activity: str = ""
    """The activity that it starts for the follower."""
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    goes_on: bool = msgspec.field(name="continue", default=False)
    """Look at the rules behind this one too."""
    lane: str = ""
    """``entry``: its texts are contest entries, which never stand in front of a question."""
    limit: Limit | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        return (self.reply, *self.replies) if self.reply is not None else self.replies


class Default(_Strict, frozen=True):
    """The answer to a message that no rule takes; the message goes to a person all the same. Events get none."""

    reply: Content
    id: str = "default"
    handover: HandoverTo | bool = True


class People(_Strict, frozen=True):
    """A follower who asks for a person always gets one; ``words`` say it, alone or in a short text."""

    words: tuple[str, ...] = ("人工", "客服", "转人工", "人工客服", "真人", "human", "agent", "real person")
    skill: str = ""
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    reply: Content | None = None
    """What they are told; the default's reply when it is left out."""


class Hours(_Strict, frozen=True):
    """Working hours: ranges by weekday, and by date for days that differ (none: closed)."""

    weekly: dict[str, tuple[str, ...]] = {}
    dates: dict[str, tuple[str, ...]] = {}


class Store(_Strict, frozen=True):
    name: str
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    phone: str = ""
    address: str = ""


class FaqPair(_Strict, frozen=True):
    """An answer, and the ways in which people ask for it."""

    id: str
    questions: tuple[str, ...]
    answer: Content
    skill: str = ""
    """Who answers when it is not sure."""


class RuleSetDocument(_Strict, frozen=True):
    version: int
    """Of the format: 1 or 2."""
    rules: tuple[Rule, ...] = ()
    default: Default | None = None
    timezone: str = "Asia/Shanghai"
    strip_punctuation: bool = False
    """Compare keywords without punctuation and white space."""
    variables: dict[str, str | int | float] = {}
    hours: Hours | None = None
    stores: tuple[Store, ...] = ()
    people: People = People()
    faq: tuple[FaqPair, ...] = ()
    faq_threshold: Annotated[float, Meta(gt=0, le=1)] = DEFAULT_THRESHOLD
