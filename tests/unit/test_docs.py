"""The documents say what the code says."""

import dataclasses
import re
from pathlib import Path

import msgspec

from chassis.settings import Settings
from contracts import facts, topology
from contracts.envelope import Event
from services.autoreply import format as form
from services.autoreply import rulefile, templates
from weir import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_every_setting_stands_in_the_document_with_its_default_and_no_other_does() -> None:
    rows = re.findall(r"^\| `(WEIR_[A-Z_]+)` \| (.+) \| (.+) \|$", (DOCS / "settings.md").read_text(), re.MULTILINE)
    documented = {name: (meaning, default) for name, meaning, default in rows if name not in ("WEIR_HOME", "WEIR_PORT")}
    expected = {
        f"WEIR_{field.name.upper()}": (field.metadata["help"], f"`{field.default}`" if str(field.default) else "none")
        for field in dataclasses.fields(Settings)
    }
    assert documented == expected


def test_every_queue_key_fact_and_attribute_stands_in_the_document_of_the_bus() -> None:
    text = (DOCS / "events.md").read_text()
    table = text.partition("## Queues")[2]
    queues = dict(re.findall(r"^\| `([a-z]+(?:\.[a-z]+)?)` \| `([^`]+)` \|$", table, re.MULTILINE))
    assert queues == {queue.name: queue.keys[0] for queue in topology.QUEUES}
    types = [
        value for value in vars(facts).values() if type(value) is str and re.fullmatch(r"weir(\.[a-z]+){2}", value)
    ]
    assert len(types) >= 12
    for word in [*types, topology.EVENTS, topology.COMMANDS]:
        assert f"`{word}`" in text, word
    for name in Event.__struct_fields__:
        if name not in ("type", "data", "datacontenttype"):
            assert f"`{name}`" in text, name


def test_every_command_stands_in_the_help_and_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in cli.COMMANDS:
        assert re.search(rf"^  {name}\b", cli.USAGE, re.MULTILINE), name
        assert f"weir {name}" in readme, name


def test_the_schema_of_rule_sets_is_the_one_that_the_code_has() -> None:
    again = "from services.autoreply.rulefile import schema_text; print(schema_text(), end='')"
    written = (DOCS / "rules.schema.json").read_text(encoding="utf-8")
    assert written == rulefile.schema_text(), f'write it anew: python -c "{again}" > docs/rules.schema.json'


def test_the_rule_set_in_the_document_is_good_and_every_field_stands_there() -> None:
    page = (DOCS / "rules.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(version: 2\n.*?)```", page, re.DOTALL)
    assert example
    assert rulefile.read(example.group(1)).size > 8
    for struct in (form.RuleSetDocument, form.Rule, form.When, form.Limit, form.People, form.FaqPair):
        for field in msgspec.structs.fields(struct):
            assert re.search(rf"\b{field.encode_name}\b", page), f"{struct.__name__}.{field.encode_name}"
    for name in templates.BUILT_IN:
        assert f"`{name}`" in page, name


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
