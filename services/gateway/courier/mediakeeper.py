"""Keeps wanted media ready: uploads what has no id, and again before an id ends, so that no follower waits for it."""

from __future__ import annotations

import asyncio

from chassis import logs, metrics
from contracts.errors import HandlerError, Unavailable
from services.gateway.accounts import AccountDirectory
from services.gateway.courier.media import MediaStore
from services.gateway.courier.rates import Rates
from services.gateway.courier.uploads import NoMedia, Uploads

log = logs.get(__name__)

EVERY_SECONDS = 5.0
SWEEP_SECONDS = 3600.0


class MediaKeeper:
    """One in each courier; the leases of the rows keep two from doing the same."""

    def __init__(self, store: MediaStore, uploads: Uploads, accounts: AccountDirectory, rates: Rates) -> None:
        self._store = store
        self._uploads = uploads
        self._accounts = accounts
        self._rates = rates

    async def keep(self) -> None:
        """Look again and again; without MongoDB there is nothing to look at, and the next look comes soon."""
        swept_at = 0.0
        while True:
            try:
                await self.look()
                if (now := asyncio.get_running_loop().time()) - swept_at > SWEEP_SECONDS:
                    await self._store.sweep_files()
                    swept_at = now
            except Unavailable:
                pass
            except Exception:
                log.exception("keeping media ready failed")
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Upload what is due, one after the other; a paused account's files wait."""
        due = await self._store.due()
        metrics.media_expiring.set(len(due))
        for row in due:
            account = self._accounts.get(row["account"])
            if account is None or self._rates.known_pause(account.name):
                continue
            try:
                await self._uploads.ensure(account, row)
            except (HandlerError, NoMedia):
                continue  # the row tells why, and when it is tried again
