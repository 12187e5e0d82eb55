"""SliceAssembler and its parts: slices of rows of all shapes, cut out of the words of a channel."""

import random

import pytest
from amaranth.hdl import Value

from hdl.fetch.fetch_layouts import units_per_word
from hdl.fetch.slice_assembler import RowCutter, SliceAssembler, SliceSteps
from hdl.spec.config import PRESETS
from hdl.spec.payloads import KEY
from tests.bench.fetch_configs import BROAD, ODD, SINGLE, WIDE
from tests.bench.harness import check_reset, check_stream_reset, made, run_streams
from tests.bench.row_model import cut_slices, load_fields, load_name, local_row, requested, table_word
from tests.hdl.fetch.test_row_issuer import random_rows, random_table

CONFIGS = {"tiny": PRESETS["tiny"], "wide": WIDE, "odd": ODD, "broad": BROAD, "single": SINGLE}
SLOT = ("load", "position", "offset", "reuse", "repeated", "short", "whole", "end")


class Scene:
    """Rows of a channel and their words: what the assembler gets, and what it shall give."""

    def __init__(self, config, rng, table, rows):
        self.config, self.table = config, table
        size = 1 + max(info["base"] + 128 * info["row_units"] for info in table.values())
        memory = [rng.getrandbits(config.channel_width) for _ in range(size)]
        addresses, slots = requested(config, table, rows)
        self.words = [memory[address] for address in addresses]
        self.slots = [{name: slot.get(name, rng.randrange(2)) for name in SLOT} for slot in slots]
        self.slices = cut_slices(config, table, rows, memory)

    def processes(self, rng, stall):
        """The table, and room for slices in random cycles; slices leave only then, and come two cycles later."""

        def start(dut):
            async def run(ctx):
                ctx.set(Value.cast(dut.table), table_word(self.config, self.table))
                fired = [0, 0]
                while True:
                    room = stall == 0 or rng.random() >= stall
                    ctx.set(dut.room, room)
                    _, _, now, valid = await ctx.tick().sample(dut.fired, dut.o.valid)
                    assert room or not now, "a slice leaves without room"
                    assert valid == fired.pop(0), "two cycles from the ring to the output"
                    fired.append(now)

            return [run]

        return start

    def check(self, found):
        for item, expected in zip(found, self.slices, strict=True):
            tag = item.pop("tag")
            expected = dict(expected)
            if not expected["end"]:
                item["raw"] &= (1 << expected.pop("bits")) - 1
                item["width"] = [item["width"] >> i & 1 for i in range(len(self.config.plane_widths))]
            assert {name: (item | tag)[name] for name in expected} == expected


def random_scene(name, stall, loads=6):
    rng = random.Random(f"{name} {stall}")
    table = random_table(CONFIGS[name], rng)
    for info in table.values():
        info["base"] %= 64
    return rng, Scene(CONFIGS[name], rng, table, random_rows(CONFIGS[name], rng, table, loads))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3])
def test_slices(name, stall):
    rng, scene = random_scene(name, stall)
    dut = made(SliceAssembler, scene.config)
    results, cycles = run_streams(
        dut,
        {"row": scene.slots, "word": scene.words},
        {"o": len(scene.slices)},
        stall=stall,
        processes=scene.processes(rng, stall)(dut),
    )
    scene.check(results["o"])
    # A word a cycle, or a slice a cycle: here whichever of them takes longer at any time, so less than their sum.
    assert stall or cycles <= len(scene.slices) + len(scene.words) + SliceAssembler.LATENCY


def test_latency_and_rate():
    """A slice a cycle if its word is there, LATENCY cycles after its row."""
    config = PRESETS["tiny"]
    load, width = load_name(config, KEY, 0), 4
    table = {load: load_fields(config, dim=config.dims[0], width=width, count=64)}
    rows = [local_row(load, i, i) for i in range(32)]
    rng = random.Random(0)
    scene = Scene(config, rng, table, rows)
    assert len(scene.slices) >= len(scene.words)
    dut = made(SliceAssembler, config)
    _, cycles = run_streams(
        dut,
        {"row": scene.slots, "word": scene.words},
        {"o": len(scene.slices)},
        stall=0,
        processes=scene.processes(rng, 0)(dut),
    )
    assert cycles == len(scene.slices) - 1 + SliceAssembler.LATENCY


@pytest.mark.parametrize("stall", [0, 0.3])
def test_reset(stall):
    """The ring holds one word that no row shares, as after a row; no slice of the first use comes."""
    _, scene = random_scene("odd", stall, loads=3)
    check_stream_reset(
        lambda: SliceAssembler(scene.config),
        {"row": scene.slots, "word": scene.words},
        {"o": len(scene.slices)},
        processes=lambda dut: scene.processes(random.Random(5), stall)(dut),
        stall=stall,
        resets=5,
    )


@pytest.mark.parametrize("stall", [0, 0.4])
def test_cuts(stall):
    """RowCutter alone: a slice a cycle with its tag; its words add up to those of the rows."""
    _, scene = random_scene("odd", stall)
    config = scene.config

    def processes(dut):
        async def run(ctx):
            ctx.set(Value.cast(dut.table), table_word(config, scene.table))

        return [run]

    dut = made(RowCutter, config)
    results, cycles = run_streams(
        dut, {"row": scene.slots}, {"o": len(scene.slices)}, stall=stall, processes=processes(dut)
    )
    cuts = results["o"]
    for cut, expected in zip(cuts, scene.slices, strict=True):
        names = ("load", "mark", "units", "end") if expected["end"] else ("load", "mark", "units", "low", "row_last")
        assert {name: cut["tag"][name] for name in names} == {name: expected[name] for name in names}
        assert cut["free"] <= cut["need"] or expected["end"]
    # Every word leaves the ring but the last one, which stays as a word that may be shared.
    assert sum(cut["free"] for cut in cuts) == len(scene.words)
    assert stall or cycles <= len(cuts) + RowCutter.LATENCY
    check_stream_reset(
        lambda: RowCutter(config), {"row": scene.slots}, {"o": len(cuts)}, processes=processes, stall=stall
    )


def test_steps():
    """SliceSteps alone: slices of a pair's row, each sent twice; then, after a reset, once more from the beginning."""
    config = ODD
    info = load_fields(config, dim=16, width=6, pair=True, count=5)
    per_half = info["last_slice"] + 1
    sequence = [(half, j, again) for half in range(2) for j in range(per_half) for again in range(2)]

    def prepare(dut):
        seen = []

        async def bench(ctx):
            ctx.set(dut.info, info)
            ctx.set(dut.repeated, 1)
            ctx.set(dut.short, per_half == 1)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while True:
                names = ("second", "index", "again", "begun", "tail", "last", "done", "step")
                seen.append((*(ctx.get(getattr(dut, name)) for name in names), ctx.get(dut.offset)))
                ctx.set(dut.next, 1)
                if ctx.get(dut.done):
                    break
                await ctx.tick()
                ctx.set(dut.next, 0)
                await ctx.tick()
            per_word = units_per_word(config)
            unit = 0
            for (half, j, again), found in zip(sequence, seen, strict=True):
                tail = j == per_half - 1
                last, begun = tail and half == 1, (half, j, again) != (0, 0, 0)
                flags = (half, j, again, begun, tail, last, last and again, again, unit % per_word)
                assert found == tuple(map(int, flags))
                unit += again * info["tail_units" if tail else "full_units"]

        return bench, [], seen

    check_reset(lambda: SliceSteps(config), prepare, cycles=100, resets=6)
