"""What makes a text a contest entry, as plain data: the part of an account's published rules that gateways need."""

from __future__ import annotations

import msgspec


class EntryTable(msgspec.Struct, frozen=True, omit_defaults=True):
    """Keywords and patterns of the rules that are marked ``lane: entry``, as they were written.

    ``regex`` is in RE2's syntax. ``strip_punctuation``: they are compared without punctuation, as in the rules.
    """

    exact: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    strip_punctuation: bool = False

    @property
    def empty(self) -> bool:
        return not (self.exact or self.prefix or self.contains or self.regex)
