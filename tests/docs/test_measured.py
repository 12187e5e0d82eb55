"""Where figures stand, the page says what measured them, at which revision; the README has figures of the records."""

import re

import pytest

from spatten.commands.results import FOLDER, load, number_of
from tests.docs.documents import ROOT, documents

SECTION = re.compile(r"^(what was )?measured|throughput|checked against|error budget|speed", re.IGNORECASE)
"""Headings of figures that were measured."""
SECTIONS = [
    (name, line, heading)
    for name, document in documents().items()
    for line, heading in document.headings
    if SECTION.search(heading) and name != "docs/results.md"
]


@pytest.mark.parametrize(("name", "line", "heading"), SECTIONS)
def test_measured_sections_name_command_and_revision(name, line, heading):
    text = documents()[name].section(line)
    if not re.search(r"\d{2}", text.split("\n", 1)[1]):
        pytest.skip("no figures")
    assert re.search(r"`[0-9a-f]{7,12}`", text), f"{name}: section {heading!r} names no revision"
    assert re.search(r"`(\w+=\w+ )?(spatten|make|tests/|--)", text), f"{name}: section {heading!r} names no command"


def test_figures_of_the_readme_are_those_of_the_records():
    records = {record["name"]: record for found in load(ROOT / FOLDER).values() for record in found}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in documents()["README.md"].section(_line_of("Five numbers")).split("\n")
        if line.endswith("` |")
    ]
    assert len(rows) == 5
    for _, value, name in rows:
        record = records[name.strip("`")]
        found = f"{number_of(record['value'])} {record['unit']}"
        assert value == found, f"README: {name} is {found} in {FOLDER}, not {value}"


def _line_of(heading: str) -> int:
    return next(line for line, text in documents()["README.md"].headings if text == heading)
