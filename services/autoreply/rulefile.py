"""Reading a rule file: YAML to typed rules. What is wrong is said with its line and what to do, all of it at once."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec
import yaml

from contracts.content import API_ONLY, News, Text
from services.autoreply.rules import RuleFile, RuleSet, compile_rules

FORMAT = 1
MAX_TEXT_BYTES = 2048
"""A passive text longer than this is refused by the platform."""


class RuleFileError(Exception):
    """A rule file that cannot be used: ``problems`` are (line, sentence), lines counted from 1."""

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"line {line}: {sentence}" for line, sentence in problems))
        self.problems = problems


def read(text: str) -> RuleSet:
    """The compiled rules of a file's text. Raises ``RuleFileError``."""
    plain, lines = _parse(text)
    try:
        file = msgspec.convert(plain, RuleFile)
    except msgspec.ValidationError as error:
        raise RuleFileError([_located(str(error), lines)]) from None
    problems = _problems(file, lines)
    rules, conflicts = compile_rules(file, blake2b(text.encode(), digest_size=6).hexdigest())
    for conflict in conflicts:
        where = lines.get(("rules", conflict.index, "when"), 1)
        rule = file.rules[conflict.index].id
        problems.append(
            (
                where,
                f"rule {rule!r}: {conflict.keyword!r} is already answered by rule {conflict.by!r}; remove one of them",
            )
        )
    if problems:
        raise RuleFileError(sorted(problems))
    return rules


def _problems(file: RuleFile, lines: dict[tuple[Any, ...], int]) -> list[tuple[int, str]]:
    problems: list[tuple[int, str]] = []

    def say(path: tuple[Any, ...], sentence: str) -> None:
        problems.append((lines.get(path) or lines.get(path[:-1], 1), sentence))

    if file.version != FORMAT:
        say(("version",), f"version is {file.version}; this Weir reads version {FORMAT}")
    seen: set[str] = set()
    for index, rule in enumerate(file.rules):
        at = ("rules", index)
        if not rule.id.strip():
            say((*at, "id"), "a rule needs an id: answers are traced by it")
        if rule.id in seen or (file.default and rule.id == file.default.id):
            say((*at, "id"), f"rule id {rule.id!r} is used twice; give each rule its own")
        seen.add(rule.id)
        text = rule.when.text
        kinds = (text is not None) + bool(rule.when.click) + rule.when.subscribe
        if kinds != 1:
            say((*at, "when"), f"rule {rule.id!r}: when needs exactly one of text, click (with a key), subscribe: true")
        if text is not None and not text.exact and not text.contains:
            say((*at, "when", "text"), f"rule {rule.id!r}: text needs exact or contains with at least one keyword")
        for word in (*(text.exact if text else ()), *(text.contains if text else ()), *rule.when.click):
            if not word.strip():
                say((*at, "when"), f"rule {rule.id!r}: a keyword is empty; it would match nothing or everything")
        _check_reply(rule.reply, (*at, "reply"), f"rule {rule.id!r}", say)
    if file.default:
        _check_reply(file.default.reply, ("default", "reply"), "the default", say)
    return problems


def _check_reply(reply: Any, path: tuple[Any, ...], whose: str, say: Any) -> None:
    if isinstance(reply, API_ONLY):
        kind = type(reply).__struct_config__.tag
        say(path, f"{whose}: {kind} cannot be a passive reply; use text, image, voice, video, music or news")
    if isinstance(reply, Text):
        size = len(reply.content.encode())
        if not reply.content.strip():
            say((*path, "content"), f"{whose}: the text is empty; the follower would see nothing")
        elif size > MAX_TEXT_BYTES:
            say(
                (*path, "content"),
                f"{whose}: the text has {size} bytes; WeChat takes {MAX_TEXT_BYTES} at most, shorten it",
            )
    if isinstance(reply, News) and len(reply.articles) != 1:
        say((*path, "articles"), f"{whose}: an answer to a message holds one article, not {len(reply.articles)}")


def _parse(text: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """The plain values of a YAML text, and the line of each path in it."""
    lines: dict[tuple[Any, ...], int] = {}
    try:
        loader = _Loader(text)  # looks for bytes that are no text already
    except yaml.YAMLError as error:
        raise RuleFileError([(1, f"not YAML: {error}")]) from None
    try:
        node = loader.get_single_node()
        if node is None:
            raise RuleFileError([(1, "the file is empty; it needs version and rules")])
        _walk(node, (), lines)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RuleFileError([(mark.line + 1 if mark else 1, f"not YAML: {error.problem}")]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise RuleFileError([(1, f"not YAML: {error}")]) from None
    except RecursionError:
        raise RuleFileError([(1, "nested too deeply")]) from None
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """YAML in which a date is a text: as a keyword nobody means anything else by it."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # A few lines of them can stand for gigabytes, or for themselves.
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]  # the library leaves it untyped
            raise RuleFileError([(line, "an alias (*name) is not read here; write it out")])
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
                raise RuleFileError([(key.start_mark.line + 1, sentence)])
            below = (*path, key.value)
            if below in lines:
                raise RuleFileError([(key.start_mark.line + 1, f"{key.value!r} stands twice in the same place")])
            _walk(value, below, lines)
            lines[below] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines)


def _located(message: str, lines: dict[tuple[Any, ...], int]) -> tuple[int, str]:
    """An error of msgspec with the line its path stands on: "... - at `$.rules[2].when`"."""
    sentence, _, where = message.partition(" - at `$")
    path: tuple[Any, ...] = tuple(
        int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", where)
    )
    unknown = re.search(r"unknown field `([^`]+)`", sentence)
    if unknown:
        path = (*path, unknown.group(1))
        sentence += "; remove it or check its spelling"
    if sentence.startswith("Expected `str`, got"):
        sentence += "; put it in quotes"
    while path and path not in lines:
        path = path[:-1]
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return lines.get(path, 1), f"{sentence}" + (f" (at {shown})" if shown else "")
