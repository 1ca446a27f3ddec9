"""Where the commands find a Weir: the environment's addresses, else the Weir that ``weir up`` runs from here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONNECTIONS = "connections.json"
"""Written by ``weir up`` into its data directory, readable by its owner only: addresses with their passwords."""


class NotReachable(Exception):
    """No Weir was found; the text says how to point at one."""


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """The data directory of the local Weir."""
    return Path(environ.get("WEIR_HOME") or ".weir")


def connections(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``amqp_url``, ``mongodb_url``, ``mongodb_database`` and ``address``. Raises ``NotReachable``."""
    found: dict[str, Any] = {}
    path = home(environ) / CONNECTIONS
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise NotReachable(f"{path} cannot be read ({error}): start `weir up` again to have it written anew") from None
    for name in ("amqp_url", "mongodb_url", "mongodb_database"):
        found[name] = environ.get(f"WEIR_{name.upper()}") or found.get(name, "")
    found["mongodb_database"] = found["mongodb_database"] or "weir"
    if not found["amqp_url"] or not found["mongodb_url"]:
        raise NotReachable(
            f"there is no {path}: start `weir up` in this directory, set WEIR_HOME to its data directory, "
            "or set WEIR_AMQP_URL and WEIR_MONGODB_URL"
        )
    return {name: str(value) for name, value in found.items()}
