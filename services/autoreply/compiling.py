"""From a rule set's text to what publishing and deciding need of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import yaml

from services.autoreply.format import RuleSetDocument
from services.autoreply.medianames import media_names
from services.autoreply.rulefile import checked, compiled, parsed
from services.autoreply.ruleset import RuleSet, entry_table


@dataclass(frozen=True)
class Checked:
    """A text that passed the lint. ``plain`` is its document, ``entry`` what the gateways need of it."""

    plain: dict[str, Any]
    size: int
    entry: dict[str, Any]
    media: tuple[str, ...] = ()
    """The names of the media library that it uses."""


def check(text: str, now: datetime | None = None, media: Collection[str] | None = None) -> Checked:
    """Raises ``RuleFileError`` with all that is wrong; with ``now`` also for a rule whose time is over.

    With ``media``, the names of the account's media library, also for one that is not there.
    """
    document = checked(text, now, media)
    entry: dict[str, Any] = msgspec.to_builtins(entry_table(document))
    size = len(document.rules) + bool(document.default)
    return Checked(plain_of(document), size, entry, tuple(sorted(media_names(document))))


def load(text: str, version: str) -> RuleSet:
    """The rules of a text that passed the lint when it was published. Raises ``RuleFileError``.

    The lint is not asked again: a time window that is over by now was no mistake, and an older version must stay a way
    back whatever the lint has learned since.
    """
    return compiled(parsed(text)[0], version)


def plain_of(document: RuleSetDocument) -> dict[str, Any]:
    """A document as plain values; what stands at its default is left out, but for the format's version."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def shown(text: str) -> dict[str, Any]:
    """The document of a text that was published, as plain values. Raises ``RuleFileError``."""
    return plain_of(parsed(text)[0])


def written(document: dict[str, Any]) -> str:
    """A document that came as JSON, as the YAML text that is kept and exported."""
    text: str = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=110)
    return text
