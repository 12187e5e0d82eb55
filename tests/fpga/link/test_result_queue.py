import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.link import result_queue
from fpga.link.result_queue import CycleStamp, ResultQueue, byte_count, record_sizes, result_layouts
from fpga.spec.protocol import MAX_PAYLOAD, RESULT_STREAM
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack
from tests.bench.harness import Simulation, run_streams, simulate, wait

TINY = PRESETS["tiny"]
ALL = 0b1111


def random_items(rng, name, count):
    return [rng.getrandbits(result_layouts(TINY)[name].as_shape().width) for _ in range(count)]


class Packed(wiring.Component):
    """ResultQueue with plain bits on its streams, and with the cycle of every status."""

    def __init__(self, depth=ResultQueue.DEPTH):
        self.queue = ResultQueue(TINY)
        self.queue.DEPTH = depth
        self.names = {name: shape.as_shape().width for name, shape in result_layouts(TINY).items()}
        super().__init__(
            {
                **{name: In(stream.Signature(width)) for name, width in self.names.items()},
                "keep": In(len(self.names), init=ALL),
                "o": Out(stream.Signature(9)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        m.d.comb += [queue.keep.eq(self.keep), self.o.payload.eq(queue.o.payload.as_value())]
        m.d.comb += [self.o.valid.eq(queue.o.valid), queue.o.ready.eq(self.o.ready)]
        for name in self.names:
            port, inner = getattr(self, name), getattr(queue, name)
            m.d.comb += [inner.valid.eq(port.valid), inner.payload.eq(port.payload), port.ready.eq(inner.ready)]
        return m


def split(bytes9):
    """Records, each (stream's name, item, stamp or None), out of bytes with their ``last``."""
    records, record = [], b""
    names = {number: name for name, number in RESULT_STREAM.items()}
    for bits in bytes9:
        record += bytes((bits & 0xFF,))
        if bits >> 8:
            name = names[record[0]]
            assert len(record) == record_sizes(TINY)[record[0]]
            size = byte_count(result_layouts(TINY)[name])
            stamp = int.from_bytes(record[1 + size :], "little") if name == "status" else None
            records.append((name, int.from_bytes(record[1 : 1 + size], "little"), stamp))
            record = b""
    assert not record
    return records


def note_transfers(dut, log):
    """(name, item, cycle since reset) of everything that the core gives, in order; a status last in its cycle."""

    async def run(ctx):
        cycle = 0
        while True:
            values = []
            for name in ("out", "prob", "survivor", "status"):
                values += [getattr(dut, name).valid, getattr(dut, name).ready, getattr(dut, name).payload]
            _, _, *values = await ctx.tick().sample(*values)
            for index, name in enumerate(("out", "prob", "survivor", "status")):
                valid, ready, payload = values[3 * index : 3 * index + 3]
                if valid and ready:
                    log.append((name, payload, cycle))
            cycle += 1

    return run


@pytest.mark.parametrize(("stall", "seed"), [(0, 0), (0.3, 1), (0.8, 2)])
def test_records(stall, seed):
    """Every item once, whole, in the order of its stream; a status behind all that was given before it, stamped."""
    rng, dut, log = random.Random(seed), Packed(), []
    items = {name: random_items(rng, name, count) for name, count in zip(dut.names, (25, 20, 12, 9), strict=True)}
    total = sum(record_sizes(TINY)[RESULT_STREAM[name]] * len(some) for name, some in items.items())
    results, _ = run_streams(dut, items, {"o": total}, stall=stall, seed=seed, processes=[note_transfers(dut, log)])
    records = split(results["o"])
    for name, some in items.items():
        assert [item for which, item, _ in records if which == name] == some
    assert [(item, stamp) for name, item, stamp in records if name == "status"] == [
        (item, cycle) for name, item, cycle in log if name == "status"
    ]
    for place, (name, item, cycle) in enumerate(log):
        if name == "status":
            before = {(which, what) for which, what, _ in log[:place]}
            found = next(index for index, record in enumerate(records) if record == (name, item, cycle))
            assert before <= {record[:2] for record in records[:found]}


def test_dropped_streams_run_at_full_speed():
    """Without their bits out and prob take an item a cycle; a status is kept all the same."""
    rng, dut, log = random.Random(7), Packed(), []
    items = {name: random_items(rng, name, 60) for name in ("out", "prob", "survivor")}
    items["status"] = random_items(rng, "status", 3)
    results, _ = run_streams(
        dut,
        items,
        {"o": 3 * record_sizes(TINY)[RESULT_STREAM["status"]]},
        stall=0,
        setup={"keep": 0},
        settle=100,
        processes=[note_transfers(dut, log)],
    )
    assert [item for _, item, _ in split(results["o"])] == items["status"]
    for name in ("out", "prob", "survivor"):
        cycles = [cycle for which, _, cycle in log if which == name]
        assert len(cycles) == 60
        # The bench itself is a cycle late with the first.
        assert cycles[-1] - cycles[1] == 58


@pytest.mark.parametrize("depth", [64, ResultQueue.DEPTH])
def test_full_queue_holds_the_core_back(depth):
    """While nobody pulls, the core is stopped after about ``depth`` bytes; then everything comes, nothing is lost."""
    rng, dut = random.Random(8), Packed(depth)
    size = record_sizes(TINY)[RESULT_STREAM["out"]]
    items = random_items(rng, "out", depth // size + 20)
    taken, received = [], []

    async def core(ctx):
        for item in items:
            ctx.set(dut.out.payload, item)
            ctx.set(dut.out.valid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.out.ready)
            taken.append(item)
        ctx.set(dut.out.valid, 0)

    async def host(ctx):
        await wait(ctx, 2 * depth + 200)
        stuck = len(taken)
        assert depth // size <= stuck <= depth // size + 3
        assert ctx.get(dut.o.valid)
        ctx.set(dut.o.ready, 1)
        while len(received) < size * len(items):
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                received.append(byte)

    simulate(dut, host, core, cycles=10 * depth + 5000)
    assert [item for _, item, _ in split(received)] == items


def test_only_whole_records_are_offered():
    """The first byte of a record waits for the last."""
    dut = Packed(depth=16)  # less than a record of out, which can never be whole
    seen = []

    async def core(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.out.valid, 1)
        for _ in range(100):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            seen.append(valid)

    simulate(dut, core, cycles=200)
    assert record_sizes(TINY)[RESULT_STREAM["out"]] > 16
    assert not any(seen)


def test_stamp_carries():
    """The upper half counts in the same cycle in which the lower wraps."""

    class Short(CycleStamp):
        LOW, HIGH = 3, 4

    dut, seen = Short(), []

    async def bench(ctx):
        for _ in range(200):
            _, _, cycle = await ctx.tick().sample(dut.cycle)
            seen.append(cycle)

    simulator = Simulation(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [cycle % 128 for cycle in range(200)]


def test_record_sizes():
    sizes = record_sizes(TINY)
    shapes = result_layouts(TINY)
    assert sizes == [
        1 + byte_count(shapes["out"]),
        1 + byte_count(shapes["prob"]),
        12,
        1 + byte_count(shapes["survivor"]),
    ]
    assert pack(shapes["status"], {"job_id": 0x1234, "code": 5}) == 0x51234


def test_constructor_error(monkeypatch):
    """The largest record of any configuration fits today's frames; a link of shorter ones tells what does not."""
    assert max(record_sizes(Config(num_multipliers=4096, lanes=256, topk_parallelism=256))) <= MAX_PAYLOAD
    monkeypatch.setattr(result_queue, "MAX_PAYLOAD", 16)
    with pytest.raises(ValueError, match=r"a record of out must be at most 16 bytes for the link, not \d\d"):
        ResultQueue(TINY)
