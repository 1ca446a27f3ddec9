"""What goes live is told on the bus: the fact ``weir.rules.published``."""

from __future__ import annotations

from chassis import logs
from chassis.publisher import Publication, Publisher, fact
from contracts import facts
from contracts.envelope import Event, raw
from contracts.errors import PublishFailed
from contracts.facts import RulesPublished
from services.autoreply.repository import Live

log = logs.get(__name__)


def published(live: Live) -> Publication:
    """One change of what is live leads to one fact, by whomever and however often it is told."""
    told = RulesPublished(live.version, live.previous, live.by, live.note, live.rolled_back)
    return fact(
        Event(
            id=f"{live.account}|rules|{live.revision}",
            source=f"/accounts/{live.account}",
            type=facts.RULES_PUBLISHED,
            time=live.at,
            account=live.account,
            lane="signal",
            data=raw(told),
        )
    )


class Announcer:
    """Tells the bus. What is live is live without it: while the bus is away the move is only logged."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def tell(self, live: Live) -> None:
        try:
            await self._publisher.publish(published(live))
        except PublishFailed as error:
            log.warning(
                "rules are live, but the bus was not told",
                account=live.account,
                version=live.version,
                reason=str(error),
            )
