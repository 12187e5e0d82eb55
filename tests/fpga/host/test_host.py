"""The host against the link's twin in software, straight and on a pseudo-terminal."""

import dataclasses
import itertools
import os
import struct
import threading
import time

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from fpga.board.simulated_board import BoardServer
from fpga.host import host as host_module
from fpga.host import requests
from fpga.host.codec import encode_frame
from fpga.host.host import Host, HostError, PortError
from fpga.spec.protocol import ANSWER, Command, Error
from fpga.spec.settings import SystemSettings
from hdl.spec.config import PRESETS
from tests.bench.examples import examples
from tests.bench.faulty_port import ANSWER_FAULTS, REQUEST_FAULTS, FaultyPort
from tests.bench.link_twin import REFUSED, LinkTwin

TINY = PRESETS["tiny"]
SETTINGS = SystemSettings(core=TINY, clock_hz=10_000_000, memory_words=256, window_base=16, window_words=200)


class TwinBoard:
    """A twin as :class:`BoardServer` wants it."""

    def __init__(self, twin):
        self.twin, self.closed = twin, False
        self._received, self.quiet = bytearray(), True

    def send(self, data):
        self._received += data
        self.quiet = False

    def step(self, cycles):
        answer = self.twin.feed(bytes(self._received))
        self._received.clear()
        self.quiet = True
        return answer

    def close(self):
        self.closed = True


@pytest.fixture
def served():
    """A twin on a pseudo-terminal."""
    twin, stop = LinkTwin(SETTINGS), threading.Event()
    server = BoardServer(TwinBoard(twin))
    thread = threading.Thread(target=server.serve, args=(stop.is_set,))
    thread.start()
    server.twin = twin

    def unplug():
        stop.set()
        thread.join()
        server.close()

    server.unplug = unplug
    yield server
    if not stop.is_set():
        unplug()


class Line:
    """A port in virtual time straight on a function from bytes to bytes."""

    def __init__(self, feed):
        self.feed, self.seconds, self.written, self._answer = feed, 0.0, [], b""

    def clock(self):
        return self.seconds

    def write(self, data, /):
        self.written.append(data)
        self._answer += self.feed(data)

    def read(self, size, /):
        data, self._answer = self._answer, b""
        self.seconds += 0 if data else 0.05
        return data

    def close(self):
        pass


def host_of(feed, **options):
    line = Line(feed)
    return Host(line, clock=line.clock, **({"timeout": 0.2, "retries": 2} | options)), line


def connected(twin=None):
    host, line = host_of((twin or LinkTwin(SETTINGS)).feed)
    host.connect(TINY)
    return host, line


def job_item(job_id, size):
    return (job_id << 0).to_bytes(2, "little") + bytes(size - 2)


# Commands ------------------------------------------------------------------------------------------------------


def test_connect():
    twin = LinkTwin(SETTINGS)
    host, line = host_of(twin.feed)
    identity = host.connect(TINY)
    assert (identity.window_base, identity.window_words, identity.clock_hz) == (16, 200, 10_000_000)
    assert (identity.channels, identity.word_bytes) == (TINY.num_channels, TINY.channel_width // 8)
    assert twin.executed == {Command.RESET: 1, Command.VERSION: 1} and len(line.written) == 2
    host.reset()
    host.reset()
    assert twin.executed[Command.RESET] == 3, "each RESET is a new one"
    assert (host.repeated, host.ignored) == (0, 0)


def test_memory():
    twin = LinkTwin(SETTINGS)
    host, line = connected(twin)
    size, before = TINY.channel_width // 8, len(line.written)
    data = os.urandom(size * 200)
    host.write(1, 16, data)
    assert host.read(1, 16, 200) == data and host.read(1, 20, 1) == data[4 * size : 5 * size]
    assert bytes(twin.memory[1]) == bytes(16 * size) + data + bytes(40 * size)
    assert not any(twin.memory[0])
    assert len(line.written) - before == 2 + 2 + 1, "split at the largest payload"
    for channel, first, count in ((0, 15, 1), (2, 16, 1), (0, 215, 2), (65535, 16, 1), (0, 2**32 - 1, 2)):
        with pytest.raises(HostError, match=r"refused READ: outside the host's window \(code 3\)"):
            host.read(channel, first, count)
        with pytest.raises(HostError, match=r"refused WRITE: outside the host's window \(code 3\)"):
            host.write(channel, first, bytes(count * size))
    for data in (b"", bytes(size - 1), bytes(size + 1)):
        with pytest.raises(
            ValueError, match=f"data must be whole words of {size} bytes, at least one, not {len(data)}"
        ):
            host.write(0, 16, data)
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        host.read(0, 16, 0)


def test_items_and_results():
    twin = LinkTwin(SETTINGS)
    host, _ = connected(twin)
    size = host.board.items["job"]
    items = [job_item(index, size) for index in range(40)]
    twin.slow = 1
    assert host.push("job", items) == 0, "no room"
    taken = host.push("job", items)
    assert taken == 1023 // size, "as many as one request takes"
    assert host.push("job", items[taken : taken + 1]) == 1 and twin.jobs == taken + 1
    records = host.pull(30)
    assert len(records) == 30 // 12
    records += host.pull()
    assert host.pull() == []
    assert [record.stream for record in records] == ["status"] * (taken + 1)
    assert [int.from_bytes(record.item, "little") for record in records] == [
        index | REFUSED << 16 for index in range(taken + 1)
    ]
    stamps = [record.stamp for record in records]
    assert stamps == sorted(stamps)
    counters = host.counters(clear=True)
    assert counters.values["jobs_refused"] == taken + 1 and counters.values["cycles"] == 0
    assert counters.words_read == [0] * TINY.num_channels and counters.dropped == 0
    assert host.counters().values["jobs_refused"] == 0
    host.results(["status", "out"])
    assert twin.keep == 0b101
    with pytest.raises(ValueError, match="streams must be of out, prob, status, survivor, not 'job'"):
        host.results(["out", "job"])
    with pytest.raises(ValueError, match="stream must be one of job, layer, heads, ids, not 'jobs'"):
        host.push("jobs", items)
    for wrong in ([], [b"short"], [items[0], items[1][:-1]]):
        with pytest.raises(ValueError, match=f"items must be {size} bytes each, at least one, for the stream job"):
            host.push("job", wrong)


def test_constructor_errors():
    for name, value, text in (
        ("baud", 0, "baud must be a positive integer, not 0"),
        ("baud", 9600.0, "baud must be a positive integer, not 9600.0"),
        ("timeout", 0, "timeout must be more than 0 seconds, not 0"),
        ("retries", -1, "retries must be an integer of at least 0, not -1"),
    ):
        with pytest.raises(ValueError, match=text):
            host_of(lambda data: b"", **{name: value})
    host, _ = host_of(LinkTwin(SETTINGS).feed)
    with pytest.raises(ValueError, match=r"host must be connected first: connect\(config\)"):
        host.read(0, 16, 1)


# Answers that are wrong, or none -------------------------------------------------------------------------------


def test_no_answer():
    """The waits double; the same frame is sent each time."""
    host, line = host_of(lambda data: b"", baud=1_000_000)
    with pytest.raises(
        HostError, match=r"Line: no answer to VERSION, sent 3 times: is it a board, and 1000000 its baud"
    ):
        host.version()
    assert len(line.written) == 3 and len(set(line.written)) == 1 and host.repeated == 2
    assert line.seconds == pytest.approx(0.2 + 0.4 + 0.8 + 3 * 0.021, abs=0.16)
    host, line = host_of(lambda data: b"", retries=0)
    with pytest.raises(HostError, match="sent once"):
        host.version()


def test_slow_lines_have_more_time():
    host, line = host_of(lambda data: b"", baud=9600, retries=0)
    with pytest.raises(HostError):
        host.version()
    assert line.seconds == pytest.approx(0.2 + 10 * (11 + 2048) / 9600, abs=0.1)


def test_repeated_requests_are_executed_once():
    twin = LinkTwin(SETTINGS)
    lost = itertools.cycle((True, True, False))
    host, _ = host_of(lambda data: (b"" if next(lost) else answer) if (answer := twin.feed(data)) else b"")
    host.connect(TINY)
    size = host.board.items["job"]
    for index in range(20):
        assert host.push("job", [job_item(index, size)]) == 1
    assert twin.jobs == 20 and twin.executed[Command.PUSH] == 20 and host.repeated == 2 * 22


def test_late_and_foreign_answers_are_ignored():
    twin = LinkTwin(SETTINGS)
    late = [b""]

    def feed(data):
        """Each answer comes with the next request, behind garbage and in front of answers to nobody."""
        answer, late[0] = late[0], twin.feed(data)
        seq = struct.unpack("<H", late[0][4:6])[0] if 0x7E not in late[0][4:6] and 0x7D not in late[0][4:6] else 0
        foreign = encode_frame(Command.READ | ANSWER, seq) + encode_frame(Command.ERROR, seq, bytes((1, 0x55)))
        return foreign + b"\x7eabc\x7e" + answer

    host, _ = host_of(feed)
    host.connect(TINY)
    for _ in range(20):
        host.version()
    assert host.ignored > 20


def test_wrong_sizes():
    def feed(data):
        seq = data[4] | data[5] << 8
        return encode_frame(data[3] | ANSWER, seq, b"xyz")

    host, _ = host_of(feed)
    host._seq = 100  # bytes of the header that need no escape
    with pytest.raises(HostError, match="answer to VERSION has 3 bytes, not 28"):
        host.version()
    with pytest.raises(HostError, match="answer to RESET does not repeat its payload"):
        host.reset()


@pytest.mark.parametrize(
    "field, value, text",
    [
        ("protocol", 2, "port must be a board of protocol 1, not 2 as 'Line'"),
        (
            "digest",
            5,
            r"preset must be the one that the board at 'Line' was built of \(digest 0{15}5\), not tiny \(dig",
        ),
        ("max_payload", 512, "port must be a board of payloads of 1024 bytes, not 512 as 'Line'"),
    ],
)
def test_other_boards(monkeypatch, field, value, text):
    original = host_module.read_identity
    monkeypatch.setattr(
        host_module, "read_identity", lambda answer: dataclasses.replace(original(answer), **{field: value})
    )
    host, _ = host_of(LinkTwin(SETTINGS).feed)
    with pytest.raises(PortError, match=text):
        host.connect(TINY)


@pytest.mark.parametrize("code, text", [(Error.BAD_STREAM, "unknown stream"), (77, "unknown error")])
def test_error_answers(code, text):
    def feed(data):
        return encode_frame(Command.ERROR, data[4] | data[5] << 8, bytes((code, data[3])))

    host, _ = host_of(feed)
    host._seq = 100
    with pytest.raises(HostError, match=rf"Line: the board refused VERSION: {text} \(code {int(code)}\)"):
        host.version()


def test_requests_after_each_other_differ(monkeypatch):
    """The board would not execute a request with the CRC of the one before: the host takes another number."""
    host, line = host_of(LinkTwin(SETTINGS).feed)
    host.version()
    first, real = host._crc, requests.frame_crc
    unlucky = host._seq + 1
    monkeypatch.setattr(
        requests, "frame_crc", lambda type, seq, payload: first if seq == unlucky else real(type, seq, payload)
    )
    host.version()
    assert host._seq == unlucky + 1 and len(line.written) == 2


# Ports ---------------------------------------------------------------------------------------------------------


def test_ports_that_cannot_be_opened(tmp_path, served):
    with pytest.raises(PortError, match="port must be a serial port that can be opened, not '/no/such/port': No such"):
        Host("/no/such/port")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PortError, match=r"port must be a serial port that can be opened, not '.*file': "):
        Host(str(file))
    with Host(served.path) as host:
        host.connect(TINY)
        with pytest.raises(PortError, match="another program has it open"):
            Host(served.path)


def test_pseudo_terminal(served):
    """A host comes, goes and comes again; the memory is still there, and time-outs are in real time."""
    data = os.urandom(64)
    with Host(served.path) as host:
        host.connect(TINY)
        host.write(0, 16, data)
    with Host(served.path, baud=115_200) as host:
        host.connect(TINY)
        assert host.read(0, 16, 8) == data
        assert host.repeated == 0
    with serial.Serial(served.path) as port:
        port.write(encode_frame(Command.VERSION, 1)[:7])  # leaves half a frame
    with Host(served.path) as host:
        host.connect(TINY)
    assert served.twin.dropped == 1


def test_unplugged(served):
    """The port goes away between two requests, and while an answer is waited for."""
    host = Host(served.path, timeout=5.0)
    host.connect(TINY)
    served.twin.feed = lambda data: b""  # silent from now on
    thread = threading.Timer(0.3, served.unplug)
    thread.start()
    started = time.monotonic()
    with pytest.raises(HostError, match=f"{served.path}: the port went away while VERSION was under way: "):
        host.version()
    assert time.monotonic() - started < 3
    thread.join()
    with pytest.raises(HostError, match="the port went away while READ was under way"):
        host.read(0, 16, 1)
    host.close()


# Faults --------------------------------------------------------------------------------------------------------

WORD = st.binary(min_size=8, max_size=8)
PLACE = st.tuples(st.integers(0, 1), st.integers(16, 215))
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PLACE, WORD),
    st.tuples(st.just("read"), PLACE),
    st.tuples(st.just("push"), st.integers(1, 3)),
    st.tuples(st.just("pull")),
    st.tuples(st.just("reset")),
)


@examples(60)
@given(operations=st.lists(OPERATIONS, max_size=60), seed=st.integers(0, 2**32), slow=st.integers(0, 3))
def test_every_fault_is_survived(operations, seed, slow):
    """Whatever happens on the line, each request is executed once, and needs at most one repetition."""
    twin = LinkTwin(SETTINGS)
    port = FaultyPort(twin.feed, rate=0.5, seed=seed)
    host = Host(port, clock=port.clock, timeout=0.2, retries=1)
    host.connect(TINY)
    size = host.board.items["job"]
    memory = {}
    pushed, answered, waiting = 0, [], []
    twin.slow = slow
    for name, *arguments in operations:
        if name == "write":
            host.write(*arguments[0], arguments[1])
            memory[arguments[0]] = arguments[1]
        elif name == "read":
            assert host.read(*arguments[0], 1) == memory.get(arguments[0], bytes(8))
        elif name == "push":
            taken = host.push("job", [job_item(pushed + index, size) for index in range(arguments[0])])
            waiting += range(pushed, pushed + taken)
            pushed += taken
        elif name == "reset":
            host.reset()
            waiting.clear()
        else:
            answered = [int.from_bytes(record.item[:2], "little") for record in host.pull()]
            assert answered == waiting
            waiting.clear()
    assert twin.jobs == pushed
    for (channel, word), data in memory.items():
        assert twin.memory[channel][8 * word : 8 * word + 8] == data
    assert host.repeated <= sum(port.faults.values())


def test_the_faults_of_the_port_do_come():
    twin = LinkTwin(SETTINGS)
    port = FaultyPort(twin.feed, rate=0.7, seed=1)
    host = Host(port, clock=port.clock, timeout=0.2, retries=1)
    host.connect(TINY)
    for word in range(1000):
        host.write(0, 16 + word % 200, word.to_bytes(8, "little"))
    assert set(port.faults) == {*REQUEST_FAULTS, *ANSWER_FAULTS} and min(port.faults.values()) > 20
    assert twin.executed[Command.WRITE] == 1000, "none is lost, none executed twice"
    assert twin.dropped > 100 and host.repeated > 300 and host.ignored > 100
