"""What is left of a follower who must be forgotten: how many, which kind, when and why; not who or what. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import blake2b

from services.history.documents import Document

_PERSONAL = frozenset(("text", "fields", "raw", "content", "reason", "data"))
"""What a person wrote or was written, and what may quote it."""

_TIMES = ("subscribed_at", "unsubscribed_at", "revoked_at")
_PART = re.compile(r"#r\d+\Z")


class Pseudonyms:
    """Stand-ins under a key: the same follower gets the same one, and without the key none leads back."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, account: str, openid: str) -> str:
        return "erased-" + self._digest(f"{account}|{openid}")

    def of_id(self, account: str, openid: str, name: str) -> str:
        """A message's id without the openid in it. An answer's id still is its cause's id and a part."""
        part = _PART.search(name)
        suffix = part.group() if part else ""
        base = name[: -len(suffix)] if suffix else name
        return f"{account}|{self.of(account, openid)}|{self._digest(base)}{suffix}"

    def message(self, document: Document) -> Document:
        """What may stay of a message or fact."""
        account, openid = document["account"], document["openid"]
        kept = _without_content(document)
        kept["_id"] = self.of_id(account, openid, document["_id"])
        kept["openid"] = self.of(account, openid)
        kept["erased"] = True
        if kept.get("cause"):
            kept["cause"] = self.of_id(account, openid, kept["cause"])
        return kept

    def follower(self, document: Document, now: datetime) -> Document:
        """What may stay of a follower."""
        account, pseudonym = document["account"], self.of(document["account"], document["openid"])
        times = {
            name: document[name] for name in ("subscribed_at", "unsubscribed_at", "revoked_at") if document.get(name)
        }
        return {
            "_id": f"{account}|{pseudonym}",
            "account": account,
            "openid": pseudonym,
            "erased": True,
            "erased_at": now,
            **times,
        }

    def _digest(self, text: str) -> str:
        return blake2b(text.encode(), key=self._key, digest_size=16).hexdigest()


def _without_content(document: Document) -> Document:
    kept = {name: value for name, value in document.items() if name not in _PERSONAL}
    if "because" in kept:
        kept["because"] = {name: value for name, value in kept["because"].items() if name != "note"}
    if "others" in kept:
        kept["others"] = [_without_content(other) for other in kept["others"]]
    return kept
