"""Reading and writing the control API's JSON, with errors that name the field."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from sandbox.errors import ControlError
from sandbox.jsontext import NotJsonError, read_json_object

T = TypeVar("T")


def answer(body: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


async def read_object(request: web.Request, known: Collection[str] | None = None) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty one. Raises ControlError for anything else.

    With `known`, a field outside of it is refused.
    """
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        body = read_json_object(raw)
    except NotJsonError as error:
        raise ControlError(f"the body must be a JSON object: {error}") from error
    if known is not None:
        unknown = sorted(set(body) - set(known))
        if unknown:
            raise ControlError(f"unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return body


def text(body: Mapping[str, Any], name: str, default: str) -> str:
    return _typed(body, name, default, str, "a text")


def flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    return _typed(body, name, default, bool, "true or false")


def number(body: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = _typed(body, name, default, int, "a whole number")
    if isinstance(value, bool) or not least <= value <= most:
        raise ControlError(f"{name}: a whole number from {least} to {most}")
    return value


def query_number(request: web.Request, name: str, default: float, least: float, most: float) -> float:
    """A number of the query string, cut to the range. Raises ControlError when it is not one."""
    raw = request.query.get(name)
    if raw is None:
        return default
    try:
        value = float(raw)
    except ValueError as error:
        raise ControlError(f"{name}: {raw!r} is no number") from error
    if not value == value:  # noqa: PLR0124 (not a number is the one float unequal to itself)
        raise ControlError(f"{name}: {raw!r} is no number")
    return min(max(value, least), most)


def _typed(body: Mapping[str, Any], name: str, default: T, kind: type[T], words: str) -> T:
    value = body.get(name, default)
    if not isinstance(value, kind):
        raise ControlError(f"{name}: must be {words}")
    return value
