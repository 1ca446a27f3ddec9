"""The composition root of the agent service."""

from __future__ import annotations

from functools import partial

from chassis import http
from chassis.amqp import Bus
from chassis.api import routes
from chassis.audit import Audit
from chassis.consumer import Consumer, each
from chassis.identity import Identities
from chassis.lifecycle import Process
from chassis.llm import DailyTokens, Llm
from chassis.mongo import connect, until_reachable
from chassis.publisher import Publisher
from chassis.settings import Settings
from contracts import topology
from services.agent.conversations import Conversations
from services.agent.conversations_api import ConversationsApi
from services.agent.counting import count_forever
from services.agent.drafts import Drafting
from services.agent.handover import Desk
from services.agent.signin_api import SignInApi
from services.agent.users import Users
from services.agent.users_api import UsersApi

NAME = "agent"
CONCURRENCY = 16
"""Questions of one delivery that are brought to people side by side."""


async def build(settings: Settings) -> Process:
    bus = Bus(settings.amqp_url, NAME)
    publisher = Publisher(bus, timeout=5.0)
    client, database = connect(settings.mongodb_url, settings.mongodb_database, name=NAME)
    conversations = Conversations(database)
    # Without an address nothing of this exists, and no question leaves the house.
    llm = Llm(settings, DailyTokens(database, settings.llm_daily_tokens)) if settings.llm_url else None
    drafting = Drafting(llm, conversations, publisher, autosend=settings.llm_autosend) if llm else None
    desk = Desk(conversations, drafting)
    consumers = [
        Consumer(bus, publisher, queue, each(handler, CONCURRENCY), prefetch=16, workers=4)
        for queue, handler in (
            (topology.AGENT_HANDOVER, desk.handover),
            (topology.AGENT_DESK, desk.desk),
            (topology.AGENT_FORGET, desk.forget),
        )
    ]
    health = http.Health()
    identities = Identities(database)
    users, audit = Users(database), Audit(database)
    app = http.application(health, token=settings.admin_token, identity=identities)
    apis = (
        SignInApi(users, identities),
        UsersApi(users, identities, audit),
        ConversationsApi(conversations, publisher),
    )
    for api in apis:
        app.add_routes(routes(api, audit))

    async def close_clients() -> None:
        if llm:
            await llm.close()
        client.close()

    return Process(
        name=NAME,
        settings=settings,
        health=health,
        bus=bus,
        publisher=publisher,
        runner=http.app_runner(app),
        consumers=consumers,
        before=[partial(until_reachable, one.prepare) for one in (conversations, users, audit)],
        background=[lambda: count_forever(conversations), *([drafting.run] if drafting else [])],
        closers=[close_clients],
    )
