"""The page of commands tells the formats as they are."""

import re

import pytest

from hdl.spec import formats
from tests.docs.documents import ROOT

PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
TABLES = {
    "layer_command": "## Command",
    "layer_flags": "Flags:",
    "append_command": "## Append",
    "append_flags": "Flags of APPEND:",
    "append_constant": "Constants are 4 bytes a channel",
    "plan": "## Plan",
    "head_row": "## Table of heads",
    "token_header": "A header of 64 bytes:",
    "token_row": "After it 8 bytes a token",
    "completion": "## Completion",
}
"""Layout -> text in front of its table."""


@pytest.mark.parametrize("name", TABLES)
def test_fields(name):
    rows = PAGE.split(TABLES[name], 1)[1].split("| Byte |", 1)[1].split("\n\n", 1)[0]
    told = re.findall(r"^\| (\d+) \| (\d+)(?: from bit (\d+))? \| `(\w+)` \| .+ \|$", rows, re.MULTILINE)
    found = {field: (8 * int(byte) + int(bit or 0), int(width)) for byte, width, bit, field in told}
    layout = getattr(formats, name)()
    assert found == {field: (part.offset, part.width) for field, part in layout if not field.startswith("reserved")}


def test_codes_and_opcodes():
    for code in formats.Code:
        assert re.search(rf"^\| {code.value} \| {code.name} \|", PAGE, re.MULTILINE)
    for opcode in formats.Opcode:
        assert f"{opcode.name} ({opcode.value})" in PAGE
