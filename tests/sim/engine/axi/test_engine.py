"""The AXI top on Verilator against golden: jobs and layers as commands in memory, with stalls on every bus."""

import dataclasses
import random

import pytest
import torch

from golden.layers.cascade_state import CascadeState
from golden.layers.job import JobOutputs, run_job
from golden.layers.layer_job import LayerJob
from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode
from sim.engine.axi.engine import AxiEngine
from sim.engine.engine import EngineError
from sim.engine.timing import MemoryTiming
from sim.engine.verilator import available
from sim.transport.device import Device
from sim.transport.memory import ImageError
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
    read = module.read_output_words

    def spoiled(placed, memory):
        bits = read(placed, memory)
        bits[0, 0, 3] = 0xEEEEEEEE
        return bits

    monkeypatch.setattr(module, "read_output_words", spoiled)
    with pytest.raises(EngineError, match=r"^job 0: 1 outputs were not written$"):
        engine.run([job])


# Planes that stay in memory ------------------------------------------------------------------------------------


def steps_of(rng, *, kv_heads, group, split, count):
    """Layers of generation, a row of K and V more in each, with lists of all rows."""
    fixed = {"dim": 16, "kind": "generation" if group == 1 else "summarization", "queries": 1, "listed": False}
    fixed |= {"split": split, "value_bits": 8, "query_bits": 8}
    rows, layers = 5 + count, []
    whole = [random_job(TINY, rng, keys=rows, **fixed) for _ in kv_heads]
    for tokens in range(6, 6 + count):
        jobs = []
        for place, job in enumerate(whole):
            query = torch.randint(-8, 8, (group, 16), generator=torch.Generator().manual_seed(tokens))
            part = {"key": job.key[:tokens], "value": job.value[:tokens], "query": query, "keys": None}
            same = {name: getattr(whole[0], name) for name in ("value_bits", "query_bits", "flat_limit")}
            part |= same | {"ids": torch.arange(tokens), "group": group, "head": place * group, "pair": 0, "skew": 0}
            part |= {"value": part["value"].clamp(-8, 7), "value_keep": tokens, "generation": group == 1}
            jobs.append(dataclasses.replace(job, **part))
        heads = group * len(kv_heads)
        places = {"jobs": jobs, "kv_heads": list(kv_heads), "head_ids": list(range(heads)), "num_tokens": tokens}
        importance = {"head_importance": [0] * heads, "importance": torch.zeros(tokens, dtype=torch.int64)}
        rest = {"head_weight": [1] * heads, "ids": torch.arange(tokens), "select": False, "name": "layer 0"}
        layers.append(LayerJob(**places, **importance, **rest))
    return layers


@pytest.fixture
def opcodes(monkeypatch):
    """Of all commands that are submitted, by run."""
    seen, run = [], Queue.run

    def noted(self, groups):
        groups = list(groups)
        seen.append([command[0] for group in groups for command in group])
        return run(self, groups)

    monkeypatch.setattr(Queue, "run", noted)
    return seen


LAYER, APPEND = int(Opcode.LAYER), int(Opcode.APPEND)


@pytest.mark.parametrize("split", [(8, 0), (6, 4)])
@pytest.mark.parametrize(("kv_heads", "group"), [((0, 1), 1), ((0, 2), 2)])
def test_new_rows_are_appended(opcodes, kv_heads, group, split):
    """By the accelerator, in front of their layer; the first layer's planes are the host's work."""
    layers = steps_of(random.Random(2), kv_heads=kv_heads, group=group, split=split, count=3)
    with AxiEngine(TINY, timing=STALLS) as engine:
        for layer in layers:
            results, selection = CascadeState().run(layer, TINY)
            run = engine.run_layers([layer])
            assert_layers_equal(run, [results], [selection])
            assert run.finished == [run.cycles]
    runs = 1 if kv_heads == (0, 1) else 2  # of neighbours
    assert opcodes == [[LAYER], *[[APPEND, APPEND] * runs + [LAYER]] * 2]


def test_all_new_rows_of_a_run(opcodes):
    """Layers of a run wait for what is appended between them."""
    first, *others = steps_of(random.Random(3), kv_heads=(0, 1), group=1, split=(8, 0), count=4)
    with AxiEngine(TINY) as engine:
        engine.run_layers([first])
        run = engine.run_layers([others[0]])
        assert_layers_equal(run, *zip(*[CascadeState().run(others[0], TINY)], strict=True))
        run = engine.run_layers(others[1:])  # the second finds no slot that is free
        assert_layers_equal(run, *zip(*(CascadeState().run(layer, TINY) for layer in others[1:]), strict=True))
    assert opcodes[1:] == [[APPEND, APPEND, LAYER], [APPEND, APPEND, LAYER, LAYER]]


def test_after_an_error_nothing_is_taken_for_known(opcodes, monkeypatch):
    first, second, third = steps_of(random.Random(4), kv_heads=(0, 1), group=1, split=(8, 0), count=3)
    with AxiEngine(TINY) as engine:
        engine.run_layers([first])
        with monkeypatch.context() as patch:
            patch.setattr(engine, "max_cycles", 10)
            engine._machine.max_cycles = 10
            with pytest.raises(EngineError, match="run is longer than 10 cycles"):
                engine.run_layers([second])
        run = engine.run_layers([third])
        assert_layers_equal(run, *zip(*[CascadeState().run(third, TINY)], strict=True))
    assert opcodes[-1] == [LAYER]


def test_rows_that_were_not_appended(monkeypatch):
    """A saturated element is one that the host got wrong."""
    first, second, _ = steps_of(random.Random(5), kv_heads=(0, 1), group=1, split=(8, 0), count=3)
    poll = Queue.poll
    with AxiEngine(TINY) as engine:
        engine.run_layers([first])

        def saturated(self):
            return [entry | {"tokens": 2 * (entry["opcode"] == APPEND)} for entry in poll(self)]

        with monkeypatch.context() as patch:
            patch.setattr(Queue, "poll", saturated)
            with pytest.raises(
                EngineError, match=r"^layer 0: rows were not appended \(code 0, 2 elements saturated\)$"
            ):
                engine.run_layers([second])
        run = engine.run_layers([second])
        assert_layers_equal(run, *zip(*[CascadeState().run(second, TINY)], strict=True))


def test_memory_that_is_too_small(monkeypatch):
    """It begins anew with twice the room, and at the end of the addresses it is full."""
    from sim.engine.axi import residence

    layers = steps_of(random.Random(6), kv_heads=(0, 1), group=1, split=(8, 0), count=2)
    monkeypatch.setattr(residence, "_PLANES", 2 * 8 * 16)
    with AxiEngine(TINY) as engine:
        for layer in layers:
            run = engine.run_layers([layer])
            assert_layers_equal(run, *zip(*[CascadeState().run(layer, TINY)], strict=True))
        assert engine._residence._words > 16
        monkeypatch.setattr(engine._residence, "_most", 32)
        monkeypatch.setattr(engine._residence, "_words", 32)
        engine._residence.forget()
        with pytest.raises(ImageError, match="memory of 32 words a channel is full"):
            engine.run_layers(layers[:1])


def test_closing_twice():
    engine = AxiEngine(TINY)
    engine.run([random_job(TINY, random.Random(6))])
    engine.close()
    engine.close()
