"""Daily quotas and per-minute limits of an account's API calls."""

from typing import Annotated

import msgspec

from sandbox.clock import shanghai_day, shanghai_month
from sandbox.errors import ApiError

CLEARS_A_MONTH = 10
FORCED_REFRESHES_A_DAY = 20
FORCE_REFRESH = "stable_token:force_refresh"

Count = Annotated[int, msgspec.Meta(ge=0)]


class Quota(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many calls of one API are allowed; None sets no limit."""

    daily: Count | None = None
    per_minute: Count | None = None


# The published defaults; where the platform publishes none there is none here.
DEFAULTS = {
    "token": Quota(daily=2000),
    "stable_token": Quota(daily=500_000, per_minute=10_000),
    FORCE_REFRESH: Quota(daily=FORCED_REFRESHES_A_DAY),
    "custom/send": Quota(daily=500_000),
    "custom/typing": Quota(),
    "media/upload": Quota(daily=100_000),
    "media/get": Quota(daily=200_000),
    "user/info": Quota(daily=5_000_000),
    "getcallbackip": Quota(),
    "clear_quota": Quota(),
}


class Usage(msgspec.Struct):
    """What an account has used up today, this minute and this month."""

    day: int = 0
    daily: dict[str, int] = {}
    minute: int = 0
    per_minute: dict[str, int] = {}
    month: str = ""
    clears: int = 0

    def spend(self, api: str, quotas: dict[str, Quota], now: float) -> None:
        """Count one call. Raises ApiError 45009 when the day's quota is used up, 45011 when the minute's is."""
        self._turn_over(now)
        quota = quotas.get(api) or DEFAULTS[api]
        today, this_minute = self.daily.get(api, 0), self.per_minute.get(api, 0)
        if quota.daily is not None and today >= quota.daily:
            raise ApiError(45009)
        if quota.per_minute is not None and this_minute >= quota.per_minute:
            raise ApiError(45011)
        self.daily[api] = today + 1
        self.per_minute[api] = this_minute + 1

    def clear(self, now: float) -> None:
        """Set the day's counts back to zero. Raises ApiError 48006 the eleventh time in a calendar month."""
        self._turn_over(now)
        if self.clears >= CLEARS_A_MONTH:
            raise ApiError(48006)
        self.clears += 1
        self.daily = {}

    def _turn_over(self, now: float) -> None:
        day, minute, month = shanghai_day(now), int(now // 60), shanghai_month(now)
        if day != self.day:
            self.day, self.daily = day, {}
        if minute != self.minute:
            self.minute, self.per_minute = minute, {}
        if month != self.month:
            self.month, self.clears = month, 0
