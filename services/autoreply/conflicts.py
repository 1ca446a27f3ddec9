"""Keywords, menu keys and events that an earlier rule always takes: the later rule could never answer them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from contracts.text import CONTAINS, EXACT, PREFIX, REGEX
from services.autoreply.fault import Fault, key_of
from services.autoreply.format import Rule, RuleSetDocument

_NARROW = ("time", "hours", "first_message", "new_days", "tags", "share", "kind", "key", "scene")


def _plain(rule: Rule) -> bool:
    """Whether the rule takes all that has its keywords, and lets nothing go on."""
    return not rule.goes_on and rule.limit is None and not any(getattr(rule.when, name) for name in _NARROW)


def conflicts(document: RuleSetDocument) -> list[Fault]:
    """Keywords, menu keys and follows that an earlier rule always takes."""
    order = sorted(enumerate(document.rules), key=lambda item: (-item[1].priority, item[0]))
    exact: dict[str, tuple[str, int]] = {}
    inside: dict[str, tuple[str, int, bool]] = {}
    lengths: set[int] = set()
    others: dict[tuple[str, str], str] = {}
    found: list[Fault] = []

    def tell(index: int, rule: Rule, shown: str, by: str) -> None:
        found.append(
            Fault(
                ("rules", index, "when"), rule.id, f"{shown!r} is already answered by rule {by!r}", "remove one of them"
            )
        )

    def covered(key: str, above: int | None) -> str:
        for length in lengths:
            for start in range(len(key) - length + 1):
                by = inside.get(key[start : start + length])
                if by and (not by[2] or start == 0) and (above is None or by[1] > above):
                    return by[0]
        return ""

    for index, rule in order:
        text = rule.when.text
        if text:
            for matcher, words in ((EXACT, text.exact), (PREFIX, text.prefix), (CONTAINS, text.contains)):
                for word in words:
                    key = key_of(word, document)
                    if not key:
                        continue
                    # An exact keyword goes before what only contains it, unless that rule has the higher priority.
                    by = exact.get(key, ("", 0))[0] if matcher == EXACT else ""
                    by = by or covered(key, rule.priority if matcher == EXACT else None)
                    if by:
                        if by != rule.id:
                            tell(index, rule, word, by)
                        continue
                    if not _plain(rule):
                        continue
                    if matcher == EXACT:
                        exact[key] = (rule.id, rule.priority)
                    else:
                        inside[key] = (rule.id, rule.priority, matcher == PREFIX)
                        lengths.add(len(key))
        for what, shown in _other_triggers(rule):
            if by := others.get(what, ""):
                if by != rule.id:
                    tell(index, rule, shown, by)
            elif _plain(rule) or (what[1] and not rule.goes_on and rule.limit is None and not _narrow_beyond_key(rule)):
                others[what] = rule.id
    return found


def _narrow_beyond_key(rule: Rule) -> bool:
    return any(getattr(rule.when, name) for name in _NARROW if name != "key")


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
    for pattern in when.text.regex if when.text else ():
        yield (REGEX, pattern), pattern
