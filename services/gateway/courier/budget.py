"""An account's sending speed and its pauses. Pure: times are Unix seconds and come as arguments.

The speed is a token bucket with three nested levels. People may use all of it, replies and campaigns together 90 %,
campaigns 70 %: whatever a campaign does, there is room for an agent at once. And while a higher class wants more than
there is, a lower one gets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from contracts.facts import SEND_CLASSES

SHARES: Final[Mapping[str, float]] = {"urgent": 1.0, "reply": 0.9, "bulk": 0.7}
"""The part of an account's speed that a class may use, the lower classes' use included."""

BURST_SECONDS: Final = 0.25
"""How much a level saves up while nobody sends, in seconds of its speed; at least one send."""

HUNGER_SECONDS: Final = 0.3
"""How long a want that could not be met holds the lower classes back: longer than it takes to ask again."""

THROTTLED: Final = "throttled"
UNREACHABLE: Final = "unreachable"
QUOTA: Final = "quota"
TOKEN: Final = "token"  # noqa: S105 - the name of a reason
REASONS: Final = (THROTTLED, UNREACHABLE, QUOTA, TOKEN)

BACKOFF_SECONDS: Final = (5.0, 15.0, 30.0, 60.0)
_GROWING: Final = (THROTTLED, UNREACHABLE)
TOKEN_SECONDS: Final = 60.0
CALM_SECONDS: Final = 300.0
"""After so long without the same trouble the back-off starts at its shortest again."""

_SHANGHAI: Final = 8 * 3600
"""China's clocks are 8 hours ahead of UTC all year."""
_AFTER_MIDNIGHT: Final = 5.0
"""WeChat's midnight may come a moment after ours."""


class Pause(msgspec.Struct, frozen=True):
    """Nothing is sent until ``until``. ``step`` counts the back-offs in a row."""

    until: float
    reason: str
    step: int = 0


class Budget(msgspec.Struct, frozen=True):
    """One account's state: sends saved up by level, when that was counted, who lately wanted more, and the pause."""

    levels: dict[str, float] = {}
    counted_at: float = 0.0
    hungry: dict[str, float] = {}
    pause: Pause | None = None


def capacity(level: str, speed: float) -> float:
    """The most that a level saves up."""
    return max(1.0, speed * SHARES[level] * BURST_SECONDS)


def grant(budget: Budget, wants: Mapping[str, int], speed: float, now: float) -> tuple[Budget, dict[str, int]]:
    """Serve what each class wants, the highest class first, as far as the levels reach. ``speed`` is sends a second."""
    levels = _refilled(budget, speed, now)
    hungry = {name: at for name, at in budget.hungry.items() if now - at < HUNGER_SECONDS}
    grants: dict[str, int] = {}
    for rank, name in enumerate(SEND_CLASSES):
        want = wants.get(name, 0)
        if not want:
            continue
        drawn = SEND_CLASSES[: rank + 1]
        held_back = any(higher in hungry for higher in SEND_CLASSES[:rank])
        # A hair above whole numbers: 0.1 s of 10 a second must make one send, whatever floating point says.
        granted = 0 if held_back else min(want, int(min(levels[level] for level in drawn) + 1e-4))
        for level in drawn:
            levels[level] -= granted
        grants[name] = granted
        hungry.pop(name, None)
        if granted < want:
            hungry[name] = now
    return msgspec.structs.replace(budget, levels=levels, counted_at=max(now, budget.counted_at), hungry=hungry), grants


def _refilled(budget: Budget, speed: float, now: float) -> dict[str, float]:
    passed = max(0.0, now - budget.counted_at)
    return {
        level: min(capacity(level, speed), budget.levels.get(level, 0.0) + passed * speed * share)
        for level, share in SHARES.items()
    }


def pause(budget: Budget, reason: str, now: float) -> Budget:
    """Pause for a reason. A pause that lasts longer stays; the same trouble seen twice at a time does not add up."""
    known = budget.pause
    step = 0
    if reason in _GROWING and known is not None and known.reason == reason:
        if now < known.until:
            return budget
        step = known.step + 1 if now - known.until < CALM_SECONDS else 0
    if reason in _GROWING:
        until = now + BACKOFF_SECONDS[min(step, len(BACKOFF_SECONDS) - 1)]
    else:
        until = midnight(now) if reason == QUOTA else now + TOKEN_SECONDS
    if known is not None and known.until >= until:
        return budget
    return msgspec.structs.replace(budget, pause=Pause(until, reason, step))


def paused(budget: Budget, now: float) -> Pause | None:
    """The pause in force."""
    return budget.pause if budget.pause is not None and now < budget.pause.until else None


def midnight(now: float) -> float:
    """The next midnight in Asia/Shanghai, when WeChat's daily quotas start anew."""
    day = (now + _SHANGHAI) // 86_400
    return (day + 1) * 86_400 - _SHANGHAI + _AFTER_MIDNIGHT
