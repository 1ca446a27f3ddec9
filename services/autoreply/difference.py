"""What differs between two rule sets: rule by rule, and line by line. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_LINES = 2_000
"""Lines of a text difference that are shown: two strangers of fifty thousand keywords have nothing to tell by line."""


class FieldChange(msgspec.Struct, frozen=True):
    field: str
    before: Any
    after: Any


class RuleChange(msgspec.Struct, frozen=True):
    """A rule that both have, and the fields in which they differ. ``moved``: it stands elsewhere among the others."""

    id: str
    fields: tuple[FieldChange, ...] = ()
    moved: bool = False


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """By rule id; ``settings`` are the fields beside the rules (the default answer, the hours, ...)."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[RuleChange, ...] = ()
    settings: tuple[FieldChange, ...] = ()
    text: str = ""
    """The texts themselves, as a unified difference."""

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed or self.settings)


def between(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    texts: tuple[str, str] = ("", ""),
    names: tuple[str, str] = ("", ""),
) -> Difference:
    """The difference of two documents as plain values, and of the texts that they were read from."""
    old, new = _by_id(before), _by_id(after)
    kept = [name for name in old if name in new]
    moved = _moved(kept, [name for name in new if name in old])
    changed = []
    for name in kept:
        fields = _fields(old[name], new[name])
        if fields or name in moved:
            changed.append(RuleChange(name, fields, name in moved))
    return Difference(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(changed),
        settings=_fields(_without_rules(before), _without_rules(after)),
        text=lines(*texts, *names),
    )


def lines(before: str, after: str, name_before: str, name_after: str) -> str:
    """A unified difference of two texts, cut after ``MAX_LINES`` lines."""
    if before == after:
        return ""
    shown = list(
        difflib.unified_diff(before.splitlines(), after.splitlines(), name_before, name_after, lineterm="", n=2)
    )
    if len(shown) > MAX_LINES:
        shown = [*shown[:MAX_LINES], f"... and {len(shown) - MAX_LINES} more lines"]
    return "\n".join(shown) + "\n" if shown else ""


def _by_id(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(rule["id"]): rule for rule in document.get("rules", ())}


def _without_rules(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "rules"}


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    names = dict.fromkeys((*before, *after))
    return tuple(
        FieldChange(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )


def _moved(before: list[str], after: list[str]) -> set[str]:
    """Those that have to be taken out for the others to stand in the same order in both."""
    place = {name: index for index, name in enumerate(before)}
    longest = difflib.SequenceMatcher(None, range(len(before)), [place[name] for name in after], autojunk=False)
    staying = {after[block.b + step] for block in longest.get_matching_blocks() for step in range(block.size)}
    return set(after) - staying
