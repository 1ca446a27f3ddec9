"""Who may do what: a role is given for an account or for all (``*``), a permission is what an endpoint asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

EVERY_ACCOUNT: Final = "*"

ROLES: Final = ("viewer", "agent", "supervisor", "operator", "admin")
"""``viewer`` looks, ``agent`` answers followers, ``supervisor`` leads agents, ``operator`` runs rules and campaigns,
``admin`` also manages users, tokens and accounts."""

_LOOK = ("messages.read", "followers.read", "rules.read", "media.read", "conversations.read", "sends.read")
_ANSWER = (*_LOOK, "conversations.act")
_LEAD = (*_ANSWER, "audit.read", "incidents.read")
_OPERATE = (*_LEAD, "rules.write", "rules.publish", "incidents.write", "media.write", "messages.export")
_MANAGE = (*_OPERATE, "users.manage", "tokens.manage", "accounts.read", "accounts.manage")

GRANTS: Final[Mapping[str, frozenset[str]]] = {
    "viewer": frozenset(_LOOK),
    "agent": frozenset(_ANSWER),
    "supervisor": frozenset(_LEAD),
    "operator": frozenset(_OPERATE),
    "admin": frozenset(_MANAGE),
}
"""Permissions by role."""

PERMISSIONS: Final = tuple(dict.fromkeys(_MANAGE))


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. ``kind`` is admin (the installation's token), user or token.

    ``roles`` is a role by account; a token has ``permissions`` for its ``accounts`` instead.
    """

    name: str
    kind: str
    roles: Mapping[str, str] = {}
    permissions: frozenset[str] = frozenset()
    accounts: tuple[str, ...] = ()

    def may(self, permission: str, account: str = EVERY_ACCOUNT) -> bool:
        """Whether they have a permission for an account; by default for all of them, those to come included."""
        if self.kind == "token":
            return permission in self.permissions and (EVERY_ACCOUNT in self.accounts or account in self.accounts)
        roles = (self.roles.get(account, ""), self.roles.get(EVERY_ACCOUNT, ""))
        return any(permission in GRANTS.get(role, ()) for role in roles)

    def may_somewhere(self, permission: str) -> bool:
        """Whether they have a permission for any account at all."""
        if self.kind == "token":
            return permission in self.permissions
        return any(permission in GRANTS.get(role, ()) for role in self.roles.values())


ADMIN: Final = Principal(name="admin-token", kind="admin", roles={EVERY_ACCOUNT: "admin"})
"""Who shows the installation's own token."""
