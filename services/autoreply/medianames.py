"""Which names of the account's media library answers use. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.content import Content
from services.autoreply.format import RuleSetDocument

FIELDS = ("media", "thumb_media")
"""Fields of contents that hold a name of the library, in place of the platform's id."""


def media_of(content: Content) -> list[tuple[str, str]]:
    """The names with the fields in which they stand."""
    return [(field, name) for field in FIELDS if (name := getattr(content, field, ""))]


def media_names(document: RuleSetDocument) -> frozenset[str]:
    """Every name that an answer of the rule set uses."""
    return frozenset(name for content in contents(document) for _, name in media_of(content))


def contents(document: RuleSetDocument) -> Iterable[Content]:
    """Every answer that the rule set can give."""
    for rule in document.rules:
        yield from rule.contents
    for pair in document.faq:
        yield pair.answer
    for one in (document.default, document.people):
        if one and one.reply:
            yield one.reply
