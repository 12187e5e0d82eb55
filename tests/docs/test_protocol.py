"""Examples of docs/protocol.md that depend on the configuration are those of today's."""

import re
import struct

import pytest

from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, result_layouts
from fpga.spec.settings import config_digest
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
