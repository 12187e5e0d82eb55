"""The board's link in Verilator: every kind of fault on the line, and answers equal to the software twin's."""

import random
import struct

import pytest

from fpga.board.simulated_board import BoardModel, simulated_settings
from fpga.host.codec import FrameDecoder, encode_frame
from fpga.host.engine import FpgaEngine
from fpga.host.host import Host
from fpga.spec.protocol import MAX_PAYLOAD, Command
from golden.layers.job import run_job
from hdl.spec.config import PRESETS
from hdl.spec.payloads import STATUS, job_descriptor
from sim.common.mismatch import compare
from sim.common.packing import pack
from sim.engine import verilator
from tests.bench.faulty_port import ANSWER_FAULTS, REQUEST_FAULTS, FaultyPort
from tests.bench.jobs import random_jobs
from tests.bench.link_twin import REFUSED, LinkTwin

TINY = PRESETS["tiny"]
SETTINGS = simulated_settings(TINY)
SIZE = TINY.channel_width // 8

pytestmark = pytest.mark.skipif(not verilator.available(), reason="the simulated board needs Verilator")


@pytest.fixture(scope="module")
def model():
    """One board for all tests: each must leave it as good as new, as hosts do on a real one."""
    board = BoardModel(SETTINGS)
    yield board
    assert board.bad_bytes == 0
    board.close()


def exchange_with(board):
    def exchange(data):
        """Until the board is quiet, or it has answered and goes on with its jobs."""
        board.send(data)
        answers = board.step(1_000_000)
        while not board.quiet and (more := board.step(3_000)):
            answers += more
        return answers

    return exchange


def refused_job(job_id):
    """An item that the core answers with a status, and nothing else."""
    shape = job_descriptor(TINY)
    assert "dim" in STATUS[REFUSED]
    fields = {name: 0 for name in shape.members} | {"job_id": job_id, "dim": 17}
    return pack(shape, fields).to_bytes(-(-shape.size // 8), "little")


@pytest.mark.parametrize(("frames", "least"), [(300, 90), pytest.param(1100, 350, marks=pytest.mark.long)])
def test_damaged_requests(model, frames, least):
    """Memory, results and counts are right behind a bad line; nothing is executed twice; one repetition is enough."""
    rng = random.Random(5)
    port = FaultyPort(exchange_with(model), rate=0.5, seed=11)
    host = Host(port, clock=port.clock, timeout=0.2, retries=1)
    host.connect(TINY)
    dropped = host.counters(clear=True).dropped
    memory, pushed, answered = {}, 0, []
    while port.frames < frames:
        channel, word = rng.randrange(2), rng.randrange(100)
        action = rng.random()
        if action < 0.35:
            words = [rng.choice((b"\x7e\x7d" * 4, rng.randbytes(SIZE))) for _ in range(rng.randint(1, 3))]
            host.write(channel, word, b"".join(words))
            memory |= {(channel, word + index): data for index, data in enumerate(words)}
        elif action < 0.6:
            channel, word = rng.choice(list(memory) or [(0, 0)])
            assert host.read(channel, word, 1) == memory.get((channel, word), bytes(SIZE))
        elif action < 0.8:
            taken = host.push("job", [refused_job(pushed + index) for index in range(rng.randint(1, 2))])
            pushed += taken
        else:
            answered += host.pull()
    while len(answered) < pushed and (records := host.pull()):
        answered += records
    jobs = [int.from_bytes(record.item, "little") for record in answered]
    assert jobs == [index | REFUSED << 16 for index in range(pushed)], "each job once, in order"
    counters = host.counters()
    assert counters.values["jobs_refused"] == pushed
    assert counters.dropped > dropped
    for channel in range(2):
        want = b"".join(memory.get((channel, word), bytes(SIZE)) for word in range(102))
        assert host.read(channel, 0, 102) == want
    faults = sum(port.faults.values())
    assert set(port.faults) == {*REQUEST_FAULTS, *ANSWER_FAULTS} and faults > least
    assert 0 < host.repeated <= faults
    assert model.error, "the light says that frames were damaged"
    host.reset()
    model.step(1000)
    assert not model.error and not model.busy and model.idle


def test_jobs_behind_a_bad_line(model):
    """Results of real jobs are golden's, whatever happens to requests and answers."""
    jobs = random_jobs(TINY, random.Random(3), 3, max_keys=10, queries=2)
    port = FaultyPort(exchange_with(model), rate=0.6, seed=12)
    with FpgaEngine(TINY, port=port, clock=port.clock, timeout=0.2, retries=1) as engine:
        run = engine.run(jobs)
        twice = engine.run(jobs)
    report = compare(jobs, run.results, [run_job(job, TINY) for job in jobs])
    assert report.compared > 100 and report.mismatches == 0
    assert run.counters["jobs"] == twice.counters["jobs"] == 3 and run.words_read == twice.words_read
    assert run.counters["cycles"] == run.cycles > 0 and run.memory == "board"
    assert sum(port.faults.values()) > 10


def test_answers_are_the_twins(model):
    """The same bytes to the hardware and to the software twin: the same bytes come back."""
    rng = random.Random(9)
    twin, exchange = LinkTwin(SETTINGS), exchange_with(model)
    header, names = struct.Struct("<HIH"), list(Command)
    exchange(encode_frame(Command.RESET, 0, rng.randbytes(8)))
    for channel in range(2):
        for board in (exchange, twin.feed):
            board(encode_frame(Command.WRITE, channel, struct.pack("<HI", channel, 0) + bytes(64 * SIZE)))
    seen = set()
    for seq in range(10, 260):
        command = rng.choice([*names, 0x40])
        if command == Command.READ:
            payload = header.pack(rng.choice((0, 1, 1, 2)), rng.choice((0, 8, 40, 4095, 4096, 2**32 - 1)),
                                  rng.choice((0, 1, 4, 129)))  # fmt: skip
        elif command == Command.WRITE:
            payload = struct.pack("<HI", rng.choice((0, 1, 1, 7)), rng.choice((0, 5, 60, 4095, 2**32 - 1)))
            payload += rng.randbytes(rng.choice((0, SIZE, 2 * SIZE, SIZE - 1)))
        elif command == Command.PUSH:
            items = refused_job(1) * rng.choice((0, 1))
            payload = rng.choice((b"", b"\x00" + items, b"\x04" + items, b"\x01xyz"))
        elif command == Command.PULL:
            payload = struct.pack("<H", rng.choice((0, 11))) + rng.choice((b"", b"!"))
        elif command == Command.COUNTERS:
            payload = rng.choice((b"", b"12"))
        else:
            payload = rng.choice((b"", b"\x0f", rng.randbytes(8)))
        if rng.random() < 0.05:
            payload = bytes(MAX_PAYLOAD + rng.choice((1, 2, 500)))
        frame = encode_frame(command, seq, payload)
        frame *= rng.choice((1, 1, 2))
        got, want = exchange(frame), twin.feed(frame)
        assert got == want, (command, payload[:16])
        seen |= {
            (answer.type, answer.payload[:1] if answer.type == 0xFF else b"") for answer in FrameDecoder().feed(got)
        }
    assert {kind for kind, code in seen} >= {0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x88, 0xFF}
    assert {code[0] for kind, code in seen if kind == 0xFF} == {1, 2, 3, 4, 5}
