"""The engine: which rules take what, when, for whom, and what comes of it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.wechat.parser import parse
from contracts import wechat
from contracts.content import Text
from contracts.envelope import raw
from services.autoreply.conditions import portion_of
from services.autoreply.engine import Activity, HandOver, Known, Outcome, Tag, decide
from services.autoreply.near import kilometres
from services.autoreply.rulefile import read
from services.autoreply.ruleset import RuleSet

NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
"""A Tuesday, noon in Shanghai."""


@dataclass(frozen=True)
class Firing:
    at: datetime
    day: str
    today: int
    ever: int


def rules(body: str, head: str = "") -> RuleSet:
    return read(f"version: 2\n{head}\nrules:\n{body}")


def one(when: str, more: str = "", head: str = "") -> RuleSet:
    """One rule, which says "yes"."""
    return rules(f"  - {{id: a, when: {when}, reply: {{type: text, content: 'yes'}}{more}}}\n", head)


def text(content: str) -> wechat.Inbound:
    return inbound("text", Content=content)


def inbound(msg_type: str, **fields: object) -> wechat.Inbound:
    whole = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 1, "MsgType": msg_type, **fields}
    return wechat.view(wechat.event_type(whole), raw(whole))


def event(name: str, key: str = "", **fields: object) -> wechat.Inbound:
    return inbound("event", Event=name, EventKey=key, **fields)


def known(**given: Any) -> Known:
    return Known(**{"now": NOON, "account": "demo", "openid": "oA", "lane": "question", **given})


def said(outcome: Outcome) -> list[str]:
    return [answer.content.content for answer in outcome.answers if isinstance(answer.content, Text)]


def takes(ruleset: RuleSet, what: wechat.Inbound, **given: Any) -> bool:
    return said(decide(ruleset, what, known(**given))) == ["yes"]


@pytest.mark.parametrize(
    ("when", "content", "taken"),
    [
        ("{text: {prefix: ['#抽奖']}}", "#抽奖 我要", True),
        ("{text: {prefix: ['#抽奖']}}", "我要#抽奖", False),
        ("{text: {contains: ['停车']}}", "这里能停车吗", True),
        ("{text: {regex: ['订单\\s*\\d{6}']}}", "查订单 ６５４３２１", True),
        ("{text: {regex: ['订单\\s*\\d{6}$']}}", "查订单 65432", False),
        ("{text: {regex: ['^hello']}}", "HELLO there", True),
        ("{text: {exact: ['你好']}, kind: [voice]}", "你好", False),
    ],
)
def test_texts(when: str, content: str, taken: bool) -> None:
    assert takes(one(when), text(content)) is taken


def test_punctuation_counts_unless_told_otherwise() -> None:
    assert not takes(one("{text: {exact: ['你好']}}"), text("你好！"))
    assert takes(one("{text: {exact: ['你好']}}", head="strip_punctuation: true"), text("“你 好”！~"))


def test_a_voice_is_heard_and_kinds_narrow_it() -> None:
    ruleset = one("{text: {contains: ['停车']}, kind: [voice]}")
    assert takes(ruleset, inbound("voice", MediaId="m", Recognition="想停车"))
    assert takes(one("{kind: [image]}"), inbound("image", MediaId="m", PicUrl="u"))
    assert not takes(one("{kind: [image]}"), text("x"))


def test_events_by_name_key_and_scene() -> None:
    assert takes(one("{event: [scan], key: ['7']}"), event("SCAN", "7"))
    assert not takes(one("{event: [scan], key: ['7']}"), event("SCAN", "8"))
    assert takes(one("{event: [scan]}"), event("SCAN", "8"))
    assert takes(one("{subscribe: true, scene: true}"), event("subscribe", "qrscene_7"))
    assert not takes(one("{subscribe: true, scene: true}"), event("subscribe"))
    assert takes(one("{subscribe: true, key: ['7']}"), event("subscribe", "qrscene_7"))
    assert not takes(one("{event: [click], key: ['A']}"), event("CLICK", "B"))


@pytest.mark.parametrize(
    ("time", "shanghai", "taken"),
    [
        ("{days: [tue], between: ['09:00-13:00']}", "2026-11-24T12:00", True),
        ("{days: [mon]}", "2026-11-24T12:00", False),
        ("{between: ['22:00-02:00']}", "2026-11-24T01:59", True),
        ("{between: ['22:00-02:00']}", "2026-11-24T02:00", False),
        # Friday night is still Friday's at one in the morning.
        ("{days: [fri], between: ['22:00-02:00']}", "2026-11-28T01:00", True),
        ("{days: [sat], between: ['22:00-02:00']}", "2026-11-28T01:00", False),
        ("{from: '2026-11-24', to: '2026-11-24'}", "2026-11-24T23:59", True),
        ("{from: '2026-11-24', to: '2026-11-24'}", "2026-11-25T00:00", False),
    ],
)
def test_windows(time: str, shanghai: str, taken: bool) -> None:
    ruleset = one(f"{{text: {{exact: [x]}}, time: {time}}}")
    assert takes(ruleset, text("x"), now=datetime.fromisoformat(shanghai + "+08:00")) is taken


HOURS = "hours: {weekly: {mon: ['09:00-18:00'], tue: ['09:00-12:00', '13:00-18:00']}, dates: {'2026-11-23': []}}"


@pytest.mark.parametrize(
    ("shanghai", "inside"),
    [("2026-11-24T11:59", True), ("2026-11-24T12:00", False), ("2026-11-23T10:00", False), ("2026-11-30T10:00", True)],
)
def test_working_hours(shanghai: str, inside: bool) -> None:
    at = datetime.fromisoformat(shanghai + "+08:00")
    assert takes(one("{text: {exact: [x]}, hours: inside}", head=HOURS), text("x"), now=at) is inside
    assert takes(one("{text: {exact: [x]}, hours: outside}", head=HOURS), text("x"), now=at) is not inside


def test_what_is_known_of_the_follower() -> None:
    first = one("{first_message: true}")
    assert first.needs == {"first_message"}
    assert takes(first, inbound("image", MediaId="m", PicUrl="u"), first_message=True)
    assert not takes(first, text("x"))
    new = one("{text: {exact: [x]}, new_days: 3}")
    assert takes(new, text("x"), following_since=NOON - timedelta(days=2))
    assert not takes(new, text("x"), following_since=NOON - timedelta(days=4))
    assert not takes(new, text("x"))
    tags = one("{text: {exact: [x]}, tags: {any: [vip, gold], all: [adult], none: [staff]}}")
    assert tags.needs == {"tags"}
    assert takes(tags, text("x"), tags=frozenset(("vip", "adult")))
    assert not takes(tags, text("x"), tags=frozenset(("vip",)))
    assert not takes(tags, text("x"), tags=frozenset(("vip", "adult", "staff")))


def test_a_share_is_stable_and_shared_out() -> None:
    half = rules(
        "  - {id: a, when: {text: {exact: [x]}, share: {from: 0, to: 50}}, reply: {type: text, content: A}}\n"
        "  - {id: b, when: {text: {exact: [x]}, share: {from: 50, to: 100}}, reply: {type: text, content: B}}\n"
    )
    answers = [said(decide(half, text("x"), known(openid=f"o{number}"))) for number in range(2000)]
    assert answers == [said(decide(half, text("x"), known(openid=f"o{number}"))) for number in range(2000)]
    assert 900 < answers.count(["A"]) < 1100
    assert answers.count(["A"]) + answers.count(["B"]) == 2000


@given(st.text(max_size=10), st.text(min_size=1, max_size=40))
def test_everybody_stands_on_the_scale(salt: str, openid: str) -> None:
    assert 0 <= portion_of(salt, openid) < 100


def test_cooldown_and_caps() -> None:
    ruleset = one("{text: {exact: [x]}}", ", limit: {cooldown: 60, per_day: 2, ever: 5}")
    assert ruleset.limited == {"a"}

    def again(seconds: float, day: str = "2026-11-24", today: int = 1, ever: int = 1) -> bool:
        return takes(ruleset, text("x"), fired={"a": Firing(NOON - timedelta(seconds=seconds), day, today, ever)})

    assert not again(59)
    assert again(60)
    assert not again(3600, today=2)
    assert again(86400, day="2026-11-23", today=2)
    assert not again(10**7, day="2026-08-01", ever=5)


def test_priority_goes_first_then_exact_then_the_order() -> None:
    ruleset = rules(
        "  - {id: word, when: {text: {contains: [停车]}}, reply: {type: text, content: word}}\n"
        "  - {id: exact, when: {text: {exact: [停车费]}}, reply: {type: text, content: exact}}\n"
        "  - {id: vip, priority: 5, when: {text: {contains: [停车费]}, tags: {any: [vip]}}, reply: {type: text, content: vip}}\n"
    )
    assert said(decide(ruleset, text("停车费"), known())) == ["exact"]
    assert said(decide(ruleset, text("停车费"), known(tags=frozenset(("vip",))))) == ["vip"]
    assert said(decide(ruleset, text("停车费多少"), known())) == ["word"]


def test_a_rule_may_let_others_go_on() -> None:
    ruleset = rules(
        "  - {id: mark, continue: true, when: {text: {contains: [抽奖]}}, tag: {add: [player]}, activity: lottery}\n"
        "  - {id: say, when: {text: {contains: [抽]}}, replies: [{type: text, content: 一}, {type: text, content: 二}]}\n"
        "  - {id: never, when: {text: {exact: [无]}}, silent: true}\n"
    )
    outcome = decide(ruleset, text("我要抽奖"), known())
    assert (outcome.rules, said(outcome)) == (("mark", "say"), ["一", "二"])
    assert outcome.actions == (Tag(("player",), ()), Activity("lottery"))
    silent = decide(ruleset, text("无"), known())
    assert (silent.matcher, silent.answers, silent.rules) == ("silent", (), ("never",))
    assert "on purpose" in silent.note


STORES = """
stores:
  - {name: 东门店, latitude: 31.2304, longitude: 121.4737, phone: "021-1"}
  - {name: 西门店, latitude: 31.2222, longitude: 121.4581}
  - {name: 南京店, latitude: 32.0603, longitude: 118.7969}
  - {name: 北京店, latitude: 39.9042, longitude: 116.4074}
"""


def test_the_nearest_three_stores() -> None:
    body = '  - {id: near, when: {near: true}, reply: {type: text, content: "{% for s in stores %}{{ s.name }} {{ s.distance }};{% endfor %}"}}\n'
    (answer,) = said(decide(rules(body, STORES), inbound("location", Location_X=31.2303, Location_Y=121.4736), known()))
    assert [part.split()[0] for part in answer.rstrip(";").split(";")] == ["东门店", "西门店", "南京店"]
    assert "东门店 15 m" in answer
    assert kilometres((39.9042, 116.4074), (31.2304, 121.4737)) == pytest.approx(1067, abs=3)


@pytest.mark.parametrize(("latitude", "longitude"), [("inf", 0), ("nan", "nan"), ("1e308", "-1e308"), (91, 0)])
def test_a_position_that_is_nowhere_goes_to_a_person(latitude: object, longitude: object) -> None:
    body = "  - {id: near, when: {near: true}, reply: {type: text, content: '{{ stores[0].name }}'}}\n"
    for what in (
        inbound("location", Location_X=latitude, Location_Y=longitude),
        event("LOCATION", Latitude=latitude, Longitude=longitude),
    ):
        outcome = decide(rules(body, STORES), what, known())
        assert (outcome.answers, outcome.actions) == ((), (HandOver("", 0, "failed_rule"),))


def test_templates_have_their_variables() -> None:
    body = "  - {id: a, when: {text: {regex: ['订单(?P<number>\\d+)']}}, reply: {type: text, content: '{{ park }}{{ named.number }}/{{ groups[1] }}'}}\n"
    assert said(decide(rules(body, "variables: {park: 乐园}"), text("我的订单１２３"), known())) == ["乐园123/123"]


def test_a_template_that_fails_hands_over_instead() -> None:
    failing = rules(
        "  - {id: a, when: {text: {contains: [x]}}, reply: {type: text, content: '{{ text * 2 if text|length > 5 else text }}'}}\n"
    )
    assert said(decide(failing, text("x"), known())) == ["x"]
    outcome = decide(failing, text("x123456"), known())
    assert outcome.answers == ()
    assert outcome.actions == (HandOver("", 0, "failed_rule"),)
    assert "only for numbers" in outcome.note
    long = rules("  - {id: a, when: {text: {contains: [x]}}, reply: {type: text, content: '{{ text }}{{ text }}'}}\n")
    assert "2048" in decide(long, text("x" * 1500), known()).note


DEFAULT = "  - {id: hello, when: {text: {exact: [你好]}}, reply: {type: text, content: 好}}\ndefault: {reply: {type: text, content: '第 {{ position }} 位'}%s}\n"


def test_what_nothing_takes_goes_to_a_person() -> None:
    ruleset = rules(DEFAULT % "")
    outcome = decide(ruleset, text("退票怎么办"), known(waiting_position=12))
    assert (outcome.matcher, said(outcome)) == ("default", ["第 12 位"])
    assert outcome.actions == (HandOver("", 0, "no_rule"),)
    # An event is not answered by the default, an entry is, and both do without a person.
    assert decide(ruleset, event("VIEW"), known()).actions == ()
    entry = decide(ruleset, text("#抽奖"), known(lane="entry"))
    assert (entry.matcher, entry.actions) == ("default", ())


def test_twice_without_an_answer_always_hands_over() -> None:
    ruleset = rules(DEFAULT % ", handover: false")
    assert decide(ruleset, text("啊"), known()).actions == ()
    assert decide(ruleset, text("啊"), known(unanswered=1)).actions == (HandOver("", 0, "unanswered_twice"),)
    to = rules(DEFAULT % ", handover: {skill: tickets, priority: 3}")
    assert decide(to, text("啊"), known()).actions == (HandOver("tickets", 3, "no_rule"),)


@pytest.mark.parametrize("words", ["人工", "转人工！", "我要找客服", "HUMAN", "Agent", "real person"])
def test_who_asks_for_a_person_gets_one(words: str) -> None:
    ruleset = rules(
        "  - {id: greedy, priority: 9, when: {text: {contains: [人, 客, human, agent, person]}}, reply: {type: text, content: never}}\n"
    )
    outcome = decide(ruleset, text(words), known())
    assert outcome.matcher == "handoff"
    assert outcome.actions == (HandOver("", 5, "asked_for_a_person"),)


@pytest.mark.parametrize("words", ["management agency", "客人太多了人工湖在哪里怎么走比较好"])
def test_who_only_talks_about_people_does_not(words: str) -> None:
    assert decide(rules("  []"), text(words), known()).matcher != "handoff"


FAQ = """
faq:
  - {id: hours, questions: ["几点开门", "营业时间是什么时候", "早上几点开始入园"], answer: {type: text, content: 九点}}
  - {id: parking, questions: ["停车场怎么收费", "停车一小时多少钱"], answer: {type: text, content: 五元}, skill: gate}
"""


def test_a_known_question_is_answered_and_others_take_their_candidates_along() -> None:
    ruleset = rules("  []", FAQ)
    outcome = decide(ruleset, text("请问你们几点开门呀？"), known())
    assert (outcome.matcher, outcome.rules, said(outcome)) == ("faq", ("faq:hours",), ["九点"])
    far = decide(ruleset, text("停车的地方能过夜吗"), known())
    (handover,) = far.actions
    assert isinstance(handover, HandOver)
    assert handover.skill == "gate"
    assert (handover.candidates[0].faq, handover.candidates[0].answer) == ("parking", "五元")


def test_in_a_conversation_the_machine_is_silent() -> None:
    outcome = decide(rules(DEFAULT % ""), text("你好"), known(in_conversation=True))
    assert (outcome.answers, outcome.actions) == ((), ())


def test_the_entry_table_holds_what_is_marked() -> None:
    ruleset = rules(
        "  - {id: a, lane: entry, when: {text: {prefix: ['#抽奖'], regex: ['^我.*参加$']}}, reply: {type: text, content: x}}\n"
        "  - {id: b, when: {text: {exact: [停车]}}, reply: {type: text, content: x}}\n"
    )
    assert (ruleset.entry.prefix, ruleset.entry.regex, ruleset.entry.exact) == (("#抽奖",), ("^我.*参加$",), ())
    assert not ruleset.entry.empty
    assert rules("  []").entry.empty


def test_it_says_why_each_rule_did_not_take_it() -> None:
    ruleset = rules(
        "  - {id: night, when: {text: {contains: [停车]}, time: {between: ['22:00-06:00']}}, reply: {type: text, content: n}}\n"
        "  - {id: day, when: {text: {contains: [停车]}}, reply: {type: text, content: d}}\n"
        "  - {id: behind, when: {text: {regex: ['停.']}}, reply: {type: text, content: b}}\n"
        "  - {id: other, when: {text: {exact: [你好, 您好]}}, reply: {type: text, content: o}}\n"
        "  - {id: click, when: {click: [K]}, reply: {type: text, content: c}}\n"
    )
    found = {one.rule: one for one in decide(ruleset, text("停车"), known(), explain=True).trace}
    assert [(name, one.code) for name, one in found.items()] == [
        ("night", "time"),
        ("day", "took"),
        ("behind", "behind"),
        ("other", "other"),
        ("click", "other"),
    ]
    assert found["day"].words == "took it by contains '停车'"
    assert "'day' goes before it" in found["behind"].words
    assert "none of its 2 keywords" in found["other"].words


@pytest.mark.parametrize(
    ("content", "given", "code"),
    [("人工", {}, "person"), ("人工", {"in_conversation": True}, "conversation"), ("人工智能", {}, "person")],
)
def test_it_says_what_goes_before_all_rules(content: str, given: dict[str, bool], code: str) -> None:
    ruleset = one("{text: {contains: [人工]}}")
    outcome = decide(ruleset, text(content), known(**given), explain=True)
    assert [(trace.took, trace.code) for trace in outcome.trace] == [(False, code)]
    assert decide(ruleset, text(content), known(**given)).trace == ()


def test_it_says_when_the_working_hours_begin() -> None:
    ruleset = one("{text: {exact: [x]}, hours: inside}", head=HOURS)

    def words(shanghai: str) -> str:
        at = known(now=datetime.fromisoformat(shanghai + "+08:00"))
        (found,) = decide(ruleset, text("x"), at, explain=True).trace
        return found.words

    assert words("2026-11-24T12:30") == "outside its hours: opens tue 2026-11-24 13:00"
    # Monday the 23rd is closed.
    assert words("2026-11-22T12:00") == "outside its hours: opens tue 2026-11-24 09:00"
    assert words("2026-11-25T12:00") == "outside its hours: opens mon 2026-11-30 09:00"


SAMPLES = sorted((Path(__file__).parents[3] / "samples" / "wechat").glob("*.xml"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_no_sample_makes_it_stumble(path: Path) -> None:
    fields = parse(path.read_bytes())
    what = wechat.view(wechat.event_type(fields), raw(fields))
    ruleset = rules(
        "  - {id: all, when: {first_message: true}, reply: {type: text, content: x}}\n"
        "  - {id: place, when: {near: true}, reply: {type: text, content: '{{ stores[0].name }}'}}\n",
        STORES,
    )
    for facts in (known(), known(first_message=True, lane="entry")):
        decide(ruleset, what, facts)
        assert len(decide(ruleset, what, facts, explain=True).trace) == 2
