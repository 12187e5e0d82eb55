"""Both engines on a stand-in top (tests/bench/standin.py)."""

import dataclasses
import shutil

import pytest
import torch

from fpga.board import simulated_board
from golden.layers.job import Job
from golden.layers.run_layer import run_layer
from hdl.spec.config import PRESETS, Config
from sim.common.errors import UserError
from sim.engine import verilator
from sim.engine.engine import EngineError
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.run.accelerator import Accelerator
from spatten.engines import register_boards
from tests.bench.layers import layer_of
from tests.bench.standin import StandIn

TINY = PRESETS["tiny"]
ODD = Config(
    name="odd", num_multipliers=64, lanes=4, max_dim=32, dims=(16, 32), max_tokens=24, buffer_dim=32, num_channels=4,
    channel_width=32, address_width=12, topk_parallelism=4, norm_lanes=8, line_queue=32, operand_width=10,
)  # fmt: skip
STALLS = MemoryTiming(latency=5, stall=0.4, skew=9, host_stall=0.5, seed=7)


def make_job(queries, keys, dim, *, ids=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randint(-128, 128, (rows, dim), generator=generator) for rows in (queries, keys, keys))
    return Job(
        query=query, key=key, value=value, ids=ids, query_bits=8, key_bits=8, value_bits=8, scale=1, shift=1,
        value_keep=1, name=f"head {seed}",
    )  # fmt: skip


JOBS = [
    make_job(5, 7, 16, seed=1),
    make_job(3, 20, 32, ids=torch.tensor([1, 4, 9]), seed=2),
    make_job(2, 20, 32, ids=torch.tensor([1, 4, 9]), seed=3),
    make_job(1, 9, 16, ids=torch.tensor([0, 8]), seed=4),
]


def engine_of(name, config=TINY, **options):
    if name == "verilator" and not verilator.available():
        pytest.skip(f"verilator engine needs {', '.join(verilator.missing_tools())}")
    return make_engine(name, config, factory=StandIn, **options)


def expected(job, config):
    """What the stand-in makes of a job: see its docstring."""
    words = []
    for query in range(job.num_queries):
        row = job.query[query - query % config.num_channels :: config.num_channels]
        # The word at ``base + q // C`` of channel q mod C: in the plane, word number q // C of the channel's bits.
        channel = job.query[query % config.num_channels :: config.num_channels].reshape(-1).tolist()
        per_word = config.channel_width // 8
        start = query // config.num_channels * per_word
        elements = (channel + [0] * per_word * len(row))[start : start + per_word]
        words.append(sum((element & 255) << (8 * index) for index, element in enumerate(elements)))
    low = torch.tensor([word & 0xFFF for word in words])[:, None]
    out = low + torch.arange(job.dim)
    out = ((out + 2048) & 0xFFF) - 2048
    abs_sum = torch.tensor([word & ((1 << config.abs_sum_width) - 1) for word in words])
    probs = 1 + torch.arange(job.num_keys) + torch.arange(job.num_queries)[:, None]
    return out, abs_sum, probs


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
@pytest.mark.parametrize("config", [TINY, ODD], ids=lambda config: config.name)
def test_pysim_results(config, timing):
    with engine_of("pysim", config, timing=timing) as engine:
        run = engine.run(JOBS)
    for job, result in zip(JOBS, run.results, strict=True):
        out, abs_sum, probs = expected(job, config)
        assert torch.equal(result.out, out)
        assert torch.equal(result.abs_sum, abs_sum)
        assert torch.equal(result.probs, probs)
    assert run.statuses == [0] * 4 and run.finished == sorted(run.finished)
    assert run.counters["rows"] == 11 and run.counters["ids"] == -(-5 // config.lanes)
    assert sum(run.words_read) == 11
    assert run.memory == "ideal" and run.addresses is None


@pytest.mark.parametrize("name", ["pysim", "verilator"])
def test_recorded_addresses(name):
    """Query q of a job is read in channel q mod C, and nothing else is read."""
    with engine_of(name, record_addresses=True) as engine:
        run = engine.run([JOBS[0]])
        again = engine.run([JOBS[0]])
    first, second = (words.tolist() for words in run.addresses)
    base = first[0]
    assert first == [base, base + 1, base + 2] and second == [base, base + 1]
    assert [words.tolist() for words in again.addresses] == [first, second], "each run begins anew"


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
def test_engines_are_equal_cycle_by_cycle(timing):
    """Also: a second run of an engine begins as the first did."""
    with engine_of("verilator", timing=timing) as engine:
        runs = [engine.run(JOBS), engine.run(JOBS)]
    with engine_of("pysim", timing=timing) as engine:
        runs.append(engine.run(JOBS))
    plain = [dataclasses.replace(run, results=[]) for run in runs]
    assert plain[0] == plain[1] == plain[2]
    for results in zip(*(run.results for run in runs), strict=True):
        for field in ("out", "abs_sum", "flat", "probs"):
            values = [getattr(result, field) for result in results]
            assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])


def test_stalls_and_latency_take_time():
    def cycles(**timing):
        with engine_of("pysim", timing=MemoryTiming(**timing)) as engine:
            return engine.run(JOBS).cycles

    ideal = cycles()
    assert cycles(latency=30) == ideal + 11 * 10
    assert cycles(stall=0.5) > ideal and cycles(host_stall=0.5) > ideal and cycles(skew=40) > ideal
    assert cycles(stall=0.5, seed=1) != cycles(stall=0.5, seed=2)


@pytest.mark.parametrize("name", ["pysim", "verilator"])
@pytest.mark.parametrize(
    "timing", [dict(latency=900), dict(skew=2000, seed=1), dict(stall=0.99), dict(host_stall=0.99)]
)
def test_slow_memories_and_hosts_are_not_told_as_stuck_hardware(name, timing):
    """The watchdog follows them, and waits no longer than that."""
    timing = MemoryTiming(**timing)
    with engine_of(name, watchdog=100, timing=timing) as engine:
        assert engine.watchdog == timing.longest_wait > 900
        assert engine.run(JOBS[:1]).statuses == [0]
        message = f"hardware is stuck: no transfer for {timing.longest_wait} cycles, 0 of 1 jobs answered at cycle"
        with pytest.raises(EngineError, match=message):
            engine.run(JOBS[:1], overrides={0: {"list": 1, "ids": []}})


@pytest.mark.parametrize("name", ["pysim", "verilator"])
def test_survivors_that_do_not_come(name, monkeypatch):
    monkeypatch.setattr(f"sim.engine.{name}.open_selections", lambda *_: 2)
    message = "no transfer for 300 cycles, 1 of 1 jobs answered, survivors of 2 layers missing at cycle"
    with engine_of(name, watchdog=300) as engine, pytest.raises(EngineError, match=message):
        engine.run(JOBS[:1])


@pytest.mark.parametrize("name", ["pysim", "verilator"])
def test_a_run_goes_on_until_all_survivors_are_there(name, monkeypatch):
    left = [2, 2, 1, 0, 0]
    monkeypatch.setattr(f"sim.engine.{name}.open_selections", lambda *_: left.pop(0))
    with engine_of(name, watchdog=1000) as engine:
        assert engine.run(JOBS[:1]).statuses == [0] and left == [0]


def test_survivors_of_a_slow_host():
    """They come after the layer's status; a host that stalls 95 % of the time takes the last of them much later."""
    if not verilator.available():
        pytest.skip("no C++ compiler, make or perl for Verilator")
    layer = layer_of(tokens=40, token_keep=3)
    want = run_layer(layer, TINY)
    with make_engine("verilator", TINY, timing=MemoryTiming(host_stall=0.95)) as engine:
        accelerator = Accelerator(engine, TINY)
        got = accelerator.execute(layer, TINY)
    (call,) = accelerator.take_calls()
    assert torch.equal(got.keep, want.keep) and torch.equal(got.importance, want.importance)
    assert call.survivors.compared and not call.survivors.mismatches


@pytest.mark.parametrize("name", ["pysim", "verilator"])
def test_what_goes_wrong(name):
    with engine_of(name, watchdog=300) as engine:
        with pytest.raises(EngineError, match=r"job 1 \(head 2\) was refused: dimension is not served \(code 1\)"):
            engine.run(JOBS, overrides={1: {"dim": 17}})
        run = engine.run(JOBS, overrides={1: {"dim": 17}}, allow_refused=True)
        assert run.statuses == [0, 1, 0, 0] and [result is None for result in run.results] == [
            False,
            True,
            False,
            False,
        ]
        with pytest.raises(EngineError, match=r"channel 0 was read at word 0xff0, outside the permitted window 0x0…0x"):
            engine.run(JOBS, overrides={0: {"query_base": 0xFF0}})
        with pytest.raises(EngineError, match="stuck: no transfer for 300 cycles, 0 of 1 jobs answered at cycle"):
            engine.run(JOBS[:1], overrides={0: {"list": 1, "ids": []}})
        with pytest.raises(EngineError, match="output beats, expected"):
            engine.run(JOBS, overrides={0: {"num_queries": 4}})
        assert engine.run(JOBS).statuses == [0] * 4, "works again after each failure"
        with pytest.raises(ValueError, match="jobs must not be empty"):
            engine.run([])
    with engine_of(name, max_cycles=60) as engine, pytest.raises(EngineError, match="longer than 60 cycles, 0 of 4"):
        engine.run(JOBS)


def test_progress_and_trace(tmp_path):
    seen = []
    with engine_of("pysim", trace=tmp_path / "run.vcd", timing=MemoryTiming(latency=400)) as engine:
        engine.run(JOBS, progress=lambda done, cycle: seen.append((done, cycle)))
    assert seen and seen == sorted(seen)
    assert "$enddefinitions" in (tmp_path / "run.vcd").read_text()


def test_verilator_trace(tmp_path):
    with engine_of("verilator", trace=tmp_path / "run.vcd") as engine:
        engine.run(JOBS)
    assert "$enddefinitions" in (tmp_path / "run.vcd").read_text()


def test_closed_engine():
    engine = engine_of("verilator")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="engine is closed"):
        engine.run(JOBS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": 0}, "latency must be an integer of at least 1, not 0"),
        ({"skew": -1}, "skew must be an integer of at least 0, not -1"),
        ({"stall": 1.0}, "stall must be from 0 to below 1, not 1.0"),
        ({"host_stall": -0.1}, "host_stall must be from 0 to below 1, not -0.1"),
        ({"latency": 1_000_001}, "latency must be at most 1000000, not 1000001"),
        ({"skew": 2**40}, "skew must be at most 1000000, not 1099511627776"),
        ({"queue": 2**32}, "queue must be at most 1000000, not 4294967296"),
        ({"stall": 0.999999}, r"stall must be at most 0\.999, not 0\.999999"),
        ({"host_stall": 0.9999}, r"host_stall must be at most 0\.999, not 0\.9999"),
    ],
)
def test_timing_errors(options, message):
    with pytest.raises(ValueError, match=message):
        MemoryTiming(**options)


def test_engine_name():
    register_boards()
    with pytest.raises(ValueError, match="engine must be one of verilator, pysim, axi, fpga, not 'spice'"):
        make_engine("spice", TINY)


def test_missing_compiler(monkeypatch, tmp_path):
    """Nothing is asked of a tool that is not there, and it is the user's to install it."""
    (tmp_path / "bin").mkdir()
    for tool in ("perl", "make"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    verilator.missing_tools.cache_clear()
    try:
        with pytest.raises(UserError, match=r"^g\+\+ must be installed for the verilator engine; see spatten doctor$"):
            make_engine("verilator", TINY)
        with pytest.raises(UserError, match=r"^g\+\+ must be installed for a simulated board; see spatten doctor$"):
            simulated_board.build(simulated_board.simulated_settings(TINY))
    finally:
        verilator.missing_tools.cache_clear()


def test_build_errors(monkeypatch, tmp_path):
    engine_of("verilator").close()
    monkeypatch.setattr(verilator, "OPTIMIZE", "-O2 -fnot-a-flag")
    with pytest.raises(verilator.BuildError, match=r"(?s)make failed with exit status .*fnot-a-flag"):
        verilator.build(TINY, factory=StandIn, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(verilator, "missing_tools", lambda: ("g++",))
    with pytest.raises(verilator.BuildError, match=r"g\+\+ must be installed for the verilator engine"):
        verilator.build(TINY, factory=StandIn, cache=tmp_path)
