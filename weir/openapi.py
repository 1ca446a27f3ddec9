"""The description of everything under /api/, made of what the services declare."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from chassis.http import to_json
from chassis.openapi import openapi
from services.agent.conversations_api import ConversationsApi
from services.agent.signin_api import SignInApi
from services.agent.users_api import UsersApi
from services.autoreply.api import RulesApi
from services.gateway.courier.api import Api as SendsApi
from services.gateway.courier.media_api import MediaApi
from services.history.api import Api as HistoryApi
from services.history.incidents_api import IncidentsApi

APIS: tuple[type, ...] = (SignInApi, UsersApi, ConversationsApi, HistoryApi, IncidentsApi, RulesApi, SendsApi, MediaApi)
"""A service's new class of endpoints gets its place here."""


@cache
def document() -> bytes:
    """OpenAPI 3.1, as JSON."""
    return to_json(openapi("Weir", version("weir"), APIS))
