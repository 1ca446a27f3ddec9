"""What narrows a rule: each condition compiled to a check that says why it does not hold. Pure.

A check gets what came and what is known of the follower, and returns None when it holds, else a stable code and words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec

from services.autoreply.format import DAYS, Hours, Limit, Portion, Rule, Tags, Window


class Fired(Protocol):
    """When a rule last fired for a follower, and how often."""

    @property
    def at(self) -> datetime: ...

    @property
    def day(self) -> str: ...

    @property
    def today(self) -> int: ...

    @property
    def ever(self) -> int: ...


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when an event is decided about. ``now`` is when it happened. All but the first may be unknown."""

    now: datetime
    account: str = ""
    openid: str = ""
    lane: str = ""
    tags: frozenset[str] = frozenset()
    first_message: bool = False
    following_since: datetime | None = None
    fired: Mapping[str, Fired] = {}
    in_conversation: bool = False
    unanswered: int = 0
    """Messages in a row before this one that nothing answered."""
    waiting_position: int = 1
    """The place in the queue for a person that the follower has, or would get."""


class No(msgspec.Struct, frozen=True):
    """Why a rule does not take something."""

    code: str
    words: str


@dataclass(frozen=True)
class Heard:
    """What came, in the terms of the conditions. ``name`` is the kind of a message or the event in lower case."""

    event: bool
    name: str
    text: str = ""
    key: str = ""
    scene: bool = False
    position: tuple[float, float] | None = None


Check = Callable[[Heard, Known], No | None]
Range = tuple[time, time]


def checks(rule: Rule, zone: ZoneInfo, hours: Hours | None) -> tuple[Check, ...]:
    """The checks of a rule, the cheapest first. Raises ``ValueError`` for what is no time or date."""
    when = rule.when
    made: list[Check] = []
    if when.key:
        made.append(_keys(frozenset(when.key)))
    if when.scene is not None:
        made.append(_scene(when.scene))
    if when.share:
        made.append(_share(when.share))
    if when.time:
        made.append(_window(when.time, zone))
    if when.hours:
        made.append(_hours(when.hours, hours or Hours(), zone))
    if when.first_message:
        made.append(lambda _, known: None if known.first_message else No("not_first", "not the first message ever"))
    if when.new_days:
        made.append(_new(when.new_days))
    if when.tags:
        made.append(_tags(when.tags))
    if rule.limit:
        made.append(_limit(rule.id, rule.limit, zone))
    return tuple(made)


def _keys(keys: frozenset[str]) -> Check:
    no = No("other_key", f"the key is none of its {len(keys)}")
    return lambda heard, _: None if heard.key in keys else no


def _scene(wanted: bool) -> Check:
    no = No("scene", "only through a QR code" if wanted else "only without a QR code")
    return lambda heard, _: None if heard.scene is wanted else no


def portion_of(salt: str, openid: str) -> float:
    """Where a follower stands on the scale from 0 to 100: always in the same place, evenly spread."""
    digest = blake2b(f"{salt}|{openid}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10_000 / 100


def _share(share: Portion) -> Check:
    def check(_: Heard, known: Known) -> No | None:
        at = portion_of(share.salt, known.openid)
        if share.start <= at < share.end:
            return None
        return No("share", f"the follower stands at {at:.2f}, outside {share.start:g} to {share.end:g}")

    return check


def read_range(text: str) -> Range:
    """``09:00-18:30`` as two times. ``24:00`` is the day's end. Raises ``ValueError``."""
    first, dash, last = text.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is no range of times; write it like 09:00-18:30")
    return _time(first), _time(last)


def _time(text: str) -> time:
    if text.strip() == "24:00":
        return time(0, 0)
    try:
        return datetime.strptime(text.strip(), "%H:%M").time()  # noqa: DTZ007  # a time of the day has no zone
    except ValueError:
        raise ValueError(f"{text.strip()!r} is no time; write it like 09:00") from None


def read_date(text: str) -> date:
    """Raises ``ValueError``."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date; write it like 2026-10-01") from None


def read_day(text: str) -> int:
    """The number of a weekday, Monday 0. Raises ``ValueError``."""
    if text not in DAYS:
        raise ValueError(f"{text!r} is no weekday; write {', '.join(DAYS)}")
    return DAYS.index(text)


def _in_range(at: time, span: Range) -> bool:
    first, last = span
    return first <= at < last if first < last else at >= first or at < last


def _window(window: Window, zone: ZoneInfo) -> Check:
    days = frozenset(map(read_day, window.days))
    spans = tuple(map(read_range, window.between))
    first = read_date(window.start) if window.start else date.min
    last = read_date(window.end) if window.end else date.max

    def check(_: Heard, known: Known) -> No | None:
        at = known.now.astimezone(zone)
        if not first <= at.date() <= last:
            return No("date", f"holds from {window.start or 'ever'} to {window.end or 'ever'}")
        # What is left of a range over midnight belongs to the day on which it began.
        for span in spans or ((time(0, 0), time(0, 0)),):
            began = at.date()
            if span[0] > span[1] and at.time() < span[1]:
                began -= timedelta(days=1)
            if _in_range(at.time(), span) and (not days or began.weekday() in days):
                return None
        return No("time", f"holds on {', '.join(window.days) or 'every day'}, {', '.join(window.between) or 'all day'}")

    return check


class WorkingHours:
    """Raises ``ValueError`` for what is no weekday, date or range."""

    def __init__(self, hours: Hours, zone: ZoneInfo) -> None:
        self._zone = zone
        self._weekly = {read_day(day): tuple(map(read_range, spans)) for day, spans in hours.weekly.items()}
        self._dates = {read_date(day): tuple(map(read_range, spans)) for day, spans in hours.dates.items()}

    def inside(self, now: datetime) -> bool:
        at = now.astimezone(self._zone)
        if any(
            at.time() >= first if first >= last else first <= at.time() < last for first, last in self._of(at.date())
        ):
            return True
        before = self._of(at.date() - timedelta(days=1))
        return any(first > last and at.time() < last for first, last in before)

    def opens(self, now: datetime) -> str:
        """When they begin next, in words; empty when they do not within two weeks."""
        at = now.astimezone(self._zone)
        for later in range(15):
            day = at.date() + timedelta(days=later)
            begins = [first for first, _ in sorted(self._of(day)) if later or first > at.time()]
            if begins:
                return f"{DAYS[day.weekday()]} {day.isoformat()} {begins[0]:%H:%M}"
        return ""

    def _of(self, day: date) -> tuple[Range, ...]:
        return self._dates[day] if day in self._dates else self._weekly.get(day.weekday(), ())


def _hours(wanted: str, hours: Hours, zone: ZoneInfo) -> Check:
    working = WorkingHours(hours, zone)
    closed = No("hours", "only outside working hours")

    def check(_: Heard, known: Known) -> No | None:
        inside = working.inside(known.now)
        if inside is (wanted == "inside"):
            return None
        if inside:
            return closed
        opens = working.opens(known.now)
        return No("hours", "outside its hours" + (f": opens {opens}" if opens else ""))

    return check


def _new(days: int) -> Check:
    def check(_: Heard, known: Known) -> No | None:
        since = known.following_since
        if since is not None and known.now - since <= timedelta(days=days):
            return None
        return No("not_new", f"does not follow since at most {days} days")

    return check


def _tags(tags: Tags) -> Check:
    some, every, none = frozenset(tags.any), frozenset(tags.all), frozenset(tags.none)

    def check(_: Heard, known: Known) -> No | None:
        if (some and not some & known.tags) or not every <= known.tags:
            return No("tags", "lacks a tag")
        return No("tags", "has a tag that keeps it out") if none & known.tags else None

    return check


def day_of(now: datetime, zone: ZoneInfo) -> str:
    """The day by which "per day" counts."""
    return now.astimezone(zone).date().isoformat()


def _limit(rule: str, limit: Limit, zone: ZoneInfo) -> Check:
    def check(_: Heard, known: Known) -> No | None:
        fired = known.fired.get(rule)
        if fired is None:
            return None
        passed = (known.now - fired.at).total_seconds()
        if limit.cooldown and passed < limit.cooldown:
            return No("cooldown", f"cooldown: {limit.cooldown - passed:.0f} s left")
        if limit.ever and fired.ever >= limit.ever:
            return No("cap", f"the follower had it {fired.ever} times already")
        if limit.per_day and fired.day == day_of(known.now, zone) and fired.today >= limit.per_day:
            return No("cap", f"the follower had it {fired.today} times today")
        return None

    return check
