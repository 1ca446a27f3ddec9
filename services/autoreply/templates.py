"""Answers with variables: Jinja in a sandbox, compiled once. What has no variable never comes near it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from jinja2 import StrictUndefined, TemplateError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from contracts.content import Content
from services.autoreply import safety

BUILT_IN = ("text", "account", "now", "tags", "stores", "position", "groups", "named")
"""Variables that every template has; ``docs/rules.md`` says what each holds."""
MAX_RENDERED = 8192


class TemplateFault(Exception):
    """A template cannot be read or filled in; the text says why."""


class _Environment(ImmutableSandboxedEnvironment):
    # A text times a number, or a power, could be gigabytes.
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not all(isinstance(side, int | float) for side in (left, right)):
            raise SecurityError(f"{operator} is only for numbers here")
        return left % right if operator == "%" else left * right


_environment = _Environment(undefined=StrictUndefined, autoescape=False)  # WeChat shows plain text
_environment.globals.clear()
_environment.filters = {"join": safety.join, **{name: _environment.filters[name] for name in safety.FILTERS}}
Render = Callable[[Mapping[str, Any]], Content]


def has_template(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def variables(content: Content) -> frozenset[str]:
    """Every variable that the content asks for. Raises ``TemplateFault`` for what is no template."""
    found: set[str] = set()
    for text in _texts(msgspec.to_builtins(content)):
        if has_template(text):
            try:
                found |= meta.find_undeclared_variables(_parsed(text))
            except TemplateError as error:
                raise TemplateFault(str(error)) from None
    return frozenset(found)


def compiled(content: Content) -> Render | None:
    """What fills the content in, None for one without variables. Raises ``TemplateFault``."""
    plain = msgspec.to_builtins(content)
    if not any(map(has_template, _texts(plain))):
        return None
    try:
        shape = _compiled(plain)
    except TemplateError as error:
        raise TemplateFault(str(error)) from None

    def render(values: Mapping[str, Any]) -> Content:
        try:
            filled: Content = msgspec.convert(_filled(shape, values), Content)
        except Exception as error:  # a template can raise whatever its author made it divide, call or add
            raise TemplateFault(f"{type(error).__name__}: {error}") from None
        return filled

    return render


def _parsed(text: str) -> nodes.Template:
    """Raises ``TemplateError``."""
    template = _environment.parse(text)
    safety.check(template)
    return template


def _texts(plain: Any) -> list[str]:
    if isinstance(plain, str):
        return [plain]
    if isinstance(plain, dict):
        return [text for value in plain.values() for text in _texts(value)]
    if isinstance(plain, list):
        return [text for value in plain for text in _texts(value)]
    return []


def _compiled(plain: Any) -> Any:
    if isinstance(plain, str):
        return _environment.from_string(_parsed(plain)) if has_template(plain) else plain
    if isinstance(plain, dict):
        return {name: _compiled(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return [_compiled(value) for value in plain]
    return plain


def _filled(shape: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(shape, dict):
        return {name: _filled(value, values) for name, value in shape.items()}
    if isinstance(shape, list):
        return [_filled(value, values) for value in shape]
    if not hasattr(shape, "generate"):
        return shape
    pieces: list[str] = []
    size = 0
    for piece in shape.generate(values):  # piece by piece, so that a loop without an end is noticed
        pieces.append(piece)
        size += len(piece)
        if size > MAX_RENDERED:
            raise ValueError(f"it is longer than {MAX_RENDERED} characters")
    return "".join(pieces)
