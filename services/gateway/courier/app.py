"""The composition root of the courier."""

from __future__ import annotations

import secrets
from functools import partial

from chassis import http
from chassis.amqp import Bus
from chassis.api import routes
from chassis.audit import Audit
from chassis.consumer import Consumer, each
from chassis.identity import Identities
from chassis.lifecycle import Process
from chassis.mongo import connect, until_reachable
from chassis.publisher import Publisher
from chassis.settings import Settings
from chassis.wechat.http import HttpClient
from contracts import topology
from services.gateway.accounts import AccountDirectory, AccountRepository
from services.gateway.courier.acts import Acts
from services.gateway.courier.allowances import Allowances
from services.gateway.courier.api import Api
from services.gateway.courier.attempt import Attempts
from services.gateway.courier.clock import ServerClock
from services.gateway.courier.handler import Courier
from services.gateway.courier.lines import Lines
from services.gateway.courier.media import MediaStore
from services.gateway.courier.media_api import MediaApi
from services.gateway.courier.mediakeeper import MediaKeeper
from services.gateway.courier.rates import Rates
from services.gateway.courier.sweeper import Sweeper
from services.gateway.courier.tokens import MongoTokens
from services.gateway.courier.uploads import Uploads
from services.gateway.ledger import Ledger

NAME = "courier"
CALL_SECONDS = 7.0
"""Longest call of WeChat. With a token refused and renewed in between there are three, less than the ledger allows;
and what is under way when the process is told to stop ends before it must."""

UPLOAD_SECONDS = 60.0
"""Longest upload; less than its lease."""

QUEUES = {"urgent": topology.COURIER_URGENT, "reply": topology.COURIER_REPLY, "bulk": topology.COURIER_BULK}
PREFETCH = 32
WORKERS = 8


async def build(settings: Settings) -> Process:
    bus = Bus(settings.amqp_url, NAME)
    publisher = Publisher(bus, timeout=5.0)
    client, database = connect(settings.mongodb_url, settings.mongodb_database, name=NAME)
    clock = ServerClock(database)
    accounts = AccountDirectory(AccountRepository(database))
    ledger = Ledger(database, clock, secrets.token_hex(8))
    allowances = Allowances(database, clock)
    calls = HttpClient(total_seconds=CALL_SECONDS, connections=256)
    acts = Acts(settings.history_url, settings.admin_token)
    tokens = MongoTokens(database, clock)
    lines = Lines(calls, tokens, clock)
    health = http.Health()
    rates = Rates(database, clock, stopping=lambda: health.draining)
    # A file takes longer than a message, and must not take its connections.
    upload_calls = HttpClient(total_seconds=UPLOAD_SECONDS, connections=4)
    media = MediaStore(database, clock, secrets.token_hex(8))
    uploads = Uploads(media, Lines(upload_calls, tokens, clock), clock)
    keeper = MediaKeeper(media, uploads, accounts, rates)
    attempts = Attempts(ledger, allowances, rates, lines, acts, clock, uploads)
    courier = Courier(ledger, allowances, attempts, accounts)
    # One consumer for each class. What waits in one costs nothing, so there are many more than calls: an account that
    # is slow or paused holds nobody else up.
    consumers = [
        Consumer(bus, publisher, queue, each(courier.of_class(kind), 32), prefetch=PREFETCH, workers=WORKERS)
        for kind, queue in QUEUES.items()
    ]
    health.checks["accounts"] = lambda: accounts.loaded
    app = http.application(health, token=settings.admin_token, identity=Identities(database))
    app.add_routes(routes(Api(ledger)))
    app.add_routes(routes(MediaApi(media, accounts), Audit(database)))

    async def close_client() -> None:
        client.close()

    return Process(
        name=NAME,
        settings=settings,
        health=health,
        bus=bus,
        publisher=publisher,
        runner=http.app_runner(app),
        consumers=consumers,
        before=[
            partial(until_reachable, prepare)
            for prepare in (clock.sync, ledger.prepare, allowances.prepare, media.prepare, accounts.refresh)
        ],
        background=[accounts.keep, clock.keep, Sweeper(ledger, publisher, lambda: bus.ready).keep, keeper.keep],
        closers=[uploads.close, calls.close, upload_calls.close, acts.close, close_client],
    )
