"""WriteGate: words of several sources, what lies outside the window thrown away and told."""

import random

import pytest

from hdl.result.write_gate import WriteGate
from tests.bench.harness import check_stream_reset, made, run_streams

WINDOW = {"base": 0x4000, "limit": 0x8000}


def words(rng, size, source, count):
    """Items of a source; its number is in the data."""
    found = []
    for number in range(count):
        edge = rng.choice((0x4000, 0x8000))
        address = rng.choice((edge - size, edge, 0, rng.randrange(0x4000, 0x8000), rng.getrandbits(64)))
        write = {"word": address // size, "data": number | source << 32, "strobes": rng.getrandbits(size)}
        found.append({"write": write, "entry": rng.randrange(8), "last": rng.randint(0, 1)})
    return found


def inside(item, size):
    return WINDOW["base"] <= item["write"]["word"] * size < WINDOW["limit"]


class Counts:
    """How often ``left`` was high, by source, and the entries that were outside."""

    def __init__(self, dut):
        self.dut, self.left, self.outside = dut, [0] * len(dut.left), []

    async def watch(self, ctx):
        edge = ctx.tick().sample(*self.dut.left, self.dut.outside.valid, self.dut.outside.payload)
        while True:
            _, _, *left, valid, entry = await edge
            self.left = [count + each for count, each in zip(self.left, left, strict=True)]
            self.outside += [entry] * valid


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize(("drop", "hold"), [(0, 0), (1, 0), (0, 1)])
def test_words(width, stall, drop, hold):
    rng, size = random.Random(f"{width} {stall}"), width // 8
    dut = made(WriteGate, sources=3, word_width=width)
    items = [words(rng, size, source, 30) for source in range(3)]
    passed = [
        [] if hold else items[0],
        *([item for item in source if inside(item, size) and not drop] for source in items[1:]),
    ]
    counts = Counts(dut)
    setup = {f"writable.{name}": value for name, value in WINDOW.items()} | {"drop": drop, "hold": hold}
    got, last = run_streams(
        dut, {f"i.{index}": source for index, source in enumerate(items)}, {"o": sum(map(len, passed))},
        stall=stall, seed=width, setup=setup, processes=[counts.watch], settle=300,
    )  # fmt: skip
    for source, want in enumerate(passed):
        assert [item for item in got["o"] if item["data"] >> 32 == source] == [item["write"] for item in want]
    assert counts.left == [sum(item["last"] for item in source) for source in items]
    outside = [item["entry"] for source in items[1:] for item in source if not inside(item, size)]
    assert sorted(counts.outside) == ([] if drop else sorted(outside))
    if stall == 0 and not drop and not hold:
        order = [item["data"] >> 32 for item in got["o"]]
        assert order == sorted(order), "the source of the lowest number goes first"
        assert last <= 90 + 10, "a word a cycle"


def test_reset():
    items = words(random.Random(5), 8, 0, 12)
    check_stream_reset(lambda: WriteGate(sources=2, word_width=64), {"i.0": items, "i.1": []}, {"o": 12})
