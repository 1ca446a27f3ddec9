"""What bad rule sets get: the rule's id, the field, the reason and the fix."""

from datetime import UTC, datetime

import msgspec
import pytest

from services.autoreply.format import Default, Rule, RuleSetDocument, TextMatch, When
from services.autoreply.lint import lint
from services.autoreply.rulefile import Problem, RuleFileError, checked, compiled, pattern_fault

NOW = datetime(2026, 11, 24, 4, tzinfo=UTC)
REPLY = "reply: {type: text, content: x}"
A = "  - {id: a, when: {text: {contains: [停车]}}, " + REPLY + "}\n"


def problems(rules: str, head: str = "") -> list[Problem]:
    with pytest.raises(RuleFileError) as caught:
        checked(f"version: 2\n{head}\nrules:\n{rules}", NOW)
    return caught.value.problems


def one(when: str, more: str = "", reply: str = REPLY, head: str = "") -> list[Problem]:
    return problems(f"  - {{id: a, when: {when}, {reply}{more}}}\n", head)


@pytest.mark.parametrize(
    ("when", "more", "field", "wanted"),
    [
        ("{}", "", "rules[0].when", "when needs one of text, kind"),
        ("{text: {regex: ['(?<=a)b']}}", "", "rules[0].when.text.regex[0]", "no regular expression: invalid perl operator"),
        ("{text: {regex: ['a*']}}", "", "rules[0].when.text.regex[0]", "matches every text"),
        ("{text: {exact: ['！']}}", "", "rules[0].when.text.exact[0]", "a keyword is empty"),
        ("{kind: [picture]}", "", "rules[0].when.kind[0]", "there is no kind 'picture'"),
        ("{event: [folow]}", "", "rules[0].when.event[0]", "there is no event 'folow'"),
        ("{text: {exact: [x]}, key: [K]}", "", "rules[0].when.key", "key narrows an event"),
        ("{near: true}", "", "rules[0].when.near", "near needs stores"),
        ("{text: {exact: [x]}, hours: inside}", "", "rules[0].when.hours", "never opens"),
        ("{text: {exact: [x]}, hours: maybe}", "", "rules[0].when.hours", "write inside or outside"),
        ("{text: {exact: [x]}, share: {from: 50, to: 50}}", "", "rules[0].when.share", "nobody stands"),
        ("{text: {exact: [x]}, tags: {all: [t], none: [t]}}", "", "rules[0].when.tags", "nobody fits"),
        ("{text: {exact: [x]}, time: {days: [monday]}}", "", "rules[0].when.time.days", "write mon, tue"),
        ("{text: {exact: [x]}, time: {between: ['9-10']}}", "", "rules[0].when.time.between", "write it like 09:00"),
        ("{text: {exact: [x]}, time: {between: ['09:00-09:00']}}", "", "rules[0].when.time.between", "never opens"),
        ("{text: {exact: [x]}, time: {from: '2026-12-02', to: '2026-12-01'}}", "", "rules[0].when.time.to", "never opens"),
        ("{text: {exact: [x]}, time: {to: '2026-11-01'}}", "", "rules[0].when.time.to", "is over"),
        (
            "{text: {exact: [x]}, time: {days: [mon], from: '2026-11-25', to: '2026-11-27'}}",
            "",
            "rules[0].when.time.days",
            "never opens: none of these days",
        ),
        ("{text: {exact: [x]}}", ", lane: fast", "rules[0].lane", "there is no lane"),
        ("{click: [K]}", ", lane: entry", "rules[0].lane", "only texts"),
        ("{text: {exact: [x]}}", ", silent: true", "rules[0].silent", "exclude each other"),
    ],
)  # fmt: skip
def test_what_a_rule_takes(when: str, more: str, field: str, wanted: str) -> None:
    found = one(when, more, head="strip_punctuation: true")
    assert any(wanted in problem.sentence and problem.field == field for problem in found), found
    assert all(problem.rule == "a" and problem.line == 4 for problem in found)


@pytest.mark.parametrize(
    ("when", "reply", "wanted"),
    [
        ("{text: {exact: [x]}}", "silent: false", "the rule does nothing"),
        ("{text: {exact: [x]}}", "reply: {type: text, content: '{{ nmae }}'}", "there is no variable 'nmae'; there are account"),
        ("{text: {exact: [x]}}", "reply: {type: text, content: '{{ text'}", "the template does not work"),
        ("{text: {exact: [x]}}", "reply: {type: text, content: '{{ stores[0].name }}'}", "the template does not work"),
        ("{text: {exact: [x]}}", "reply: {type: text, content: '{% for i in [1] * 9**9 %}a{% endfor %}'}", "only for numbers"),
        ("{text: {exact: [x]}}", "reply: {type: text, content: \"{{ ''.__class__.__mro__ }}\"}", "unsafe"),
        ("{click: [K]}", "replies: [" + ", ".join(["{type: text, content: x}"] * 4) + "]", "4 answers; an event allows 3"),
        ("{text: {exact: [x]}}", "replies: [" + ", ".join(["{type: text, content: x}"] * 6) + "]", "6 answers; a message allows 5"),
        ("{text: {exact: [x]}}", "reply: {type: text, content: " + "长" * 683 + "}", "2049 bytes"),
    ],
)  # fmt: skip
def test_what_a_rule_answers(when: str, reply: str, wanted: str) -> None:
    found = one(when, "", reply)
    assert any(wanted in problem.sentence for problem in found), found


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{{ [1] * 999999999 }}", "only for numbers"),
        ("{{ '%0999999999d' % 1 }}", "only for numbers"),
        ("{{ 9 ** 9999 }}", "only for numbers"),
        ("{{ text.ljust(999999999) }}", "only these can be called"),
        ("{{ '{:0999999999}'.format(1) }}", "only these can be called"),
        ("{{ range(999999999)|list }}", "only these can be called"),
        ("{{ lipsum(999) }}", "only these can be called"),
        ("{{ text|center(999999999) }}", "No filter named 'center'"),
        ("{{ text|replace('x', text) }}", "No filter named 'replace'"),
        ("{{ text|join(text) }}", "join is for lists"),
        ("{{ tags|join(text * 9) }}", "only for numbers"),
        ("{% for a in text %}{% for b in text %}{% endfor %}{% endfor %}x", "a loop within a loop"),
        ("{% for a in tags recursive %}{% endfor %}x", "a loop within a loop"),
        ("{% set a = text ~ text %}{{ a }}", "assign is not read here"),
        ("{% with a = text %}{{ a }}{% endwith %}", "with is not read here"),
        ("{% macro f() %}{{ f() }}{% endmacro %}x", "macro is not read here"),
        ("{% include 'x' %}", "include is not read here"),
    ],
)  # fmt: skip
def test_no_template_can_run_for_long_or_grow(template: str, wanted: str) -> None:
    found = one("{text: {exact: [x]}}", "", f'reply: {{type: text, content: "{template}"}}')
    assert any(wanted in problem.sentence for problem in found), found


def test_what_templates_are_for_works() -> None:
    content = "{% if tags %}{{ tags|join('、') }}{% else %}{{ now.strftime('%H:%M') }} {{ 7 % 4 * 2 }}{% endif %} {{ text|upper|truncate(9) }}"
    assert checked(
        f'version: 2\nrules:\n  - {{id: a, when: {{text: {{exact: [x]}}}}, reply: {{type: text, content: "{content}"}}}}\n'
    )


@pytest.mark.parametrize(
    ("second", "taken"),
    [
        ("{id: b, when: {text: {contains: [停车场]}}, " + REPLY + "}", True),
        ("{id: b, when: {text: {prefix: [停车]}}, " + REPLY + "}", True),
        ("{id: b, when: {text: {exact: [停车]}}, " + REPLY + "}", False),  # an exact keyword goes first
        ("{id: b, priority: -1, when: {text: {exact: [停车]}}, " + REPLY + "}", True),
        ("{id: b, priority: 1, when: {text: {contains: [停车场]}}, " + REPLY + "}", False),
        ("{id: b, when: {text: {contains: [车]}}, " + REPLY + "}", False),
    ],
)
def test_a_rule_that_an_earlier_one_always_beats(second: str, taken: bool) -> None:
    text = f"version: 2\nrules:\n{A}  - {second}\n"
    if not taken:
        assert checked(text)
        return
    with pytest.raises(RuleFileError) as caught:
        checked(text)
    assert "already answered by rule 'a'" in str(caught.value)


@pytest.mark.parametrize("narrow", ["continue: true", "limit: {cooldown: 5}"])
def test_an_earlier_rule_that_lets_some_through_beats_nobody(narrow: str) -> None:
    first = A.replace("}}, reply", "}}, " + narrow + ", reply")
    assert checked(f"version: 2\nrules:\n{first}  - {{id: b, when: {{text: {{contains: [停车]}}}}, {REPLY}}}\n")


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ("text: {exact: [x]}, tags: {any: [vip]}", "text: {exact: [x]}, tags: {any: [vip]}", True),
        ("text: {exact: [x]}, tags: {any: [vip]}", "text: {exact: [x]}, tags: {any: [vip]}, new_days: 3", True),
        ("text: {exact: [x]}, tags: {any: [vip]}", "text: {exact: [x]}", False),
        ("text: {exact: [x]}, kind: [voice]", "text: {exact: [x]}", False),
        ("text: {contains: [x]}", "text: {exact: [xy]}, kind: [voice]", False),
        ("text: {contains: [x]}", "text: {contains: [xy]}, kind: [voice]", True),
        ("subscribe: true", "subscribe: true, key: ['7']", True),
        ("subscribe: true, key: ['7']", "subscribe: true", False),
        ("subscribe: true, scene: false", "subscribe: true", False),
        ("subscribe: true", "subscribe: true, scene: false", True),
        ("event: [scan], key: ['7', '8']", "event: [scan], key: ['8']", True),
        ("near: true", "near: true, hours: outside", True),
        ("kind: [image]", "kind: [image, video]", True),
        ("first_message: true", "text: {exact: [x]}", False),
    ],
)
def test_a_rule_beats_another_by_what_narrows_them(first: str, second: str, taken: bool) -> None:
    head = "stores: [{name: s, latitude: 1, longitude: 2}]"
    body = f"  - {{id: a, when: {{{first}}}, {REPLY}}}\n  - {{id: b, when: {{{second}}}, {REPLY}}}\n"
    text = f"version: 2\n{head}\nrules:\n{body}"
    if not taken:
        assert checked(text)
        return
    with pytest.raises(RuleFileError) as caught:
        checked(text)
    assert [problem.rule for problem in caught.value.problems] == ["b"]


def test_everything_misshapen_is_told_at_once() -> None:
    found = problems(
        "  - {id: a, when: {text: {exact: [1]}}, reply: {type: text, content: x}}\n"
        "  - {id: b, when: {txt: {}}, reply: {type: text, content: x}}\n"
        "  - {id: c, when: {text: {exact: [x]}}, reply: {type: text, content: x}}\n"
        "  - {id: d, when: {text: {exact: [x]}}, reply: {type: telegram}}\n"
    )
    assert [problem.line for problem in found] == [4, 5, 7]
    assert [problem.rule for problem in found] == ["a", "b", "d"]
    assert found[1].reason.endswith("unknown field `txt`")
    assert (found[1].field, found[1].fix) == ("rules[1].when.txt", "remove it or check its spelling")


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [(".", "every text"), ("x*", "every text"), ("(?s).+", "every text"), ("^x*$", ""), ("停", "")],
)
def test_patterns_that_narrow_nothing(pattern: str, wanted: str) -> None:
    assert (wanted in pattern_fault(pattern)) if wanted else not pattern_fault(pattern)


def test_a_time_that_is_over_does_not_take_the_rules_in_force_away() -> None:
    text = "version: 2\nrules:\n  - {id: a, when: {text: {exact: [x]}, time: {to: '2020-01-01'}}, " + REPLY + "}\n"
    assert checked(text)
    with pytest.raises(RuleFileError):
        checked(text, NOW)


def test_faq_pairs() -> None:
    found = problems(
        "  []\n",
        "faq:\n  - {id: a, questions: [几点开门], answer: {type: text, content: x}}\n"
        "  - {id: b, questions: ['几点开门？', ''], answer: {type: text, content: x}}\n"
        "  - {id: b, questions: [], answer: {type: text, content: x}}",
    )
    sentences = " / ".join(problem.sentence for problem in found)
    for wanted in ("is a question of 'a' already", "a question is empty", "used twice", "has no question"):
        assert wanted in sentences


class Picture(msgspec.Struct, frozen=True, tag_field="type", tag="image"):
    """A content that shows a file of the library by its name."""

    media: str


def test_media_that_is_not_in_the_library() -> None:
    match = When(text=TextMatch(exact=("x",)))
    document = RuleSetDocument(
        version=2,
        rules=(Rule(id="a", when=match, replies=(Picture("map"), Picture("menu"))),),
        default=Default(reply=Picture("queue")),
    )
    found = lint(document, pattern_fault, None, media={"map"})
    assert [(fault.path, fault.rule) for fault in found] == [
        (("rules", 0, "replies", 1, "media"), "a"),
        (("default", "reply", "media"), ""),
    ]
    assert "there is no media 'menu'; upload it" in found[0].sentence
    assert lint(document, pattern_fault, None) == []
    assert compiled(document, "1").media == {"map", "menu", "queue"}
