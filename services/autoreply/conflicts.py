"""Keywords, menu keys and events that an earlier rule always takes: the later rule could never answer them. Pure.

A rule beats a later one where it takes the same and is narrowed by nothing that does not narrow the later one too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from contracts.text import CONTAINS, EXACT, PREFIX, REGEX
from services.autoreply.fault import Fault, key_of
from services.autoreply.format import Rule, RuleSetDocument

_NARROWING = ("time", "hours", "first_message", "new_days", "tags", "share", "scene")

Narrow = frozenset[tuple[str, object]]


class _Taker(NamedTuple):
    """A rule that takes something and lets nothing go on."""

    rule: str
    priority: int
    narrow: Narrow
    prefix: bool = False


class _Takers:
    """Who takes what, in the order in which rules are asked."""

    def __init__(self) -> None:
        self._by_what: dict[object, list[_Taker]] = {}

    def add(self, what: object, taker: _Taker) -> None:
        self._by_what.setdefault(what, []).append(taker)

    def before(self, what: object, narrow: Narrow, above: int | None = None, *, prefix: bool = True) -> str:
        """The rule that always takes it ahead of one that is narrowed so; ``above`` which priority it must stand."""
        for taker in self._by_what.get(what, ()):
            fits = (prefix or not taker.prefix) and (above is None or taker.priority > above)
            if fits and taker.narrow <= narrow:
                return taker.rule
        return ""


def conflicts(document: RuleSetDocument) -> list[Fault]:
    """Keywords, patterns, menu keys, events and kinds that an earlier rule always takes."""
    order = sorted(enumerate(document.rules), key=lambda item: (-item[1].priority, item[0]))
    exact, inside, others = _Takers(), _Takers(), _Takers()
    lengths: set[int] = set()
    found: list[Fault] = []

    def covered(key: str, narrow: Narrow, above: int | None) -> str:
        for length in lengths:
            for start in range(len(key) - length + 1):
                if by := inside.before(key[start : start + length], narrow, above, prefix=start == 0):
                    return by
        return ""

    for index, rule in order:
        stops = not rule.goes_on and rule.limit is None
        narrow = _narrow(rule, "key", "kind") if rule.when.text else _narrow(rule)

        def tell(shown: str, by: str, index: int = index, rule: Rule = rule) -> None:
            if by != rule.id:
                reason = f"{shown!r} is already answered by rule {by!r}"
                found.append(Fault(("rules", index, "when"), rule.id, reason, "remove one of them"))

        for matcher, word, key in _words(document, rule):
            # An exact keyword goes before what only contains it, unless that rule has the higher priority.
            by = exact.before(key, narrow) if matcher == EXACT else ""
            by = by or covered(key, narrow, rule.priority if matcher == EXACT else None)
            if by:
                tell(word, by)
            elif stops and matcher == EXACT:
                exact.add(key, _Taker(rule.id, rule.priority, narrow))
            elif stops:
                inside.add(key, _Taker(rule.id, rule.priority, narrow, matcher == PREFIX))
                lengths.add(len(key))
        for what, shown in _other_triggers(rule):
            # A rule for every key of an event takes each one.
            if by := others.before(what, narrow) or others.before((what[0], ""), narrow):
                tell(shown, by)
            elif stops:
                others.add(what, _Taker(rule.id, rule.priority, narrow))
    return found


def _narrow(rule: Rule, *more: str) -> Narrow:
    return frozenset(
        (name, value)
        for name in (*_NARROWING, *more)
        if (value := getattr(rule.when, name)) not in (None, "", (), False)
    ) | ({("scene", False)} if rule.when.scene is False else frozenset())


def _words(document: RuleSetDocument, rule: Rule) -> Iterable[tuple[str, str, str]]:
    text = rule.when.text
    for matcher, words in ((EXACT, text.exact), (PREFIX, text.prefix), (CONTAINS, text.contains)) if text else ():
        for word in words:
            if key := key_of(word, document):
                yield matcher, word, key


def _other_triggers(rule: Rule) -> Iterable[tuple[tuple[str, str], str]]:
    when = rule.when
    for key in when.click:
        yield ("click", key), key
    events: Collection[str] = (*(event.lower() for event in when.event), *(("subscribe",) if when.subscribe else ()))
    for event in events:
        for key in when.key or ("",):
            yield (event, key), f"{event} {key}".strip()
    if not when.text:
        for kind in when.kind:
            yield (f"kind {kind}", ""), kind
    if when.near:
        yield ("near", ""), "near"
    for pattern in when.text.regex if when.text else ():
        yield (REGEX, pattern), pattern
