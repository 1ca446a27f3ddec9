"""Reading a rule file: YAML to typed rules. What is wrong is said with its line and what to do, all of it at once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import datetime
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import yaml
from jsonschema import Draft202012Validator

from chassis.textindex import PatternError, TextIndex
from chassis.textindex import compiled as pattern_of
from services.autoreply.fault import split
from services.autoreply.format import RuleSetDocument
from services.autoreply.lint import lint
from services.autoreply.ruleset import CannotCompile, RuleSet, compile_ruleset

PROBES = ("a", "我", "7", "！", "👍")
"""Texts with nothing in common: a pattern that is in each of them is in every text."""


class Problem(NamedTuple):
    """One thing that is wrong: where (lines count from 1), with which rule and field, why, and what to do."""

    line: int
    sentence: str
    rule: str = ""
    field: str = ""
    reason: str = ""
    fix: str = ""


class RuleFileError(Exception):
    """A rule set that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"line {one.line}: {one.sentence}" for one in problems))
        self.problems = problems


def _problem(line: int, sentence: str) -> Problem:
    return Problem(line, sentence, reason=sentence)


def read(text: str) -> RuleSet:
    """The compiled rules of a file's text; its version is a digest. Raises ``RuleFileError``."""
    return compiled(checked(text), digest(text))


def digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=6).hexdigest()


def compiled(document: RuleSetDocument, version: str) -> RuleSet:
    """Raises ``RuleFileError``; for a document that was found good it does not."""
    try:
        return compile_ruleset(document, version, TextIndex)
    except CannotCompile as error:
        raise RuleFileError([_problem(1, str(error))]) from None


def checked(text: str, now: datetime | None = None, media: Collection[str] | None = None) -> RuleSetDocument:
    """The rule set in a YAML text, which is good. Raises ``RuleFileError``.

    With ``now`` a rule whose time is over is refused too: to be asked of what is new, never of what is in force.
    With ``media``, the names of the account's media library, one that is not there is refused.
    """
    document, lines = parsed(text)
    faults = lint(document, pattern_fault, now, media)
    if faults:
        raise RuleFileError(
            sorted(
                Problem(
                    _line(fault.path, lines), fault.sentence, fault.rule, shown(fault.path), fault.reason, fault.fix
                )
                for fault in faults
            )
        )
    return document


def parsed(text: str) -> tuple[RuleSetDocument, dict[tuple[Any, ...], int]]:
    """The typed document of a YAML text, and the line of each path in it. Raises ``RuleFileError``."""
    plain, lines = _parse(text)
    try:
        return msgspec.convert(plain, RuleSetDocument), lines
    except msgspec.ValidationError as error:
        raise RuleFileError(_misshapen(plain, lines) or [_located(str(error), lines)]) from None


def schema() -> dict[str, Any]:
    """The JSON Schema of the format."""
    made = msgspec.json.schema(RuleSetDocument)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Weir rule set", **made}


def schema_text() -> str:
    """The same, as ``docs/rules.schema.json`` has it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


@cache
def _validator() -> Any:
    return Draft202012Validator(schema())


def _misshapen(plain: Any, lines: dict[tuple[Any, ...], int]) -> list[Problem]:
    """Everything whose shape the schema does not allow: the schema says which parts, the types say it in words."""
    if not isinstance(plain, dict):
        return []
    parts = {tuple(error.absolute_path)[:2] for error in _validator().iter_errors(plain)}
    found: list[Problem] = []
    for part in sorted(parts, key=str):
        if len(part) == 2 and isinstance(part[1], int) and isinstance(plain.get(part[0]), list):
            # The rest of the document is left out, so that each part is told by itself.
            alone = {"version": 2, part[0]: [plain[part[0]][part[1]]]}
            at: tuple[Any, ...] = (part[0], part[1])
        else:
            alone = {name: value for name, value in plain.items() if not part or name == part[0] or name == "version"}
            at = ()
        try:
            msgspec.convert(alone, RuleSetDocument)
        except msgspec.ValidationError as error:
            found.append(_located(str(error), lines, at, _id_at(plain, at)))
    return sorted(set(found))


def _id_at(plain: dict[str, Any], at: tuple[Any, ...]) -> str:
    """The id of the rule that stands there, if there is one and it has one."""
    part = plain["rules"][at[1]] if at[:1] == ("rules",) else None
    name = part.get("id") if isinstance(part, dict) else None
    return name if isinstance(name, str) else ""


def pattern_fault(pattern: str) -> str:
    """What is wrong with a regular expression, in words; empty when nothing is."""
    try:
        one = pattern_of(pattern)
    except PatternError as error:
        return str(error)
    return "it matches every text" if all(one.search(probe) for probe in PROBES) else ""


def shown(path: tuple[Any, ...]) -> str:
    """A path as people write it: ``rules[2].when.text``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _line(path: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _parse(text: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """The plain values of a YAML text, and the line of each path in it."""
    lines: dict[tuple[Any, ...], int] = {}
    try:
        loader = _Loader(text)  # looks for bytes that are no text already
    except yaml.YAMLError as error:
        raise RuleFileError([_problem(1, f"not YAML: {error}")]) from None
    try:
        node = loader.get_single_node()
        if node is None:
            raise RuleFileError([_problem(1, "the file is empty; it needs version and rules")])
        _walk(node, (), lines)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RuleFileError([_problem(mark.line + 1 if mark else 1, f"not YAML: {error.problem}")]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise RuleFileError([_problem(1, f"not YAML: {error}")]) from None
    except RecursionError:
        raise RuleFileError([_problem(1, "nested too deeply")]) from None
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """YAML in which a date is a text: as a keyword nobody means anything else by it."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # A few lines of them can stand for gigabytes, or for themselves.
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]  # the library leaves it untyped
            raise RuleFileError([_problem(line, "an alias (*name) is not read here; write it out")])
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _walk(node: yaml.Node, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> None:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                sentence = "a name must be plain text; a value that starts with { or [ needs quotes"
                raise RuleFileError([_problem(key.start_mark.line + 1, sentence)])
            below = (*path, key.value)
            if below in lines:
                raise RuleFileError(
                    [_problem(key.start_mark.line + 1, f"{key.value!r} stands twice in the same place")]
                )
            _walk(value, below, lines)
            lines[below] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines)


def _located(message: str, lines: dict[tuple[Any, ...], int], base: tuple[Any, ...] = (), rule: str = "") -> Problem:
    """An error of msgspec with the line its path stands on: "... - at `$.rules[2].when`".

    ``base`` is where the first element of the list stands that was looked at by itself, ``rule`` the id of its rule.
    """
    sentence, _, where = message.partition(" - at `$")
    path: tuple[Any, ...] = tuple(
        int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", where)
    )
    if base and path[:1] == base[:1]:
        path = (*base, *path[2:])
    unknown = re.search(r"unknown field `([^`]+)`", sentence)
    if unknown:
        path = (*path, unknown.group(1))
        sentence += "; remove it or check its spelling"
    if sentence.startswith("Expected `str`, got"):
        sentence += "; put it in quotes"
    while path and path not in lines:
        path = path[:-1]
    field = shown(path)
    reason, fix = split(sentence)
    told = (f"rule {rule!r}: " if rule else "") + sentence + (f" (at {field})" if field else "")
    return Problem(lines.get(path, 1), told, rule, field, reason, fix)
