"""ReadyCount: nothing is called ready that is not written, and everything is in the end."""

import random

import pytest
from amaranth.hdl import Value

from hdl.fetch.crossbar import SliceCrossbar
from hdl.fetch.ready_count import ReadyCount
from hdl.spec.config import PRESETS
from hdl.spec.payloads import KEY, KEY_LSB, VALUE
from sim.common.packing import pack
from tests.bench.fetch_configs import ODD, WIDE
from tests.bench.harness import check_reset, made, simulate, wait
from tests.bench.row_model import load_name

CONFIGS = {"one_queue": PRESETS["ulx3s"], "tiny": PRESETS["tiny"], "odd": ODD, "wide": WIDE}
KINDS = (KEY, KEY_LSB, VALUE)


def tag(config, load, mark, *, row_last=0, end=0):
    fields = {"load": load, "mark": mark % (1 << config.seq_width), "slot": 0, "units": 0, "low": 1}
    return {**fields, "row_last": row_last, "end": end}


class Scene:
    """Slices and end marks in each queue: (kind, number of the load, position or None, tag).

    A row lies in one or two of the queues; its last slice is in the last of them.
    """

    def __init__(self, config, rng, loads):
        self.config, self.rng = config, rng
        self.queues = [[] for _ in range(SliceCrossbar.num_heads(config))]
        self.rows = {kind: [] for kind in KINDS}  # queues of each sequence number
        self.loads = dict.fromkeys(KINDS, 0)
        for _ in range(loads):
            self.add_load(rng.choice(KINDS))

    def add_load(self, kind):
        config, rng = self.config, self.rng
        load = load_name(config, kind, self.loads[kind] % config.loads)
        for _ in range(rng.randint(1, 7)):
            seq = len(self.rows[kind])
            places = rng.sample(range(len(self.queues)), min(len(self.queues), rng.choice((1, 1, 2))))
            for place in places:
                item = tag(config, load, seq, row_last=int(place == places[-1]))
                self.queues[place].append((kind, self.loads[kind], seq, item))
            self.rows[kind].append(places)
        for queue in self.queues:
            item = tag(config, load, len(self.rows[kind]), row_last=1, end=1)
            queue.append((kind, self.loads[kind], None, item))
        self.loads[kind] += 1

    def bench(self, dut, trace, stall):
        """Each queue shows its slices at a pace of its own; checks the counts in every cycle."""
        size = 1 << self.config.seq_width
        taken = {kind: [set() for _ in self.rows[kind]] for kind in KINDS}  # queues of a row that were accepted
        ends = {kind: [0] * len(self.queues) for kind in KINDS}
        done = dict.fromkeys(KINDS, 0)
        ready = {KEY: 0, VALUE: 0}

        def written(kind):
            """Rows before the first one that is not in the buffer."""
            complete = [len(queues) == len(self.rows[kind][i]) for i, queues in enumerate(taken[kind])]
            return complete.index(False) if False in complete else len(complete)

        def check(ctx):
            for kind, port in ((KEY, dut.key_ready), (VALUE, dut.value_ready)):
                steps = (ctx.get(port) - ready[kind]) % size
                assert steps < size // 2, "ready only rises"
                ready[kind] += steps
                assert ready[kind] <= written(kind), "ready, but not written"
            pulses = ctx.get(dut.done)
            for kind in KINDS:
                done[kind] += pulses >> kind & 1
                assert done[kind] <= min(ends[kind]), "complete, but not ended in all queues"
            trace.append((*ready.values(), *done.values()))

        async def bench(ctx):
            left = [list(queue) for queue in self.queues]
            rng = random.Random(self.loads[KEY])
            quiet = 0
            while quiet < 2 + ReadyCount.latency(self.config):
                accepted = []
                for number, queue in enumerate(left):
                    head = dut.heads[number]
                    # At most ``loads`` of a kind are in progress.
                    begun = bool(queue) and queue[0][1] < done[queue[0][0]] + self.config.loads
                    shown = begun and (stall == 0 or rng.random() >= stall / 2)
                    goes = shown and (stall == 0 or rng.random() >= stall)
                    ctx.set(head.valid, shown)
                    if shown:
                        item = {"tag": queue[0][3], "accepted": int(goes)}
                        ctx.set(Value.cast(head.payload), pack(head.payload.shape(), item))
                    if goes:
                        accepted.append((number, queue.pop(0)))
                check(ctx)
                await ctx.tick()
                for number, (kind, _, seq, _) in accepted:
                    if seq is None:
                        ends[kind][number] += 1
                    else:
                        taken[kind][seq].add(number)
                quiet = 0 if any(left) else quiet + 1
            check(ctx)
            assert done == self.loads
            assert ready == {kind: len(self.rows[kind]) for kind in ready}

        return bench


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.5, 0.8])
def test_ready_and_done(name, stall):
    config = CONFIGS[name]
    scene = Scene(config, random.Random(f"{name} {stall}"), 24)
    dut = made(ReadyCount, config)
    simulate(dut, scene.bench(dut, [], stall), cycles=5000)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    """From the last slice at the head of its queue to ``key_ready``, and from the last end mark to ``done``."""
    config = CONFIGS[name]
    dut = made(ReadyCount, config)

    async def bench(ctx):
        load = load_name(config, KEY, 0)
        for head in dut.heads:
            ctx.set(head.valid, 1)
            item = {"tag": tag(config, load, 3, row_last=1, end=1), "accepted": 1}
            ctx.set(Value.cast(head.payload), pack(head.payload.shape(), item))
        for cycle in range(ReadyCount.latency(config) + 3):
            assert ctx.get(dut.key_ready) == (3 if cycle >= ReadyCount.latency(config) else 0)
            assert ctx.get(dut.done) == (1 << KEY if cycle == 1 else 0)
            await ctx.tick()
            for head in dut.heads:
                ctx.set(head.valid, 0)
        await wait(ctx, 1)

    simulate(dut, bench, cycles=100)


@pytest.mark.parametrize("name", ["tiny", "odd"])
def test_reset(name):
    """Numbers begin with 0 again, and no end of the first use counts."""
    config = CONFIGS[name]
    scene = Scene(config, random.Random(9), 10)

    def prepare(dut):
        trace = []
        return scene.bench(dut, trace, 0.5), [], trace

    check_reset(lambda: ReadyCount(config), prepare, cycles=3000, resets=6)
