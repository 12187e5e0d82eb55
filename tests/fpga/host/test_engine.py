"""The engine "fpga" on the link's software twin, whose core refuses every job."""

import dataclasses
import random

import pytest

from fpga.host.engine import FpgaEngine
from fpga.spec.protocol import Command
from fpga.spec.settings import SystemSettings
from hdl.spec.config import PRESETS
from sim.engine.engine import EngineError, SetupError
from sim.engine.timing import MemoryTiming
from sim.transport.memory import MemoryImage
from sim.transport.pack import pack_jobs
from spatten.engines import make_engine
from tests.bench.faulty_port import FaultyPort
from tests.bench.jobs import random_jobs, random_layers
from tests.bench.link_twin import REFUSED, LinkTwin

TINY = PRESETS["tiny"]
SETTINGS = SystemSettings(core=TINY, clock_hz=10_000_000, memory_words=4096, window_base=48)


def engine_of(twin, *, rate=0.0, **options):
    port = FaultyPort(twin.feed, rate=rate, seed=0)
    return make_engine("fpga", TINY, port=port, clock=port.clock, timeout=0.2, retries=1, **options)


def jobs_of(number, seed=0, **fixed):
    return random_jobs(TINY, random.Random(seed), number, max_keys=20, **fixed)


@pytest.mark.parametrize("slow", [0, 7])
def test_run(slow):
    """All items are taken, also by a board that takes none at first; the memory holds the image in its window."""
    twin = LinkTwin(SETTINGS)
    jobs = jobs_of(30)
    with engine_of(twin) as engine:
        twin.slow = slow
        run = engine.run(jobs, allow_refused=True)
    assert run.statuses == [REFUSED] * 30 and run.results == [None] * 30
    assert run.finished == sorted(run.finished) and run.cycles == run.counters["cycles"] == 0
    assert run.counters["jobs_refused"] == 30 and run.memory == "board" and run.addresses is None
    image = MemoryImage(TINY, origin=SETTINGS.window_base)
    pack_jobs(jobs, TINY, image)
    for channel, words in enumerate(image.channels()):
        assert bytes(twin.memory[channel][: words.nbytes]) == words.tobytes()


def test_what_goes_wrong():
    twin = LinkTwin(SETTINGS)
    jobs = jobs_of(2, pair=0)
    with engine_of(twin, patience=3.0) as engine:
        with pytest.raises(EngineError, match=r"job 0 was refused: .* \(code 1\)"):
            engine.run(jobs)
        twin.deaf = True
        with pytest.raises(EngineError, match="the board is stuck: no result for 3 seconds, 0 of 2 jobs answered"):
            engine.run(jobs)
        twin.deaf = False
        assert engine.run(jobs, allow_refused=True).statuses == [REFUSED] * 2, "works again"
        twin.dead = True
        with pytest.raises(EngineError, match="FaultyPort: no answer to RESET, sent 2 times"):
            engine.run(jobs)


def test_too_large():
    twin = LinkTwin(dataclasses.replace(SETTINGS, window_words=3))
    with engine_of(twin) as engine:
        before = bytes(twin.memory[0])
        with pytest.raises(EngineError, match=r"the run needs \d+ words of each memory channel, but the board has 3"):
            engine.run(jobs_of(1))
        assert bytes(twin.memory[0]) == before


def test_resumed_runs_are_not_reset():
    twin = LinkTwin(SETTINGS)
    layers, _, _ = random_layers(TINY, random.Random(1), 3, tokens=12)
    with engine_of(twin) as engine:
        engine.run_layers(layers, allow_refused=True)
        resets = twin.executed[Command.RESET]
        engine.run_layers(layers, allow_refused=True, resume=True)
        assert twin.executed[Command.RESET] == resets
        engine.run_layers(layers, allow_refused=True)
        assert twin.executed[Command.RESET] == resets + 1
    assert twin.jobs == 9


def test_faults_of_the_line():
    twin = LinkTwin(SETTINGS)
    with engine_of(twin, rate=0.6) as engine:
        for seed in range(5):
            assert engine.run(jobs_of(20, seed), allow_refused=True).statuses == [REFUSED] * 20
        assert sum(engine.host._line.faults.values()) > 50
    assert twin.jobs == 100


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"timing": MemoryTiming(latency=5)},
            "timing must be left out with the engine fpga: a board has its own memory",
        ),
        ({"trace": "wave.vcd"}, "trace must be left out with the engine fpga"),
        ({"record_addresses": True}, "record_addresses must be left out"),
        ({"max_cycles": 100}, "max_cycles must be left out"),
        ({"patience": 0}, "patience must be more than 0 seconds, not 0"),
    ],
)
def test_options_of_simulators(options, text):
    with pytest.raises(ValueError, match=text):
        engine_of(LinkTwin(SETTINGS), **options)


def test_another_board():
    other = dataclasses.replace(TINY, max_heads=16)
    twin = LinkTwin(dataclasses.replace(SETTINGS, core=other))
    with pytest.raises(SetupError, match="preset must be the one that the board at 'FaultyPort' was built of"):
        engine_of(twin)


def test_no_board():
    port = FaultyPort(lambda data: b"", rate=0, seed=0)
    with pytest.raises(EngineError, match="FaultyPort: no answer to RESET, sent 5 times"):
        FpgaEngine(TINY, port=port, clock=port.clock)
