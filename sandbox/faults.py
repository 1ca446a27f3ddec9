"""Switchable misfortune: slow answers, errcodes, cut connections, callbacks doubled, late or out of order."""

import random
from typing import Annotated, Any

import msgspec

from sandbox.errors import ControlError
from sandbox.quotas import DEFAULTS

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]  # a probability
# Milliseconds, fixed or from least to most. The range is checked by hand: msgspec 0.22.0 crashes the interpreter at the
# next garbage collection over a union of a constrained float and a tuple of fixed length.
Span = float | list[float]
LONGEST_MS = 60_000

EVERY_API = "*"


class Errcode(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    code: int
    share: Share = 1.0


class Cut(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Connections closed without an answer, before the call took effect or after it."""

    before_apply: Share = 0.0
    after_apply: Share = 0.0
    apis: tuple[str, ...] = ("custom/send",)


class Faults(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One set of faults, for one account or (account None) for all that have no set of their own."""

    account: str | None = None
    latency_ms: Span = 0.0
    errcodes: dict[str, Errcode] = {}
    cut: Cut = Cut()
    callback_duplicate: Share = 0.0
    callback_delay_ms: Span = 0.0
    callback_out_of_order: Share = 0.0
    mark_fail: bool = False
    seed: int | None = None


class Dice:
    """A set of faults with its own random numbers, repeatable from the seed."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._random = random.Random(faults.seed)

    def latency(self) -> float:
        """Seconds to wait before an API call is looked at."""
        return self._seconds(self.faults.latency_ms)

    def callback_delay(self) -> float:
        """Seconds to wait before a callback is pushed."""
        return self._seconds(self.faults.callback_delay_ms)

    def errcode(self, api: str) -> int | None:
        """The errcode this call gets instead of being done, if any."""
        fault = self.faults.errcodes.get(api) or self.faults.errcodes.get(EVERY_API)
        return fault.code if fault and self._hits(fault.share) else None

    def cut_before(self, api: str) -> bool:
        return self._cuts(api) and self._hits(self.faults.cut.before_apply)

    def cut_after(self, api: str) -> bool:
        return self._cuts(api) and self._hits(self.faults.cut.after_apply)

    def duplicate(self) -> bool:
        return self._hits(self.faults.callback_duplicate)

    def out_of_order(self) -> bool:
        return self._hits(self.faults.callback_out_of_order)

    def _cuts(self, api: str) -> bool:
        return api in self.faults.cut.apis or EVERY_API in self.faults.cut.apis

    def _hits(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _seconds(self, span: Span) -> float:
        if isinstance(span, list):
            return self._random.uniform(span[0], span[1]) / 1000
        return span / 1000


def _check_span(field: str, span: Span) -> None:
    least, most = (span[0], span[-1]) if isinstance(span, list) and len(span) == 2 else (span, span)
    if isinstance(least, list) or isinstance(most, list) or not 0 <= least <= most <= LONGEST_MS:
        raise ControlError(f"faults: {field}: milliseconds, or [least, most], from 0 to {LONGEST_MS}")


_NONE = Dice(Faults())


class FaultBook:
    """The fault sets in force: at most one for each account and one for all others."""

    def __init__(self) -> None:
        self._sets: dict[str | None, Dice] = {}

    def put(self, raw: object) -> Faults:
        """Set faults; a set for the same account is replaced. Raises ControlError naming the wrong field."""
        try:
            faults = msgspec.convert(raw, Faults)
        except msgspec.ValidationError as error:
            raise ControlError(f"faults: {error}") from error
        for field, apis in (("errcodes", faults.errcodes), ("cut.apis", faults.cut.apis)):
            for api in apis:
                if api != EVERY_API and api not in DEFAULTS:
                    known = ", ".join(name for name in DEFAULTS if ":" not in name)
                    raise ControlError(f"faults: {field}: unknown API {api!r}; known are *, {known}")
        for field, span in (("latency_ms", faults.latency_ms), ("callback_delay_ms", faults.callback_delay_ms)):
            _check_span(field, span)
        self._sets[faults.account] = Dice(faults)
        return faults

    def clear(self, account: str | None = None) -> None:
        """End the faults of one account, or (None) all of them."""
        if account is None:
            self._sets.clear()
        else:
            self._sets.pop(account, None)

    def for_account(self, account: str) -> Dice:
        return self._sets.get(account) or self._sets.get(None) or _NONE

    def view(self) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(dice.faults) for dice in self._sets.values()]
