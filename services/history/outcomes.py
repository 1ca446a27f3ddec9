"""One document for one answer, whatever is told about it, how often and in which order. Pure."""

from __future__ import annotations

from services.history.documents import Document

_RANK = {"failed": 1, "unknown": 2, "sent": 3}
"""What is known for sure beats what is not: a send that WeChat took stays sent, whatever else is said of it."""

_TOLD = ("kind", "at", "text", "content", "raw", "because", "via", "status", "errcode", "reason")
"""The fields that one fact brings; the others say which message it is."""


def merge(old: Document, new: Document) -> Document:
    """What is known of an answer after both; equal to ``old`` when ``new`` tells nothing.

    The same answer must not leave on two ways. If it was told of two all the same, both stay visible: the surer one is
    the document, the rest stands in ``others``, and ``conflict`` makes it findable.
    """
    told = {one["via"]: one for one in _told_in(old)}
    for one in _told_in(new):
        known = told.get(one["via"])
        if known is None or _RANK[one["status"]] > _RANK[known["status"]]:
            told[one["via"]] = one
    first, *others = sorted(told.values(), key=lambda one: (-_RANK[one["status"]], one["via"] != "passive", one["via"]))
    document = {name: value for name, value in old.items() if name not in _TOLD and name not in ("others", "conflict")}
    document["cause"] = old["cause"] or new["cause"]
    document |= first
    if others:
        document["conflict"] = True
        document["others"] = others
    return document


def _told_in(document: Document) -> list[Document]:
    return [{name: document[name] for name in _TOLD if name in document}, *document.get("others", ())]
