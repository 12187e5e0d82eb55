"""RowSource: every row once and in order, the most urgent first, joined rows after each other."""

import random

import pytest
from amaranth.hdl import Value

from hdl.fetch.row_source import RowSource
from hdl.spec.config import PRESETS
from hdl.spec.payloads import KEY, KEY_LSB, QUERY, VALUE
from sim.common.packing import unpack
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.row_model import load_name, local_row

CONFIG = PRESETS["tiny"]
SOURCES = ("query", "lsb", "gather", "bulk")  # the most urgent first
KINDS = {"query": QUERY, "lsb": KEY_LSB, "gather": VALUE, "bulk": KEY}


def random_inputs(rng, number, joined=0.5):
    def row(name, i):
        load = load_name(CONFIG, KINDS[name], rng.randrange(CONFIG.loads))
        return local_row(load, i % 8, i % 4, joined=name == "bulk" and i > 0 and rng.random() < joined)

    return {name: [row(name, i) for i in range(number)] for name in SOURCES}


def watch(dut, taken, throttle=0.0, seed=0):
    """Drives ``throttle``, and checks each row that is taken against the rules."""
    rng = random.Random(seed)

    async def run(ctx):
        draws = False  # the row taken last is of bulk, and was not drawn
        while True:
            throttled = rng.random() < throttle
            ctx.set(dut.throttle, throttled)
            signals = []
            for name in SOURCES:
                port = getattr(dut, name)
                signals += [port.valid, port.ready, Value.cast(port.payload)]
            _, _, *values = await ctx.tick().sample(*signals)
            offers = {name: values[3 * i : 3 * i + 3] for i, name in enumerate(SOURCES)}
            went = [name for name, (valid, ready, _) in offers.items() if valid and ready]
            if not went:
                continue
            (name,) = went
            row = unpack(dut.o.payload.shape(), offers[name][2])
            drawn = name == "bulk" and draws and row["joined"]
            waiting = [other for other in SOURCES if offers[other][0]]
            joined = offers["bulk"][0] and unpack(dut.o.payload.shape(), offers["bulk"][2])["joined"]
            if draws and joined:
                assert name == "bulk", "a joined row is drawn"
            else:
                assert name == waiting[0], "the most urgent row goes first"
                assert name != "bulk" or not throttled, "throttled"
            draws = name == "bulk" and not drawn
            taken.append(row)

    return run


@pytest.mark.parametrize("throttle", [0, 0.5])
@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_order(stall, throttle):
    inputs = random_inputs(random.Random(f"{stall} {throttle}"), 60)
    dut, taken = RowSource(CONFIG), []
    results, cycles = run_streams(dut, inputs, {"o": 240}, stall=stall, processes=[watch(dut, taken, throttle)], seed=1)
    assert results["o"] == taken
    for name, items in inputs.items():
        assert [row for row in taken if row["load"] >> CONFIG.load_width == KINDS[name]] == items
    assert stall or throttle or cycles <= 240 + RowSource.LATENCY, "a row a cycle"


def test_latency():
    rows = random_inputs(random.Random(0), 1)["query"]
    _, cycles = run_streams(made(RowSource, CONFIG), {"query": rows}, {"o": 1}, stall=0)
    assert cycles == RowSource.LATENCY


@pytest.mark.parametrize("stall", [0, 0.4])
def test_reset(stall):
    """The first row after a reset is drawn by none."""
    inputs = random_inputs(random.Random(2), 12, joined=0.9)
    inputs["bulk"][0]["joined"] = 1
    outputs = {"o": 48}
    check_stream_reset(
        lambda: RowSource(CONFIG),
        inputs,
        outputs,
        processes=lambda dut: [watch(dut, [], 0.3, seed=4)],
        stall=stall,
        resets=8,
    )
