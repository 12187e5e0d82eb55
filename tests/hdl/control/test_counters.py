"""Counters: sums and clear; and their wires at the top, each counter of real runs against an independent count."""

import bisect
import random
from collections import deque

import pytest
from amaranth.hdl import Value

import hdl.spatten
from golden.layers.job import run_job
from hdl.control.counters import Counters
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.engine.pysim import PysimEngine
from sim.engine.timing import MemoryTiming
from sim.transport.memory import MemoryImage
from sim.transport.pack import pack_jobs
from sim.transport.words import Unpacker
from tests.bench.harness import Simulation, made
from tests.bench.jobs import random_jobs, random_layers

TINY = PRESETS["tiny"]
STALLS = MemoryTiming(latency=7, stall=0.3, skew=9, host_stall=0.3)
QK_STALLS = ("qk_stall_query", "qk_stall_key", "qk_stall_out")
PV_STALLS = ("pv_stall_line", "pv_stall_value", "pv_stall_out")
PLANES = ("query", "key", "key_lsb", "value")


def test_counts_and_clears():
    dut = made(Counters, PRESETS["paper"])
    sim = Simulation(dut)
    sim.add_clock(1e-6)

    async def bench(ctx):
        ctx.set(dut.events.qk_useful, 8)
        ctx.set(dut.events.flat_rows, 1)
        await ctx.tick().repeat(5 - 1 + dut.LATENCY)
        assert ctx.get(dut.values.qk_useful) == 40
        assert ctx.get(dut.values.flat_rows) == 5
        assert ctx.get(dut.values.rows) == 0
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick().repeat(dut.LATENCY - 1)
        assert ctx.get(dut.values.qk_useful) == 0
        await ctx.tick()
        assert ctx.get(dut.values.qk_useful) == 8, "the event of the cycle after clear counts"

    sim.add_testbench(bench)
    sim.run()


class Watched(PysimEngine):
    """The simulator with a second pair of eyes: counts what happens at the ports of the blocks, cycle by cycle.

    counts: what was counted up to the cycle whose events the counters tell at the end of a run.
    """

    BLOCKS = ("JobChecker", "LayerWalker", "Controller", "CascadeSelect", "QKMultiply", "ValuePruner", "ProbTimesV")

    def __init__(self, *args, monkeypatch, **options):
        super().__init__(*args, record_addresses=True, **options)
        self.blocks = {}
        for name in self.BLOCKS:
            monkeypatch.setattr(hdl.spatten, name, self._caught(name, getattr(hdl.spatten, name)))

    def _caught(self, name, make):
        def caught(*args, **options):
            self.blocks[name] = make(*args, **options)
            return self.blocks[name]

        return caught

    def _reset(self):
        machine = super()._reset()
        machine.simulator.add_testbench(self._watch, background=True)
        return machine

    def _ports(self):
        """Name -> value that is read in every cycle."""
        checker, walker, controller, select, qk, pruner, pv = (self.blocks[name] for name in self.BLOCKS)
        streams = {
            "accepted": checker.accepted,
            "answered": controller.status,
            "layer": walker.layer,
            "layer_answered": walker.status,
            "select": select.command,
        }
        return {
            **{name: stream.valid & stream.ready for name, stream in streams.items()},
            "clear": self._machine.top.counters_clear,
            "layer_done": controller.layer_done,
            "select_done": select.done,
            "qk_beats": qk.read.en,  # a beat reads a window of the K buffer
            "qk_stall_query": qk.stall_query,
            "qk_stall_key": qk.stall_key,
            "qk_stall_out": qk.stall_out,
            "pv_beats": pv.read.en,  # a beat reads a window of the V buffer
            "pv_stall_line": pv.stall_line,
            "pv_stall_value": pv.stall_value,
            "pv_stall_out": pv.stall_out,
            "topk_busy": pruner.topk_busy,
            "prune_stall_topk": pruner.stall_topk,
        }

    async def _watch(self, ctx):
        ports = self._ports()
        counted = [name for name in ports if name.startswith(("qk", "pv", "topk", "prune"))]
        counts = dict.fromkeys((*counted, "all", "cycles", "select_cycles"), 0)
        past = deque(maxlen=Counters.LATENCY)
        jobs = layers = selections = 0  # at work
        while True:
            _, _, *values = await ctx.tick().sample(*(Value.cast(port) for port in ports.values()))
            now = dict(zip(ports, values, strict=True))
            if now["clear"]:
                counts = dict.fromkeys(counts, 0)
            else:
                counts = {name: count + now.get(name, 0) for name, count in counts.items()}
                counts["all"] += 1
                counts["cycles"] += jobs + layers > 0
                counts["select_cycles"] += selections > 0
            jobs += now["accepted"] - now["answered"] - now["layer_done"]
            layers += now["layer"] - now["layer_answered"]
            selections += now["select"] - now["select_done"]
            past.append(counts)
            self.counts = past[0]


def passes_of(jobs, flats):
    """(job, keys that the row attends) of every row that was computed, flat ones twice."""
    for job, flat in zip(jobs, flats, strict=True):
        queries = job.rows // job.group
        for row, again in enumerate(flat.tolist()):
            keys = job.num_keys - queries + row % queries + 1 if job.causal else job.num_keys
            yield from [(job, keys)] * (1 + again)


def words_by_plane(jobs, addresses, config):
    """Words read of each kind of plane: an address belongs to the plane that begins last before it."""
    items = Unpacker(payloads.job_descriptor(config), pack_jobs(jobs, config, MemoryImage(config))["job"])
    begins = sorted((int(base), plane) for plane in PLANES for base in items[f"{plane}_base"])
    words = dict.fromkeys(PLANES, 0)
    for address in (address for channel in addresses for address in channel.tolist()):
        words[begins[bisect.bisect_right(begins, (address, "~")) - 1][1]] += 1
    return words


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
def test_counters_of_jobs(timing, monkeypatch):
    """Flat rows, pairs, pruned rows, all kinds of jobs, and one that is refused."""
    rng = random.Random(12)
    jobs = random_jobs(TINY, rng, 8, max_keys=14, queries=3, threshold=0.6, split=(6, 4), listed=False)
    refused = next(index for index, job in enumerate(jobs) if not job.pair)
    with Watched(TINY, timing=timing, monkeypatch=monkeypatch) as engine:
        run = engine.run(jobs, overrides={refused: {"dim": 20}}, allow_refused=True)
        counts = engine.counts
    done = [job for index, job in enumerate(jobs) if index != refused]
    passes = list(passes_of(done, [run_job(job, TINY).flat for job in done]))
    assert len(passes) > sum(job.rows for job in done), "no row is flat"
    assert any(job.value_keep < keys for job, keys in passes), "no row is pruned"
    words = words_by_plane(jobs, run.addresses, TINY)
    assert all(words.values()), "a plane is not read"
    expected = {
        # from the jobs and golden
        "jobs": len(done),
        "jobs_refused": 1,
        "layers": 0,
        "rows": sum(job.rows for job in done),
        "flat_rows": len(passes) - sum(job.rows for job in done),
        "qk_useful": sum(keys for _, keys in passes),
        "topk_rows": sum(job.value_keep < keys for job, keys in passes),
        # from the addresses that the memory saw
        **{f"{plane}_words": words[plane] for plane in PLANES},
        # from handshakes: jobs between checker and answer, windows read from the K and the V buffer
        **{name: counts[name] for name in ("cycles", "select_cycles", "qk_beats", "pv_beats")},
        # of the ports of the blocks
        **{name: counts[name] for name in (*QK_STALLS, *PV_STALLS, "prune_stall_topk", "topk_busy")},
    }
    assert run.counters == expected
    assert_cycles_add_up(run.counters, counts)


def assert_cycles_add_up(counters, counts):
    """In each cycle an array has a beat, or waits for one thing."""
    assert counters["qk_beats"] + sum(counters[name] for name in QK_STALLS) == counts["all"]
    assert counters["pv_beats"] + sum(counters[name] for name in PV_STALLS) == counts["all"]


def test_counters_of_layers(monkeypatch):
    """Jobs that the layer walker makes, and selections."""
    layers, results, selections = random_layers(TINY, random.Random(4), 4, tokens=8, dim=16)
    with Watched(TINY, monkeypatch=monkeypatch) as engine:
        run = engine.run_layers(layers)
        counts = engine.counts
    jobs = [job for layer in layers for job in layer.jobs]
    passes = list(passes_of(jobs, [result.flat for layer in results for result in layer]))
    assert jobs and any(selections)
    counters = run.counters
    expected = {
        "jobs": len(jobs),
        "jobs_refused": 0,
        "layers": len(layers),
        "rows": sum(job.rows for job in jobs),
        "flat_rows": len(passes) - sum(job.rows for job in jobs),
        "qk_useful": sum(keys for _, keys in passes),
        "topk_rows": sum(job.value_keep < keys for job, keys in passes),
        **{name: counts[name] for name in ("cycles", "select_cycles", "qk_beats", "pv_beats")},
        **{name: counts[name] for name in (*QK_STALLS, *PV_STALLS, "prune_stall_topk", "topk_busy")},
    }
    assert {name: counters[name] for name in expected} == expected
    assert counters["select_cycles"] > 0
    assert sum(counters[f"{plane}_words"] for plane in PLANES) == sum(len(channel) for channel in run.addresses)
    assert_cycles_add_up(counters, counts)
