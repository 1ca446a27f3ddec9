"""Logs: structured lines in JSON or for a terminal, with secrets and openids taken out on the way.

An openid becomes a short keyed digest: the same follower can be followed through one process's lines, and nobody
can be found from them. Message text is never logged.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_KEY = secrets.token_bytes(16)
_SECRET_FIELDS = re.compile(r"token|secret|password|aes_?key|signature|authorization|cookie", re.IGNORECASE)
_SECRETS = re.compile(
    r"((?:access_token|secret|signature|msg_signature|echostr|token|aes_?key|password)['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(Bearer\s+)\S+", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w+://[^\s/:@]*:)[^\s/]+@")
_OPENID = re.compile(r"(?<![A-Za-z0-9_-])o[A-Za-z0-9_-]{25,31}(?![A-Za-z0-9_-])")


_STRUCTLOG_OWN = frozenset(("_record", "_from_structlog"))
"""Taken out before anything is rendered."""


def hashed(openid: str) -> str:
    """A follower's stand-in for logs; the key changes with every process."""
    return "follower-" + hashlib.blake2b(openid.encode(), key=_KEY, digest_size=5).hexdigest()


def scrub(text: str) -> str:
    """Any text without secrets and openids."""
    text = _SECRETS.sub(r"\1***", text)
    text = _BEARER.sub(r"\1***", text)
    text = _URL_PASSWORD.sub(r"\1***@", text)
    return _OPENID.sub(lambda match: hashed(match.group()), text)


def _scrub_value(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_FIELDS.search(name):
        return "***"
    if isinstance(value, str):
        return hashed(value) if name == "openid" else scrub(value)
    if isinstance(value, Mapping):
        return {scrub(str(key)): _scrub_value(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub_value(name, item) for item in value]
    # Whatever it is, the renderer would show its repr, and that of an account holds its secret.
    return scrub(repr(value))


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key not in _STRUCTLOG_OWN:
            event[key] = _scrub_value(key, value)
    return event


def configure(service: str, *, log_format: str = "json", level: str = "info") -> None:
    """Set up logging of the whole process, the libraries' included. Lines go to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    console = log_format == "console"
    renderer: Any = structlog.dev.ConsoleRenderer(colors=False) if console else structlog.processors.JSONRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiormq", "aio_pika", "pymongo", "motor", "asyncio", "aiohttp.access", "aiohttp.server"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
