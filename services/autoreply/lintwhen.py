"""What is wrong with what a rule takes, and with what narrows it. Pure."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from contracts.text import CONTAINS, EXACT, PREFIX
from contracts.wechat import EVENTS, MESSAGES
from services.autoreply import conditions
from services.autoreply.fault import CheckPattern, Say, key_of, readable
from services.autoreply.format import Rule, RuleSetDocument, When

_TRIGGERS = ("text", "kind", "event", "click", "subscribe", "near", "first_message")


def when_faults(document: RuleSetDocument, rule: Rule, say: Say, check_pattern: CheckPattern) -> None:
    when = rule.when
    kinds = (when.text is not None) + bool(when.click) + when.subscribe
    if document.version == 1 and kinds != 1:
        say(("when",), "when needs exactly one of text, click (with a key), subscribe: true")
    elif not any(getattr(when, name) for name in _TRIGGERS) and when.text is None:
        say(("when",), f"when needs one of {', '.join(_TRIGGERS)}", "what no rule takes is for the default")
    text = when.text
    if text is not None:
        words = [
            (name, number, word)
            for name in (EXACT, PREFIX, CONTAINS)
            for number, word in enumerate(getattr(text, name))
        ]
        if not words and not text.regex:
            wanted = "exact or contains" if document.version == 1 else "exact, prefix, contains or regex"
            say(("when", "text"), f"text needs {wanted} with at least one keyword")
        for name, number, word in words:
            if not key_of(word, document):
                say(
                    ("when", "text", name, number),
                    "a keyword is empty; it would match nothing or everything",
                    "remove it",
                )
        for number, pattern in enumerate(text.regex):
            if wrong := check_pattern(pattern):
                say(
                    ("when", "text", "regex", number),
                    f"{pattern!r} is no regular expression: {wrong}",
                    "RE2's syntax is meant",
                )
    for name in ("click", "key"):
        for number, word in enumerate(getattr(when, name)):
            if not word.strip():
                say(("when", name, number), "a keyword is empty; it would match nothing or everything", "remove it")
    for number, kind in enumerate(when.kind):
        if kind not in MESSAGES:
            say(("when", "kind", number), f"there is no kind {kind!r}", f"there are {', '.join(MESSAGES)}")
    for number, event in enumerate(when.event):
        if event.lower() not in EVENTS:
            say(
                ("when", "event", number),
                f"there is no event {event!r} that is known here",
                f"there are {', '.join(EVENTS)}",
            )
    if when.key and not when.event and not when.subscribe:
        say(("when", "key"), "key narrows an event, and there is none", "add event, or use click for menu items")
    if when.near and not document.stores:
        say(("when", "near"), "near needs stores, and the rule set lists none", "add stores")
    if rule.lane not in ("", "entry"):
        say(("lane",), f"there is no lane {rule.lane!r} for rules", "write entry, or leave it out")
    if rule.lane == "entry" and text is None:
        say(("lane",), "only texts can be entries", "give the rule a text, or leave lane out")


def narrowing_faults(document: RuleSetDocument, rule: Rule, say: Say, zone: ZoneInfo, now: datetime | None) -> None:
    when = rule.when
    if when.hours not in ("", "inside", "outside"):
        say(("when", "hours"), f"hours is {when.hours!r}", "write inside or outside")
    elif when.hours == "inside" and not (
        document.hours and (any(document.hours.weekly.values()) or any(document.hours.dates.values()))
    ):
        say(("when", "hours"), "it never opens: the rule set has no working hours", "add hours")
    if when.share and when.share.start >= when.share.end:
        say(
            ("when", "share"),
            f"nobody stands from {when.share.start:g} to {when.share.end:g}",
            "from must be less than to",
        )
    if when.tags and set(when.tags.all) & set(when.tags.none):
        say(("when", "tags"), "a tag is both wanted and unwanted; nobody fits")
    if when.time:
        _window(when, say, zone, now)


def _window(when: When, say: Say, zone: ZoneInfo, now: datetime | None) -> None:
    assert when.time is not None
    window, at = when.time, ("when", "time")
    good = True
    for day in window.days:
        good &= readable(conditions.read_day, day, (*at, "days"), say)
    for span in window.between:
        if readable(conditions.read_range, span, (*at, "between"), say):
            first, last = conditions.read_range(span)
            if first == last and span.replace(" ", "") not in ("00:00-24:00", "00:00-00:00"):
                say((*at, "between"), f"{span} never opens", "let it end after it begins")
    for name, text in (("from", window.start), ("to", window.end)):
        good &= not text or readable(conditions.read_date, text, (*at, name), say)
    if not good:
        return
    start = conditions.read_date(window.start) if window.start else None
    end = conditions.read_date(window.end) if window.end else None
    if start and end and start > end:
        say((*at, "to"), f"it never opens: {window.end} is before {window.start}", "exchange them")
    elif end and now and end < now.astimezone(zone).date():
        say((*at, "to"), f"it never opens again: {window.end} is over", "remove the rule or give it another date")
    elif start and end and window.days and (end - start).days < 6:
        days = {(start.toordinal() + offset - 1) % 7 for offset in range((end - start).days + 1)}
        if not days & {conditions.read_day(day) for day in window.days}:
            say((*at, "days"), "it never opens: none of these days lies between the two dates")
