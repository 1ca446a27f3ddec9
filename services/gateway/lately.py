"""A memory of what was lately, by key: bounded in time and number, and cheap to forget.

Two generations: what is new goes into the young one, and when that is full or old it becomes the old one and the old
one is dropped whole. Dropping entries one by one cost a callback more than looking them up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Lately(Generic[V]):
    """Values by key, kept for at least ``seconds`` unless ``entries`` newer ones came, and for twice that at most."""

    def __init__(self, seconds: float, entries: int, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._entries = entries
        self._clock = clock
        self._young: dict[Hashable, V] = {}
        self._old: dict[Hashable, V] = {}
        self._turned = clock()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: Hashable) -> V | None:
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: Hashable, value: V) -> None:
        self._young[key] = value
        if len(self._young) >= self._entries:
            self._turn()

    def forget(self) -> None:
        """To be called now and then: let go of what is old."""
        if self._clock() - self._turned >= self._seconds:
            self._turn()

    def _turn(self) -> None:
        self._old, self._young = self._young, {}
        self._turned = self._clock()
