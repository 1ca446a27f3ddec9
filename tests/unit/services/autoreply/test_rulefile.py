"""Rule files: what is wrong is told with its line and what to do; nothing else happens."""

from pathlib import Path

import pytest

from services.autoreply.rulefile import RuleFileError, read

GOOD = """\
version: 1
rules:
  - id: hello
    when: {text: {exact: ["你好"]}}
    reply: {type: text, content: "好"}
"""
HEAD = "version: 1\nrules:\n"


def rule(
    name: str = "a", when: str = '{text: {exact: ["x"]}}', reply: str = "{type: text, content: y}", extra: str = ""
) -> str:
    return f"  - id: {name}\n    when: {when}\n    reply: {reply}\n{extra}"


def test_a_good_file() -> None:
    rules = read(GOOD)
    assert rules.size == 1
    assert rules.version == read(GOOD).version != read(GOOD + "# changed\n").version


def test_the_file_of_the_first_run_is_good() -> None:
    import weir.local

    path = Path(weir.local.__file__).parent / "first-run" / "demo.rules.yaml"
    assert read(path.read_text(encoding="utf-8")).default


@pytest.mark.parametrize("word", ["2024-02-30", "2024-06-18", "2001-12-14t21:59:43.10-05:00"])
def test_a_date_is_a_keyword_like_any_other(word: str) -> None:
    assert word in read(HEAD + rule(when=f"{{text: {{exact: [{word}]}}}}")).document.rules[0].when.text.exact


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        ("", 1, "empty"),
        ("rules: []", 1, "version"),
        ("version: 3\n", 1, "this Weir reads version 1 and 2"),
        ("version: one\n", 1, "Expected `int`"),
        ("version: 1\nruels: []\n", 2, "unknown field `ruels`; remove it or check its spelling"),
        ("version: 1\nrules: {}\n", 2, "Expected `array`"),
        ("version: 1\nversion: 1\n", 2, "stands twice"),
        ("version: 1\nrules:\n  - id: [", 3, "not YAML"),
        ("version: 1\n\trules: []\n", 2, "not YAML"),
        ("version: 1\nrules:\n - {{ template }}\n", 3, "plain text"),
        ("version: 1\nrules:\n  - id: a\n    when: {subscribe: true}\n    reply: {{ reply }}\n", 5, "quotes"),
        ("version: 1\nrules: &a [*a]\n", 2, "alias"),
        ("version: 1\nx: &a 1\nrules: [*a]\n", 3, "alias"),
        ("\x00", 1, "not YAML"),
        ("version: 1\nrules: [" + "[" * 3000, 1, "nested too deeply"),
        (HEAD + rule("''"), 3, "needs an id"),
        (HEAD + rule("a") + rule("a", "{text: {exact: [z]}}"), 6, "used twice"),
        (HEAD + rule("default") + "default: {reply: {type: text, content: x}}\n", 3, "used twice"),
        (HEAD + rule(when="{}"), 4, "exactly one of text, click"),
        (HEAD + rule(when='{subscribe: true, click: ["A"]}'), 4, "exactly one of"),
        (HEAD + rule(when="{text: {}}"), 4, "at least one keyword"),
        (HEAD + rule(when='{text: {exact: [" "]}}'), 4, "keyword is empty"),
        (HEAD + rule(when='{text: {contains: ["　"]}}'), 4, "keyword is empty"),
        (HEAD + rule(when="{text: {exact: [10086]}}"), 4, "put it in quotes"),
        (HEAD + rule(when="{text: {exact: [yes]}}"), 4, "put it in quotes"),
        (HEAD + rule(when="{text: {exact: hello}}"), 4, "Expected `array`"),
        (HEAD + rule(when='{text: {fuzzy: ["a"]}}'), 4, "unknown field `fuzzy`"),
        (HEAD + rule(reply="{type: text, content: ' '}"), 5, "the text is empty"),
        (HEAD + rule(reply="{type: text, content: " + "长" * 683 + "}"), 5, "2049 bytes; WeChat takes 2048"),
        (HEAD + rule(reply="{type: telegram}"), 5, "telegram"),
        (HEAD + rule(reply="{type: image}"), 5, "media_id"),
        (HEAD + rule(reply="{type: msgmenu, items: []}"), 5, "msgmenu cannot be a passive reply"),
        (HEAD + rule(reply="{type: news, articles: []}"), 5, "one article, not 0"),
        (HEAD + rule("a") + rule("b", '{text: {exact: ["X "]}}'), 7, "already answered by rule 'a'"),
        (HEAD + rule("a", '{click: ["K"]}') + rule("b", '{click: ["K"]}'), 7, "already answered by rule 'a'"),
        (HEAD + rule("a", "{subscribe: true}") + rule("b", "{subscribe: true}"), 7, "already answered by rule 'a'"),
        (
            HEAD + rule("a", '{text: {contains: ["停车"]}}') + rule("b", '{text: {contains: ["停车场"]}}'),
            7,
            "'停车场' is already answered by rule 'a'",
        ),
        ("version: 1\ndefault: {reply: {type: voice, media: x, media_id: y}}\n", 2, "exactly one of `media`"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, wanted: str) -> None:
    with pytest.raises(RuleFileError) as caught:
        read(text)
    assert any(wanted in problem.sentence for problem in caught.value.problems), caught.value
    assert line in [problem.line for problem in caught.value.problems if wanted in problem.sentence], (
        caught.value.problems
    )


def test_all_that_is_wrong_is_told_at_once_in_order() -> None:
    text = HEAD + rule("a", "{}") + rule("a", '{text: {exact: [""]}}') + rule("b", reply="{type: text, content: ''}")
    with pytest.raises(RuleFileError) as caught:
        read(text)
    lines = [problem.line for problem in caught.value.problems]
    assert lines == sorted(lines)
    assert len(lines) >= 4
