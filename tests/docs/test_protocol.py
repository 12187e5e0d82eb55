"""Examples of docs/protocol.md that depend on the configuration are those of today's."""

import hashlib
import re
import struct

import pytest

from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, result_layouts
from fpga.spec.settings import config_digest
from hdl.control.counters import counters_layout
from hdl.spec.config import PRESETS
from tests.docs.documents import documents

PAGE = documents()["docs/protocol.md"]


def test_digest_of_the_example():
    payload = next(line for line in PAGE.lines if "# type 81 " in line).split("payload ")[1]
    (digest,) = struct.unpack("<Q", bytes.fromhex(payload)[-8:])
    assert digest == config_digest(PRESETS["tiny"]), "the VERSION answer of docs/protocol.md is of another tiny"


@pytest.mark.parametrize(("preset", "column"), [("tiny", 3), ("ulx3s", 4)])
def test_bytes_of_items(preset, column):
    config = PRESETS[preset]
    rows = [line.split("|") for line in PAGE.lines if re.match(r"\| \w+ \| `\w+` \| \d", line)]
    listed = {row[1].strip(): int(re.findall(r"\d+", row[column])[0]) for row in rows}
    layouts = {**item_layouts(config), **result_layouts(config)}
    assert listed == {name: byte_count(layout) for name, layout in layouts.items()}


def test_digest_is_computed_from_the_page():
    """The text of the page, with its lines joined, has the digest that the page tells."""
    (block,) = [block for block in PAGE.blocks if block.language == "text" and "'adder_levels'" in block.text]
    text = block.text.strip().replace("\n", "")
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    assert digest == config_digest(PRESETS["tiny"]) and f"Of `tiny` the digest is `{digest:x}`" in "\n".join(PAGE.lines)


@pytest.mark.parametrize(("preset", "column"), [("tiny", 1), ("ulx3s", 2)])
def test_fields_of_items(preset, column):
    layouts = {**item_layouts(PRESETS[preset]), **result_layouts(PRESETS[preset])}
    for stream, layout in layouts.items():
        part = "\n".join(PAGE.lines).split(f"### Items of `{stream}`", 1)[1].split("\n##", 1)[0]
        rows = [re.findall(r"^`(\w+)`|(\d+) \+ (\d+)", cell) for cell in re.findall(r"^\| (.+)", part, re.MULTILINE)]
        told = {row[0][0]: (int(row[column][1]), int(row[column][2])) for row in rows if len(row) == 3}
        assert told == {name: (field.offset, field.width) for name, field in layout}, stream


def test_order_of_the_counters():
    assert next(iter(counters_layout(PRESETS["tiny"]).members)) == "cycles"
    assert list(counters_layout(PRESETS["tiny"]).members)[-1] == "value_words"
    numbers = len(counters_layout(PRESETS["tiny"]).members) + PRESETS["tiny"].num_channels + 1
    assert f"so {8 * numbers} bytes." in "\n".join(PAGE.lines)
