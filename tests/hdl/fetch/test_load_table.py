"""LoadTable and its parts: commands of all kinds, the entries that they get, and when their loads start."""

import random
from collections import deque

import pytest
from amaranth.hdl import Value

from hdl.fetch.fetch_layouts import LSB_LOADS, load_info
from hdl.fetch.load_table import LoadChoice, LoadEntries, LoadTable
from hdl.spec.config import PRESETS
from hdl.spec.payloads import KEY, KEY_LSB, VALUE
from sim.common.packing import unpack
from tests.bench.fetch_configs import ODD, WIDE
from tests.bench.harness import check_reset, check_stream_reset, made, run_streams
from tests.bench.row_model import load_fields, load_name

CONFIGS = {"tiny": PRESETS["tiny"], "wide": WIDE, "odd": ODD}
KINDS = {"key": KEY, "key_lsb": KEY_LSB, "value": VALUE, "gather": VALUE}


def random_command(config, rng, name):
    """(command, entry of the table)"""
    dim, width = rng.choice(config.dims), rng.choice(config.plane_widths)
    pair = dim % config.lane_width == 0 and 2 * dim <= config.max_dim and rng.random() < 0.5
    base, skew = rng.randrange(1 << config.address_width), rng.randrange(config.num_channels)
    same = {
        "slot": rng.randrange(1 << config.slot_width),
        "seq": rng.randrange(1 << config.seq_width),
        "count": rng.randint(1, config.max_tokens),
        "repeat": rng.randrange(config.lanes),
        "pair_offset": rng.randrange(1 << config.slot_width),
        "shift": rng.choice((0, 4)),
    }
    listed, which = rng.randrange(2), rng.randrange(2)
    plane = {"base": base, "width": width, "dim": 2 * dim if pair else dim, "skew": skew}
    plane["log_slices"] = config.log_slices(dim)
    command = {"plane": plane, "pair": int(pair), "listed": listed, "list": which, **same}
    if name == "gather":
        same["repeat"] = 0
    fields = load_fields(
        config, dim=dim, width=width, pair=pair, base=base, skew=skew, listed=listed, which=which, **same
    )
    return command, fields


class Scene:
    """Commands for each port, and the loads that they start, which are complete after a while."""

    def __init__(self, config, rng, number):
        self.config, self.rng = config, rng
        drawn = {name: [random_command(config, rng, name) for _ in range(number)] for name in KINDS}
        self.inputs = {name: [command for command, _ in items] for name, items in drawn.items()}
        self.entries = {name: [fields for _, fields in items] for name, items in drawn.items()}
        self.outputs = {"start": 2 * number, "start_lsb": number, "gather_start": number}

    def processes(self, dut, *, delay=20, list_busy=0.3):
        """Lists that are written now and then, and the end of each load; checks every start."""
        config, rng = self.config, random.Random(self.rng.random())
        left = {name: deque(entries) for name, entries in self.entries.items()}
        flight = {kind: deque() for kind in (KEY, KEY_LSB, VALUE)}  # (name of the port, cycle of the end)
        number = {KEY: 0, KEY_LSB: 0, VALUE: 0}
        limits = {KEY: config.loads, KEY_LSB: LSB_LOADS, VALUE: config.loads}

        def begin(ctx, load, gather, busy_before, cycle):
            kind = load >> config.load_width
            candidates = [name for name, of in KINDS.items() if of == kind and (name == "gather") == gather]
            assert load == load_name(config, kind, number[kind] % limits[kind]), "entries are given in turn"
            number[kind] += 1
            fields = left[candidates[0]].popleft()
            entry = dut.info[kind * config.loads + load % config.loads]
            assert unpack(load_info(config), ctx.get(Value.cast(entry))) == fields
            assert gather or not fields["listed"] or not busy_before >> fields["list"] & 1, "its list is written"
            assert all(name == candidates[0] for name, _ in flight[kind]), "V loads and gathered rows do not mix"
            flight[kind].append((candidates[0], cycle + rng.randrange(delay)))
            assert len(flight[kind]) <= limits[kind]

        async def run(ctx):
            cycle = busy_before = 0
            while True:
                done = sum(1 << kind for kind, loads in flight.items() if loads and loads[0][1] <= cycle)
                busy = sum(1 << i for i in range(2) if rng.random() < list_busy)
                ctx.set(dut.done, done)
                ctx.set(dut.list_busy, busy)
                assert ctx.get(dut.busy) or not any(flight.values())
                for port in (dut.start, dut.start_lsb, dut.gather_start):
                    if ctx.get(port.valid) and ctx.get(port.ready):
                        payload = ctx.get(Value.cast(port.payload))
                        gather = port is dut.gather_start
                        load = payload if gather else unpack(port.payload.shape(), payload)["load"]
                        begin(ctx, load, gather, busy_before, cycle)
                await ctx.tick()
                for kind, loads in flight.items():
                    if done >> kind & 1:
                        loads.popleft()
                busy_before, cycle = busy, cycle + 1

        return [run]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.4])
def test_commands(name, stall):
    config = CONFIGS[name]
    scene = Scene(config, random.Random(f"{name} {stall}"), 12)
    dut = made(LoadTable, config)
    busy = []

    async def watch(ctx):
        while True:
            _, _, now = await ctx.tick().sample(dut.busy)
            busy.append(now)

    results, _ = run_streams(
        dut, scene.inputs, scene.outputs, stall=stall, settle=60, processes=[*scene.processes(dut), watch]
    )
    assert not busy[-1]
    skews = [command["plane"]["skew"] for command in scene.inputs["key_lsb"]]
    assert [start["skew"] for start in results["start_lsb"]] == skews


def test_latency():
    dut = made(LoadTable, WIDE)
    scene = Scene(WIDE, random.Random(1), 1)
    seen = {}

    async def watch(ctx):
        cycle = taken = 0
        while True:
            signals = (dut.key.valid, dut.key.ready, dut.start.valid)
            _, _, valid, ready, start = await ctx.tick().sample(*signals)
            if valid and ready:
                taken = cycle
            if start:
                seen[cycle] = taken
            cycle += 1

    run_streams(
        dut,
        {"key": scene.inputs["key"]},
        {"start": 1},
        stall=0,
        processes=[watch],
        setup={"list_busy": 0},
    )
    ((start, taken),) = seen.items()
    assert start - taken == LoadTable.LATENCY


def test_rate():
    """Commands of two kinds: one a cycle."""
    dut = made(LoadTable, WIDE)
    number = 20
    scene = Scene(WIDE, random.Random(1), number)
    _, cycles = run_streams(
        dut,
        {name: scene.inputs[name] for name in ("key", "value")},
        {"start": 2 * number},
        stall=0,
        processes=scene.processes(dut, delay=1, list_busy=0),
    )
    assert cycles <= 2 * number + LoadTable.LATENCY + 1


@pytest.mark.parametrize("stall", [0, 0.4])
def test_reset(stall):
    """No entry stays in use, the first one is given again, and no start of the first use comes."""
    scene = Scene(ODD, random.Random(3), 6)
    seed = random.Random(4)
    scene.rng = random.Random(5)

    def processes(dut):
        scene.rng = random.Random(5)
        return scene.processes(dut)

    check_stream_reset(
        lambda: LoadTable(ODD),
        scene.inputs,
        scene.outputs,
        processes=processes,
        stall=stall,
        seed=seed.randrange(100),
        resets=6,
    )


def test_choice():
    """LoadChoice: KEY_LSB before KEY before VALUE before gather, and not two of a kind in two cycles."""
    config = ODD
    scene = Scene(config, random.Random(1), 1)

    def prepare(dut):
        loads = []

        async def bench(ctx):
            for name in KINDS:
                port = getattr(dut, name)
                ctx.set(port.payload, scene.inputs[name][0])
                ctx.set(port.valid, 1)
            ctx.set(dut.take, 0)
            await ctx.tick().repeat(3)
            assert ctx.get(dut.valid) and not ctx.get(dut.busy)
            ctx.set(dut.take, 1)
            for cycle in range(16):
                load = ctx.get(dut.chosen.load) if ctx.get(dut.valid) else None
                loads.append((load, load is not None and ctx.get(dut.chosen.gather)))
                ctx.set(dut.done, 1 << VALUE if cycle == 12 else 0)
                await ctx.tick()
            lsb, key = load_name(config, KEY_LSB, 0), load_name(config, KEY, 0)
            value = load_name(config, VALUE, 0)
            assert [load for load, _ in loads[:6]] == [lsb, key, lsb + 1, key + 1, value, None]
            assert ctx.get(dut.busy)

        return bench, [], loads

    check_reset(lambda: LoadChoice(config), prepare, cycles=60, resets=6)


@pytest.mark.parametrize("lsb", [False, True])
def test_entries(lsb):
    def prepare(dut):
        seen = []

        async def bench(ctx):
            rng, used, number = random.Random(2), 0, 0
            limit = LSB_LOADS if lsb else WIDE.loads
            for _ in range(120):
                take, freed = used < limit and rng.random() < 0.6, used > 0 and rng.random() < 0.5
                ctx.set(dut.take, take)
                ctx.set(dut.freed, freed)
                seen.append((ctx.get(dut.index), ctx.get(dut.used)))
                assert seen[-1] == (number % limit, used)
                await ctx.tick()
                used, number = used + take - freed, number + take

        return bench, [], seen

    check_reset(lambda: LoadEntries(WIDE, lsb=lsb), prepare, cycles=200)
