"""The documents say what the code says."""

import dataclasses
import re
from pathlib import Path

from chassis.settings import Settings
from contracts import facts, topology
from contracts.envelope import Event
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


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
