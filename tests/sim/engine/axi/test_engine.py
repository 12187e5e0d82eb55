"""The AXI top on Verilator against golden: jobs and layers as commands in memory, with stalls on every bus."""

import dataclasses
import random

import pytest
import torch

from golden.layers.job import JobOutputs, run_job
from hdl.spec.config import PRESETS
from sim.engine.axi.engine import AxiEngine
from sim.engine.engine import EngineError
from sim.engine.timing import MemoryTiming
from sim.engine.verilator import available
from sim.transport.device import Device
from sim.transport.queue import Queue
from tests.bench.jobs import random_job, random_jobs, random_layers

TINY = PRESETS["tiny"]
STALLS = MemoryTiming(latency=7, stall=0.3, skew=9, host_stall=0.3, seed=5)
HBM2 = MemoryTiming(mode="hbm2")

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler, make or perl for Verilator")


@pytest.fixture(scope="module")
def engine():
    with AxiEngine(TINY) as made:
        yield made


def assert_layers_equal(run, results, selections):
    assert run.statuses == [0] * len(results)
    for index, (want, selection) in enumerate(zip(results, selections, strict=True)):
        for got, each in zip(run.results[index], want, strict=True):
            assert torch.equal(got.out, each.out), index
        told = run.selections[index]
        if selection is None:
            assert told is None
            continue
        survivors = selection.survivors()
        assert torch.equal(told.ids, survivors.ids) and torch.equal(told.importance, survivors.importance), index
        assert told.head_ids == survivors.head_ids, index
        assert torch.equal(told.head_importance, survivors.head_importance), index


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS, HBM2], ids=["ideal", "stalls", "hbm2"])
def test_random_jobs(timing):
    """Pairs are among them."""
    rng = random.Random(7)
    jobs = random_jobs(TINY, rng, 60)
    with AxiEngine(TINY, timing=timing, record_addresses=True) as engine:
        run = engine.run(jobs)
    assert run.statuses == [0] * len(jobs) and run.memory == timing.mode
    for index, (job, got) in enumerate(zip(jobs, run.results, strict=True)):
        assert type(got) is JobOutputs and torch.equal(got.out, run_job(job, TINY).out), index
    assert run.finished == sorted(run.finished) and run.cycles == run.finished[-1]
    assert run.counters["jobs"] == len(jobs) and run.counters["rows"] == sum(job.rows for job in jobs)
    planes = ("query_words", "key_words", "key_lsb_words", "value_words")
    assert sum(run.counters[name] for name in planes) == sum(run.words_read)
    assert [len(addresses) for addresses in run.addresses] == run.words_read


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
def test_random_layers(timing):
    """The last ones go on, in a run of their own, with what the others left on chip."""
    layers, results, selections = random_layers(TINY, random.Random(8), 40)
    cut = next(index for index in range(20, 40) if layers[index].ids is None)
    with AxiEngine(TINY, timing=timing) as engine:
        first = engine.run_layers(layers[:cut])
        assert_layers_equal(first, results[:cut], selections[:cut])
        second = engine.run_layers(layers[cut:], resume=True)
        assert_layers_equal(second, results[cut:], selections[cut:])
    assert first.counters["layers"] == cut and second.counters["layers"] == len(layers) - cut


def test_reset_between_runs(engine):
    """Equal runs take equal cycles, whatever was before them."""
    jobs = random_jobs(TINY, random.Random(9), 5)
    first = engine.run(jobs)
    assert engine.run(jobs).finished == first.finished


def test_refused_jobs(engine):
    jobs = [random_job(TINY, random.Random(seed)) for seed in range(3)]
    jobs[1] = dataclasses.replace(jobs[1], value_keep=0, name="wrong")
    with pytest.raises(EngineError, match=r"^job 1 \(wrong\) was refused: .* \(code \d+\)$"):
        engine.run(jobs)
    run = engine.run(jobs, allow_refused=True)
    assert [result is None for result in run.results] == [False, True, False]
    assert run.statuses[1] and torch.equal(run.results[2].out, run_job(jobs[2], TINY).out)


def test_what_cannot_be_asked(engine):
    with pytest.raises(ValueError, match="jobs must not be empty"):
        engine.run([])
    with pytest.raises(ValueError, match="layers must not be empty"):
        engine.run_layers([])
    with pytest.raises(ValueError, match="overrides must be left out with the engine axi"):
        engine.run([random_job(TINY, random.Random(1))], overrides={0: {"dim": 17}})


def test_progress(engine):
    seen = []
    engine.run(random_jobs(TINY, random.Random(3), 20), progress=lambda *item: seen.append(item))
    assert seen == sorted(seen) and 0 < seen[-1][0] <= 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(max_cycles=200), "^run is longer than 200 cycles$"),
        (dict(watchdog=0, timing=MemoryTiming(latency=1, stall=0.0)), "^hardware is stuck: no transfer for "),
    ],
)
def test_runs_that_do_not_end(options, message, monkeypatch):
    monkeypatch.setattr(MemoryTiming, "longest_wait", 0)
    jobs = [random_job(TINY, random.Random(4), keys=40, kind="summarization", queries=8)]
    with AxiEngine(TINY, **options) as engine:
        for _ in range(2):  # the engine is of use after an error
            with pytest.raises(EngineError, match=message):
                engine.run(jobs)


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (1 << 30, 1 << 30, r"^command 0 ended with OUTSIDE$"),
        (0, 0, r"^job 0 was refused: plane lies outside the permitted window \(code 5\)$"),
        (0, 1 << 20, r"^protocol of bus m_axi_[01]: a burst of \d+ beats lies outside the memory at 0x12"),
    ],
)
def test_planes_outside_the_memory(first, last, message, monkeypatch):
    """Where neither plan nor planes may be read, or only the plan; or all, and the memory tells."""
    job = random_job(TINY, random.Random(4))
    with AxiEngine(TINY) as engine:
        opened, set_channel = Queue.open, Device.set_channel

        def other(self, *, readable, writable):
            opened(self, readable=(readable[0] + first, readable[1] + last), writable=writable)

        def beyond(self, channel, address):
            set_channel(self, channel, self.transport.memory.limit)

        with monkeypatch.context() as patch:
            patch.setattr(Queue, "open", other)
            patch.setattr(Device, "set_channel", beyond)
            with pytest.raises(EngineError, match=message):
                engine.run([job])
        assert torch.equal(engine.run([job]).results[0].out, run_job(job, TINY).out)


def test_outputs_that_nobody_wrote(engine, monkeypatch):
    from sim.engine.axi import engine as module

    job = random_job(TINY, random.Random(6))
    read = module.read_outputs

    def spoiled(placed, memory):
        bits = read(placed, memory)
        bits[0, 0, 3] = 0xEEEEEEEE
        return bits

    monkeypatch.setattr(module, "read_outputs", spoiled)
    with pytest.raises(EngineError, match=r"^job 0: 1 outputs were not written$"):
        engine.run([job])


def test_closing_twice():
    engine = AxiEngine(TINY)
    engine.run([random_job(TINY, random.Random(6))])
    engine.close()
    engine.close()
