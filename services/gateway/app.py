"""The composition root of the gateway's webhook process."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from chassis import logs
from chassis.amqp import Bus, Subscription
from chassis.conversing import Conversing
from chassis.http import KEEPALIVE, SHUTDOWN, Health, problem
from chassis.lifecycle import Process
from chassis.mongo import connect
from chassis.publisher import Publisher
from chassis.settings import Settings
from contracts.errors import SettingsError
from services.gateway.accounts import AccountDirectory, AccountRepository
from services.gateway.answers import Answers
from services.gateway.journal import Journal, JournalError
from services.gateway.ledger import claim_passive
from services.gateway.outbox import Outbox
from services.gateway.replay import Replayer
from services.gateway.replies import Replies
from services.gateway.triagefile import TriageFile
from services.gateway.triagetable import EntryPatterns, TriageTable
from services.gateway.webhook import PREFIX, Webhook

log = logs.get(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

LINGER = 1.0
"""Seconds for which the rest of a refused body is still taken, so that its sender gets to read why it was refused."""


async def build(settings: Settings, elsewhere: Handler | None = None) -> Process:
    """``elsewhere`` answers what is neither a callback nor a probe; without it that is a 404."""
    health = Health()
    bus = Bus(settings.amqp_url, "gateway")
    publisher = Publisher(bus, timeout=settings.publish_timeout)
    client, database = connect(settings.mongodb_url, settings.mongodb_database, name="weir-gateway")
    accounts = AccountDirectory(AccountRepository(database))
    journal = Journal(settings.journal_dir, settings.journal_max_mb * 1024 * 1024)
    try:
        journal.open()
    except (OSError, JournalError) as error:
        raise SettingsError(f"WEIR_JOURNAL_DIR cannot be used: {error}") from None
    patterns = TriageFile(settings.triage_file)
    patterns.refresh()
    table = TriageTable(database)
    conversing = Conversing(database)
    answers = Answers(time.monotonic)
    outbox = Outbox(publisher, journal)
    reply_queue = f"gateway.reply.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    webhook = Webhook(
        accounts,
        EntryPatterns(patterns, table),
        answers,
        outbox,
        partial(claim_passive, database),
        conversing,
        reply_queue=reply_queue,
        longest_wait=settings.reply_deadline,
    )
    replies = Replies(answers, outbox)
    bus.subscribe(Subscription(reply_queue, 64, replies.receive, exclusive=True, lost=_spawner(webhook.ask_again)))
    health.checks["accounts"] = lambda: accounts.loaded
    # Once everything was there, an outage of the bus is no reason to send WeChat elsewhere: the journal takes over, and
    # with every gateway "not ready" a balancer would turn WeChat's callbacks away.
    health.checks["rabbitmq"] = _once(lambda: bus.ready)
    server = web.Server(
        _dispatch(webhook, health, elsewhere),
        access_log=None,
        keepalive_timeout=KEEPALIVE,
        lingering_time=LINGER,
        handler_cancellation=False,
    )

    async def close() -> None:
        await journal.close()
        client.close()

    return Process(
        name="gateway",
        settings=settings,
        health=health,
        bus=bus,
        publisher=publisher,
        runner=web.ServerRunner(server, shutdown_timeout=SHUTDOWN),
        background=[
            accounts.keep,
            patterns.keep,
            table.keep,
            conversing.keep,
            webhook.expire,
            Replayer(journal, bus, publisher).keep,
        ],
        settle=[webhook.drain],
        closers=[close],
    )


def _dispatch(webhook: Webhook, health: Health, elsewhere: Handler | None) -> Handler:
    """One look at the path: a router would cost as much as all the rest of a callback's parsing."""
    probes = {"/livez": health.livez, "/readyz": health.readyz, "/metrics": health.metrics}

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            try:
                return await webhook.handle(request)
            except Exception:
                log.exception("a callback met a bug")
                # Closed without an answer, as when nothing took it: WeChat tries again.
                if request.transport:
                    request.transport.abort()
                return web.Response()
        if request.path in probes:
            return await probes[request.path](request)
        if elsewhere:
            return await elsewhere(request)
        return problem(404, "not_found", f"callbacks come to {PREFIX}<account>; probes are /livez, /readyz, /metrics")

    return dispatch


def _once(check: Callable[[], bool]) -> Callable[[], bool]:
    """A check that has been true stays true."""
    passed = False

    def latched() -> bool:
        nonlocal passed
        passed = passed or check()
        return passed

    return latched


def _spawner(work: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A plain function that starts the work as a task, and keeps it from being collected."""
    tasks: set[asyncio.Future[None]] = set()

    def start() -> None:
        task = asyncio.ensure_future(work())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return start
