"""The history service, put together."""

from __future__ import annotations

from datetime import UTC, datetime

from chassis import http
from chassis.amqp import Bus
from chassis.api import routes
from chassis.audit import Audit
from chassis.consumer import Consumer
from chassis.identity import Identities
from chassis.lifecycle import Process
from chassis.mongo import connect, until_reachable
from chassis.publisher import Publisher, command
from chassis.settings import Settings
from contracts import orders, topology
from services.history.api import Api
from services.history.corrections import Corrections
from services.history.followers import Followers
from services.history.handlers import Recorder
from services.history.incidents import Incidents
from services.history.incidents_api import IncidentsApi
from services.history.index import Index
from services.history.reading import Reading
from services.history.searching import Search
from services.history.store import Store
from services.history.sweep import Sweep

NAME = "history"
MERGE = 16
"""Deliveries in one write: at up to 128 events each, about 2,000 documents in a round trip."""
LINGER_SECONDS = 0.02
"""Nobody waits for a record to be written, and a write costs the same round trip, thread and fsync for 2 or 200."""
WORKERS = 2
"""One batch is being written while the next is being read."""


def clock() -> datetime:
    return datetime.now(UTC)


async def build(settings: Settings) -> Process:
    bus = Bus(settings.amqp_url, NAME)
    publisher = Publisher(bus, timeout=5.0)
    client, database = connect(settings.mongodb_url, settings.mongodb_database, name=NAME)
    store = Store(database)
    followers = Followers(database)
    index = Index(store, clock)
    recorder = Recorder(store, followers, index, clock)
    incidents = Incidents(store, followers, clock)
    corrections = Corrections(store, incidents, publisher)

    async def tell_to_forget(account: str, openid: str) -> None:
        await publisher.publish(command(orders.FORGET_KEY, orders.forget(account, openid, clock())))

    sweep = Sweep(store, followers, index, incidents, clock, tell_to_forget)
    consumer = Consumer(
        bus,
        publisher,
        topology.HISTORY,
        recorder.handle,
        prefetch=2 * MERGE * WORKERS,
        workers=WORKERS,
        merge=MERGE,
        linger=LINGER_SECONDS,
    )
    health = http.Health()
    health.checks["mongodb"] = lambda: store.reachable
    app = http.application(health, token=settings.admin_token, identity=Identities(database))
    app.add_routes(routes(IncidentsApi(incidents, corrections, Reading(store, Search(store, index))), Audit(database)))
    app.add_routes(routes(Api(Reading(store, Search(store, index)), followers, sweep)))

    async def close_client() -> None:
        client.close()

    return Process(
        name=NAME,
        settings=settings,
        health=health,
        bus=bus,
        publisher=publisher,
        runner=http.app_runner(app),
        consumers=[consumer],
        before=[
            lambda: until_reachable(store.prepare),
            lambda: until_reachable(followers.prepare),
            lambda: until_reachable(index.prepare),
            lambda: until_reachable(incidents.prepare),
        ],
        background=[store.keep_asking, sweep.forever, index.forever, corrections.forever],
        closers=[close_client],
    )
