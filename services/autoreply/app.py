"""The composition root of autoreply."""

from __future__ import annotations

import contextlib

from chassis.amqp import Bus
from chassis.api import routes
from chassis.audit import Audit
from chassis.consumer import Consumer, each
from chassis.conversing import Conversing
from chassis.http import Health, app_runner, application
from chassis.identity import Identities
from chassis.lifecycle import Process
from chassis.mediatable import MediaTable
from chassis.mongo import connect, until_reachable
from chassis.publisher import Publisher
from chassis.settings import Settings
from contracts import topology
from contracts.errors import Unavailable
from services.autoreply.announcing import Announcer
from services.autoreply.api import RulesApi
from services.autoreply.filesource import RuleFiles
from services.autoreply.handlers import AutoReply
from services.autoreply.lastknown import LastKnown
from services.autoreply.memory import Memory
from services.autoreply.pastmessages import PastMessages
from services.autoreply.publishing import Publishing
from services.autoreply.replays import Replays
from services.autoreply.repository import RuleRepository
from services.autoreply.store import RuleStore

NAME = "autoreply"


async def build(settings: Settings) -> Process:
    health = Health()
    bus = Bus(settings.amqp_url, NAME)
    publisher = Publisher(bus, timeout=5.0)
    client, database = connect(settings.mongodb_url, settings.mongodb_database, name=NAME)
    repository = RuleRepository(database)
    rules = RuleStore(repository, LastKnown(settings.rules_dir / ".live"))
    media = MediaTable(database)
    publishing = Publishing(repository, Announcer(publisher).tell, media.names)
    files = RuleFiles(settings.rules_dir, repository, publishing)
    memory = Memory(database)
    conversing = Conversing(database)
    handler = AutoReply(rules, memory, conversing, media).handle
    questions = Consumer(bus, publisher, topology.AUTOREPLY_QUESTION, handler, prefetch=16, workers=4)
    entries = Consumer(bus, publisher, topology.AUTOREPLY_ENTRY, handler, prefetch=8, workers=4, after=questions)
    forgetting = Consumer(bus, publisher, topology.AUTOREPLY_FORGET, each(memory.forget), prefetch=4)

    audit = Audit(database)
    app = application(health, token=settings.admin_token, identity=Identities(database))
    app.add_routes(routes(RulesApi(repository, publishing, Replays(PastMessages(database))), audit))

    async def begin() -> None:
        # With MongoDB away the last known rules answer; without any there is nothing to answer with, and events wait.
        with contextlib.suppress(Unavailable):
            await repository.prepare()
            await files.look()
        await until_reachable(rules.start)

    async def follow_conversations() -> None:
        # Not before anything is consumed: without MongoDB the rules answer all the same.
        await until_reachable(memory.prepare)
        await conversing.keep()

    async def close_client() -> None:
        client.close()

    return Process(
        name=NAME,
        settings=settings,
        health=health,
        bus=bus,
        publisher=publisher,
        runner=app_runner(app),
        consumers=[questions, entries, forgetting],
        before=[begin],
        background=[rules.keep, files.keep, media.keep, follow_conversations],
        closers=[close_client],
    )
