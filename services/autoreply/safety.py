"""What an answer's template may do: so little that none can run for long or grow without bound. Pure.

A sandbox keeps a template from what it must not see. It does not keep it from counting to a billion, so the parts of
the language by which texts grow by more than what stands there (loops in loops, variables of its own, padding) are out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError

MAX_SEPARATOR = 20
FILTERS = (
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "last", "length", "list", "lower", "max",
    "min", "reverse", "round", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper",
)  # fmt: skip
METHODS = (
    "capitalize", "date", "endswith", "get", "isoformat", "lower", "lstrip", "rstrip", "startswith", "strftime",
    "strip", "time", "title", "upper", "weekday",
)  # fmt: skip
_PLAIN = (nodes.Template, nodes.Output, nodes.If, nodes.For, nodes.Expr, nodes.Helper)
"""Statements and their parts; every other one is refused."""


class Refused(TemplateError):
    """A template does what is not allowed; the text says what."""


def join(value: Any, separator: str = "") -> str:
    """The filter ``join``, for lists only: of a text it would make its square."""
    if isinstance(value, str) or len(separator) > MAX_SEPARATOR:
        raise SecurityError(f"join is for lists here, with at most {MAX_SEPARATOR} characters between")
    parts: Iterable[Any] = value
    return separator.join(map(str, parts))


def check(template: nodes.Template) -> None:
    """Raises ``Refused``."""
    _check(template, within=False)


def _check(node: nodes.Node, within: bool) -> None:
    if isinstance(node, nodes.Stmt) and not isinstance(node, _PLAIN):
        raise Refused(f"{type(node).__name__.lower()} is not read here; there are only if and for")
    if isinstance(node, nodes.For):
        if within or node.recursive:
            raise Refused("a loop within a loop is not read here")
        within = True
    if isinstance(node, nodes.Call):
        name = node.node.attr if isinstance(node.node, nodes.Getattr) else ""
        if name not in METHODS:
            raise Refused(f"only these can be called: {', '.join(METHODS)}")
    for child in node.iter_child_nodes():
        _check(child, within)
