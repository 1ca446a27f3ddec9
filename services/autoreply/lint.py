"""What is wrong with a rule set that can be read: all at once, each with its rule, field, reason and fix. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from contracts.content import API_ONLY, Content, News, Text
from contracts.text import normalise, without_punctuation
from services.autoreply import conditions, templates
from services.autoreply.conflicts import conflicts
from services.autoreply.engine import EVENT_REPLIES, MAX_TEXT_BYTES
from services.autoreply.fault import CheckPattern, Fault, Path, Say, readable
from services.autoreply.format import FORMATS, MAX_REPLIES, Rule, RuleSetDocument
from services.autoreply.lintwhen import narrowing_faults, when_faults
from services.autoreply.medianames import media_of
from services.autoreply.near import nearest


def lint(
    document: RuleSetDocument,
    check_pattern: CheckPattern,
    now: datetime | None,
    media: Collection[str] | None = None,
) -> list[Fault]:
    """Everything that is wrong, in the order of the document. ``media``: what the library has, if known."""
    found: list[Fault] = []

    def say(path: Path, reason: str, fix: str = "", rule: str = "") -> None:
        found.append(Fault(path, rule, reason, fix))

    zone = _head(document, say)
    seen: set[str] = {document.default.id} if document.default else set()
    for index, rule in enumerate(document.rules):
        at: Path = ("rules", index)

        def tell(path: Path, reason: str, fix: str = "", rule: str = rule.id, at: Path = at) -> None:
            say((*at, *path), reason, fix, rule)

        if not rule.id.strip():
            say((*at, "id"), "a rule needs an id: answers are traced by it")
        elif rule.id in seen:
            say((*at, "id"), f"rule id {rule.id!r} is used twice", "give each rule its own")
        seen.add(rule.id)
        when_faults(document, rule, tell, check_pattern)
        narrowing_faults(document, rule, tell, zone, now)
        _answers(document, rule, tell)
    if document.default:
        reply = document.default.reply
        _content(reply, ("default", "reply"), "the default", _message_values(document), say)
    if document.people.reply:
        _content(document.people.reply, ("people", "reply"), "people", _message_values(document), say)
    _faq(document, say)
    if media is not None:
        _media(document, media, say)
    found += conflicts(document)
    return found


def _head(document: RuleSetDocument, say: Say) -> ZoneInfo:
    if document.version not in FORMATS:
        say(("version",), f"version is {document.version}; this Weir reads version 1 and 2")
    zone = ZoneInfo("UTC")
    try:
        zone = ZoneInfo(document.timezone)
    except (ValueError, OSError):
        say(("timezone",), f"there is no time zone {document.timezone!r}", "write it like Asia/Shanghai")
    for name in document.variables:
        if not name.isidentifier() or name in templates.BUILT_IN:
            say(
                ("variables", name),
                f"{name!r} cannot be a variable's name",
                "use letters, digits and _, and none of " + ", ".join(templates.BUILT_IN),
            )
    if document.hours:
        for part, read, days in (
            ("weekly", conditions.read_day, document.hours.weekly),
            ("dates", conditions.read_date, document.hours.dates),
        ):
            for day, spans in days.items():
                readable(read, day, ("hours", part, day), say)
                for number, span in enumerate(spans):
                    readable(conditions.read_range, span, ("hours", part, day, number), say)
    return zone


def _answers(document: RuleSetDocument, rule: Rule, say: Say) -> None:
    if rule.reply is not None and rule.replies:
        say(("replies",), "reply and replies exclude each other", "write them all into replies")
    does = rule.contents or rule.silent or rule.handover or rule.tag or rule.activity
    if not does:
        say(("reply",), "the rule does nothing", "give it reply, replies, silent, handover, tag or activity")
    if rule.silent and rule.contents:
        say(("silent",), "silent and an answer exclude each other", "remove one of them")
    only_events = not (rule.when.text or rule.when.kind or rule.when.first_message or rule.when.near)
    most = EVENT_REPLIES if only_events else MAX_REPLIES
    if len(rule.contents) > most:
        what = "an event" if only_events else "a message"
        say(("replies",), f"{len(rule.contents)} answers; {what} allows {most}", "send fewer")
    values = _rule_values(document, rule)
    for number, content in enumerate(rule.contents):
        path: Path = ("reply",) if rule.reply is not None else ("replies", number)
        if isinstance(content, API_ONLY) and document.version == 1:
            kind = type(content).__struct_config__.tag
            say(path, f"{kind} cannot be a passive reply", "use text, image, voice, video, music or news")
        _content(content, path, "", values, say)
        if isinstance(content, News) and len(content.articles) != 1:
            say((*path, "articles"), f"an answer to a message holds one article, not {len(content.articles)}")


def _faq(document: RuleSetDocument, say: Say) -> None:
    seen: set[str] = set()
    asked: dict[str, str] = {}
    for index, pair in enumerate(document.faq):
        at: Path = ("faq", index)
        if not pair.id.strip() or pair.id in seen:
            say((*at, "id"), f"faq id {pair.id!r} is empty or used twice", "give each its own")
        seen.add(pair.id)
        if not pair.questions:
            say((*at, "questions"), f"faq {pair.id!r} has no question")
        for number, question in enumerate(pair.questions):
            key = without_punctuation(normalise(question))
            if not key:
                say((*at, "questions", number), f"faq {pair.id!r}: a question is empty", "remove it")
            elif asked.setdefault(key, pair.id) != pair.id:
                say(
                    (*at, "questions", number), f"faq {pair.id!r}: {question!r} is a question of {asked[key]!r} already"
                )
        _content(pair.answer, (*at, "answer"), f"faq {pair.id!r}", _message_values(document), say)


def _media(document: RuleSetDocument, media: Collection[str], say: Say) -> None:
    def check(content: Content, path: Path, rule: str = "") -> None:
        for field, name in media_of(content):
            if name not in media:
                say((*path, field), f"there is no media {name!r}", "upload it with `weir media add`", rule)

    for index, rule in enumerate(document.rules):
        if rule.reply is not None:
            check(rule.reply, ("rules", index, "reply"), rule.id)
        for number, content in enumerate(rule.replies):
            check(content, ("rules", index, "replies", number), rule.id)
    for index, pair in enumerate(document.faq):
        check(pair.answer, ("faq", index, "answer"))
    for name, one in (("default", document.default), ("people", document.people)):
        if one and one.reply:
            check(one.reply, (name, "reply"))


def _message_values(document: RuleSetDocument) -> dict[str, Any]:
    return {
        **document.variables,
        "text": "你好",
        "account": "demo",
        "now": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "tags": [],
        "stores": [],
        "position": 12,
        "groups": (),
        "named": {},
    }


def _rule_values(document: RuleSetDocument, rule: Rule) -> dict[str, Any]:
    values = _message_values(document)
    if rule.when.near and document.stores:
        values["stores"] = nearest(document.stores, (document.stores[0].latitude, document.stores[0].longitude))
    if rule.when.text and rule.when.text.regex:
        values["groups"], values["named"] = _Any(), _Any()
    return values


class _Any(msgspec.Struct):
    """Stands for the groups of a pattern: which ones there are is known when it matches."""

    def __getitem__(self, _name: object) -> str:
        return "1"


def _content(content: Content, path: Path, whose: str, values: dict[str, Any], say: Say) -> None:
    prefix = f"{whose}: " if whose else ""
    try:
        unknown = templates.variables(content) - values.keys()
        if unknown:
            known = ", ".join(sorted(values))
            say(path, f"{prefix}there is no variable {min(unknown)!r}", f"there are {known}")
            return
        render = templates.compiled(content)
        filled = render(values) if render else content
    except templates.TemplateFault as fault:
        say(path, f"{prefix}the template does not work: {fault}", "try it with `weir rules try`")
        return
    if isinstance(filled, Text):
        size = len(filled.content.encode())
        if not filled.content.strip():
            say((*path, "content"), f"{prefix}the text is empty; the follower would see nothing")
        elif size > MAX_TEXT_BYTES:
            say(
                (*path, "content"),
                f"{prefix}the text has {size} bytes; WeChat takes {MAX_TEXT_BYTES} at most",
                "shorten it",
            )
