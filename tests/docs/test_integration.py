"""The worked example of docs/integration.md lies in memory as the page says; its sizes follow from the presets."""

import re
import runpy

import pytest

from golden.layers.cascade_state import CascadeState
from hdl.spec import formats
from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode
from sim.transport.commands import record, token_table
from tests.docs.documents import ROOT, documents

PAGE = documents()["docs/integration.md"]
BYTES = re.compile(r"^\| 0x(\w+) \| `((?:[0-9a-f]{2} ?)+)` \|")
LATENCIES = (5, 20, 50, 100, 200)


def told(begin, end):
    """Address -> bytes of the tables between two texts of the page."""
    part = "\n".join(PAGE.lines).split(begin, 1)[1].split(end, 1)[0]
    found = {int(row[1], 16): bytes.fromhex(row[2]) for line in part.split("\n") if (row := BYTES.match(line))}
    assert found
    return found


@pytest.fixture(scope="module")
def example():
    """The example of examples/icarus: its layer, and memory with what it uses."""
    made = runpy.run_path(str(ROOT / "examples/icarus/make_case.py"))
    layer = made["head"]()
    return layer, made["case"](layer)


def check(memory, found):
    for address, content in found.items():
        assert memory.read(address, len(content)).tobytes() == content, f"{address:#x} of docs/integration.md"


def test_command_and_what_it_uses(example):
    _, case = example
    found = told("The command, in the ring:", "What the layer leaves:")
    check(case.memory, found)
    sizes = {case.commands: 64, case.placed.plan: 88, case.placed.heads: 16}
    for first, size in sizes.items():  # nothing is left out
        inside = {address: len(content) for address, content in found.items() if first <= address < first + size}
        assert sum(inside.values()) == size and len(inside) > 1


def test_what_the_layer_leaves(example):
    """As golden and the formats have it; of the completion all but ``cycle``."""
    layer, case = example
    (result,), selection = CascadeState().run(layer, PRESETS["tiny"])
    left, placed, memory = selection.survivors(), case.placed, case.memory
    memory.write(placed.out, result.out.numpy().astype("<i4"))
    table = token_table(left.ids.tolist(), left.importance.tolist(), PRESETS["tiny"], capacity=layer.num_tokens + 1)
    memory.write(placed.state, table)
    fields = {"tokens": len(left.ids), "heads": len(left.head_ids), "tag": 7, "phase": 1}
    memory.write(case.completions, record(formats.completion(), {**fields, "opcode": Opcode.LAYER}))
    check(memory, told("What the layer leaves:", "## Sizes"))


def test_words_a_cycle():
    rows = [line.strip("| ").split(" | ") for line in PAGE.lines if re.match(r"\| `.+` \| \d+ \| \d+ \| \d\.", line)]
    presets = set()
    for names, words, beats, *rates, most in rows:
        for name in re.findall("`(.+?)`", names):
            presets.add(name)
            assert int(words) == PRESETS[name].outstanding
        window, burst = int(words), int(beats)
        assert burst == window // 4 and int(most) == window - burst
        assert rates == [f"{min(1, window / (latency + burst)):.2f}" for latency in LATENCIES]
    assert presets == set(PRESETS)


def test_reach_of_offsets():
    (row,) = [line for line in PAGE.lines if line.startswith("| reach of an offset |")]
    for size, unit, names in re.findall(r"(\d+) (KiB|MiB) for ((?:`[\w-]+`(?: and )?)+)", row):
        for name in re.findall("`(.+?)`", names):
            reach = (PRESETS[name].channel_width // 8) << PRESETS[name].address_width
            assert reach == int(size) << (10 if unit == "KiB" else 20), name
