"""Rules as typed data, and matching a message against them. Pure; the seam for a larger engine is ``decide``."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

import msgspec

from contracts import wechat
from contracts.content import Content


class TextMatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exact: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of these: a text, a menu click by its key, or following the account."""

    text: TextMatch | None = None
    click: tuple[str, ...] = ()
    subscribe: bool = False


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    when: When
    reply: Content


class Default(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a message that no rule takes. Events get no default answer."""

    reply: Content
    id: str = "default"


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    rules: tuple[Rule, ...] = ()
    default: Default | None = None


@dataclass(frozen=True)
class Match:
    """Which rule answers, with what, and how it was found."""

    rule: str
    reply: Content
    matcher: str


@dataclass(frozen=True)
class RuleSet:
    """Rules of one account, compiled. ``version`` is a digest of the file: the same text, the same version."""

    version: str
    exact: dict[str, Match] = field(default_factory=dict)
    contains: tuple[tuple[str, Match], ...] = ()
    click: dict[str, Match] = field(default_factory=dict)
    subscribe: Match | None = None
    default: Match | None = None
    size: int = 0


@dataclass(frozen=True)
class Conflict:
    """A rule that could never win: ``keyword`` of rule number ``index`` is taken by rule ``by``."""

    index: int
    keyword: str
    by: str


def normalise(text: str) -> str:
    """Text as it is compared: compatibility forms, width and case folded, outer white space gone."""
    if text.isascii():
        return text.strip().lower()
    return unicodedata.normalize("NFKC", text).casefold().strip()


def compile_rules(file: RuleFile, version: str) -> tuple[RuleSet, list[Conflict]]:
    """The rules of a file, and what in it could never win. An exact keyword beats a contained one; else file order."""
    exact: dict[str, Match] = {}
    contains: dict[str, Match] = {}
    click: dict[str, Match] = {}
    subscribe: Match | None = None
    conflicts: list[Conflict] = []

    def add(table: dict[str, Match], index: int, key: str, shown: str, match: Match) -> None:
        if key in table:
            conflicts.append(Conflict(index, shown, table[key].rule))
        else:
            table[key] = match

    for index, rule in enumerate(file.rules):
        if rule.when.text:
            for word in rule.when.text.exact:
                add(exact, index, normalise(word), word, Match(rule.id, rule.reply, "exact"))
            for word in rule.when.text.contains:
                key = normalise(word)
                covered = next((match for known, match in contains.items() if known in key), None)
                if covered:
                    conflicts.append(Conflict(index, word, covered.rule))
                else:
                    contains[key] = Match(rule.id, rule.reply, "contains")
        for key in rule.when.click:
            add(click, index, key, key, Match(rule.id, rule.reply, "click"))
        if rule.when.subscribe:
            if subscribe:
                conflicts.append(Conflict(index, "subscribe", subscribe.rule))
            else:
                subscribe = Match(rule.id, rule.reply, "subscribe")
    default = Match(file.default.id, file.default.reply, "default") if file.default else None
    size = len(file.rules) + bool(default)
    return RuleSet(version, exact, tuple(contains.items()), click, subscribe, default, size), conflicts


def decide(rules: RuleSet, inbound: wechat.Inbound) -> Match | None:
    """What answers this message or event; None when nothing does."""
    match inbound:
        case wechat.TextMessage():
            return by_text(rules, inbound.content)
        case wechat.VoiceMessage():
            return by_text(rules, inbound.recognition or "")
        case wechat.SubscribeEvent():
            return rules.subscribe
        case wechat.MenuEvent() if inbound.event.lower() == "click":
            return rules.click.get(inbound.event_key or "")
        case wechat.Message():
            return rules.default
        case wechat.Unknown() if inbound.fields.get("MsgType") != "event":
            return rules.default
        case _:
            return None


def by_text(rules: RuleSet, text: str) -> Match | None:
    """What answers this text."""
    key = normalise(text)
    if not key:
        return rules.default
    match = rules.exact.get(key)
    if match:
        return match
    for word, match in rules.contains:
        if word in key:
            return match
    return rules.default
