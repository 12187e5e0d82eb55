"""The harness itself: what it must find in a block that breaks a rule (tests/bench/harness.py)."""

import contextlib
import re
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tests.bench.harness import (
    ProtocolError,
    check_reset,
    check_stream_reset,
    give,
    monitor,
    run_streams,
    simulate,
    take,
    wait,
)


class Register(wiring.Component):
    """One item deep; ``fault`` breaks one rule."""

    def __init__(self, fault=None):
        self.fault = fault
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        full, count = Signal(reset_less=self.fault == "not reset"), Signal(8)
        total = Signal(8, reset_less=self.fault == "no result reset")
        payload = Signal(8, reset_less=True)
        m.d.comb += [
            self.o.payload.eq(payload + count if self.fault == "payload changes" else payload),
            self.o.valid.eq({"waits": full & self.o.ready, "falls": full & ~count[1]}.get(self.fault, full)),
            self.i.ready.eq(~full if self.fault != "stuck" else 0),
        ]
        if self.fault == "waits a cycle":
            seen = Signal()
            m.d.sync += seen.eq(self.o.ready)
            m.d.comb += self.o.valid.eq(full & seen)
        m.d.sync += count.eq(count + 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [full.eq(1), payload.eq(self.i.payload + total), total.eq(total + 1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += full.eq(0)
        return m


ITEMS = [5, 7, 9, 11, 13, 15, 17, 19]
SUMS = [item + i for i, item in enumerate(ITEMS)]


def test_every_simulation_has_a_watchdog():
    """Tests simulate with ``Simulation``, ``simulate`` or ``run_streams``, not with Amaranth's simulator itself.

    But for the engine on which all simulate, its test, whose bench counts cycles, and the test of mutants, which are
    chosen by initial values and run for a fixed number of cycles.
    """
    root = Path(__file__).parents[1]
    bare = [
        path for path in root.rglob("*.py") if re.search(r"^\s*(from|import) amaranth\.sim\b", path.read_text(), re.M)
    ]
    allowed = {
        f"bench/{name}.py"
        for name in ("simulation", "quick_code", "quick_context", "quick_engine", "test_quick_engine")
    } | {"mutation/test_mutants.py"}
    assert {str(path.relative_to(root)) for path in bare} == allowed


async def idle(ctx):
    await wait(ctx, 7)


@pytest.mark.parametrize("shy", [None, 0, 1])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_items(stall, shy):
    results, _ = run_streams(Register(), {"i": ITEMS}, {"o": len(ITEMS)}, stall=stall, shy=shy)
    assert results["o"] == SUMS


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("payload changes", "o: payload changed before ready"),
        ("falls", "o: valid fell before ready"),
        ("waits", "o: valid waits for ready"),
        ("waits a cycle", "o: valid waits for ready"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_protocol(fault, message, seed):
    with pytest.raises(ProtocolError, match=message):
        run_streams(Register(fault), {"i": ITEMS}, {"o": len(ITEMS)}, stall=0.5, shy=1, seed=seed, watchdog=60)


@pytest.mark.parametrize(
    ("fault", "message"),
    [("payload changes", "output: payload changed before ready"), ("falls", "output: valid fell before ready")],
)
def test_monitor(fault, message):
    """It watches a port that another process takes from, and has nothing to say of a good block."""

    async def bench(ctx, dut):
        for item, result in zip(ITEMS, SUMS, strict=True):
            await give(ctx, dut.i, item)
            await wait(ctx, 4)
            assert await take(ctx, dut.o) == result

    for dut in (Register(), Register(fault)):
        with pytest.raises(ProtocolError, match=message) if dut.fault else contextlib.nullcontext():
            simulate(dut, lambda ctx, dut=dut: bench(ctx, dut), monitor(dut.o, "output"), cycles=100)


@pytest.mark.parametrize("shy", [None, 1])
def test_watchdog(shy):
    with pytest.raises(AssertionError, match=r"watchdog: no transfer for 60 cycles; outputs \{'o': '0/8'\}"):
        run_streams(Register("stuck"), {"i": ITEMS}, {"o": 8}, shy=shy, watchdog=60)


def test_simulation_has_an_end():
    dut = Register("stuck")

    async def bench(ctx):
        await give(ctx, dut.i, 1)

    with pytest.raises(AssertionError, match="watchdog: not over after 40 cycles"):
        simulate(dut, bench, cycles=40)
    assert simulate(dut, idle, cycles=40) == 7


@pytest.mark.parametrize("stall", [0, 0.3])
def test_reset(stall):
    check_stream_reset(Register, {"i": ITEMS}, {"o": len(ITEMS)}, stall=stall, resets=8)
    for fault in ("not reset", "no result reset"):
        with pytest.raises(AssertionError, match="after a reset in cycle"):
            check_stream_reset(lambda fault=fault: Register(fault), {"i": ITEMS}, {"o": 8}, stall=stall, resets=8)


def test_reset_of_a_bench():
    """The second use is compared with a fresh block's, not with the first; processes are cut off wherever they wait."""

    def prepare(dut):
        items = []

        async def bench(ctx):
            for item in ITEMS:
                await give(ctx, dut.i, item)
                await ctx.tick().repeat(2)
                items.append(await take(ctx, dut.o))

        return bench, [], items

    check_reset(Register, prepare, cycles=100, resets=8)
    with pytest.raises(AssertionError, match="after a reset in cycle"):
        check_reset(lambda: Register("no result reset"), prepare, cycles=100, resets=8)
    with pytest.raises(AssertionError, match="a use without results shows nothing"):
        check_reset(Register, lambda dut: (idle, [], []), cycles=100)
