"""Examples and sizes in docs/protocol.md, the specification of the link."""

import re
from pathlib import Path

import pytest

from fpga.host.codec import encode_frame
from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, result_layouts
from fpga.spec.protocol import Command
from hdl.spec.config import PRESETS

DOC = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"

EXAMPLE = re.compile(
    r"^((?:[0-9a-f]{2} )+) *# type ([0-9a-f]{2}) seq ([0-9a-f]{4}) payload ?((?:[0-9a-f]{2} ?)*)$", re.M
)


def test_examples_of_the_specification():
    """Lines ``bytes  # type seq payload`` of docs/protocol.md."""
    text = DOC.read_text()
    found = EXAMPLE.findall(text)
    assert len(found) == text.count("# type") >= 15
    for line, type, seq, payload in found:
        assert bytes.fromhex(line) == encode_frame(int(type, 16), int(seq, 16), bytes.fromhex(payload))
    assert {int(type, 16) for _, type, _, _ in found} >= set(Command)


@pytest.mark.parametrize(("preset", "column"), [("tiny", 2), ("ulx3s", 3)])
def test_item_sizes_of_the_specification(preset, column):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in DOC.read_text().splitlines()]
    table = {row[0]: row for row in rows if len(row) == 4}
    for name, layout in {**item_layouts(PRESETS[preset]), **result_layouts(PRESETS[preset])}.items():
        assert int(table[name][column].split(",")[0]) == byte_count(layout)
