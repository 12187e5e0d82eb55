"""The whole link over its serial line, with a stand-in for core and memory."""

import random
import struct

import pytest
from amaranth.hdl import Value

from fpga.host.codec import FrameDecoder, encode_frame, frame_crc
from fpga.link.identity_command import identity_bytes
from fpga.link.link import Link
from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, record_sizes, result_layouts
from fpga.spec.protocol import HOST_STREAM, MAX_PAYLOAD, RESULT_STREAM, Command, Error
from fpga.spec.settings import SystemSettings
from hdl.control.counters import counters_layout
from hdl.spec.config import PRESETS
from sim.common.packing import pack, unpack
from tests.bench.harness import give, simulate, wait

TINY = PRESETS["tiny"]
SETTINGS = SystemSettings(
    core=TINY, clock_hz=1_000_000, baud=250_000, memory_words=256, window_base=16, window_words=200
)
OUT, PROB, STATUS, SURVIVOR = (RESULT_STREAM[name] for name in ("out", "prob", "status", "survivor"))
ALL_BUT = {name: 0xF & ~(1 << number) for name, number in RESULT_STREAM.items()}


class ShortLink(Link):
    """A link whose queue of received bytes a test can fill."""

    RECEIVED = 64


class Bench:
    """Host on the serial line, memory and core of a link.

    The stand-in of the core answers a job with ``dim`` items of out and of prob and a status, ``code`` of which is the
    job's skew; a layer with a survivor and a status.
    """

    PERIOD = 1e-6  # of the simulator's clock

    def __init__(self, seed=0, settings=SETTINGS):
        self.settings = settings
        self.rng = random.Random(seed)
        self.link = ShortLink(settings)
        self.bit = settings.cycles_per_bit * self.PERIOD
        self.decoder = FrameDecoder()
        self.frames = []
        self.words = {}
        self.jobs = []
        self.given = []  # (stream, item) that the core gave
        self.ids = []
        self.clears = 0
        self.paused = False
        self.seq = seed

    # The line

    async def send(self, ctx, line):
        for byte in line:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                ctx.set(self.link.rx, bit)
                await ctx.delay(self.bit)

    async def receive(self, ctx):
        while True:
            await ctx.edge(self.link.tx, 0)
            await ctx.delay(self.bit / 2)
            assert ctx.get(self.link.tx) == 0
            byte = 0
            for i in range(8):
                await ctx.delay(self.bit)
                byte |= ctx.get(self.link.tx) << i
            await ctx.delay(self.bit)
            assert ctx.get(self.link.tx) == 1
            self.frames += self.decoder.feed(bytes((byte,)))
            assert self.decoder.dropped == 0

    async def answer(self, ctx):
        """The next frame of the link."""
        while not self.frames:
            await ctx.delay(self.bit)
        return self.frames.pop(0)

    async def ask(self, ctx, type, payload=b"", *, again=0):
        """Payload of the answer, or the Error; ``again``: send the request so many times more, one after the other."""
        self.seq = (self.seq + 1) % (1 << 16)
        answers = []
        for _ in range(1 + again):
            await self.send(ctx, encode_frame(type, self.seq, payload))
            answers.append(await self.answer(ctx))
        assert len(set(answers)) == 1
        assert answers[0].seq == self.seq
        if answers[0].type == Command.ERROR:
            code, about = answers[0].payload
            assert about == type
            return Error(code)
        assert answers[0].type == type | 0x80
        return answers[0].payload

    async def pull(self, ctx, most=MAX_PAYLOAD):
        """(stream, item, stamp) of all records that one PULL gives."""
        content = await self.ask(ctx, Command.PULL, most.to_bytes(2, "little"))
        assert len(content) <= most
        records = []
        while content:
            name = list(RESULT_STREAM)[content[0]]
            record, content = content[: record_sizes(TINY)[content[0]]], content[record_sizes(TINY)[content[0]] :]
            size = byte_count(result_layouts(TINY)[name])
            item = int.from_bytes(record[1 : 1 + size], "little")
            records.append((record[0], item, int.from_bytes(record[1 + size :], "little")))
        return records

    async def counters(self, ctx, clear=0):
        answer = await self.ask(ctx, Command.COUNTERS, bytes((clear,)))
        values = struct.unpack(f"<{len(answer) // 8}Q", answer)
        assert len(values) == len(counters_layout(TINY).members) + TINY.num_channels + 1
        return values

    # Memory and core

    async def memory(self, ctx):
        port = self.link.memory
        while True:
            if not ctx.get(port.request.valid):
                await ctx.posedge(port.request.valid)
            ctx.set(port.request.ready, 1)
            _, _, request = await ctx.tick().sample(port.request.payload)
            ctx.set(port.request.ready, 0)
            if request.write:
                self.words[request.channel, request.address] = request.data
            else:
                await give(ctx, port.response, self.words.get((request.channel, request.address), 0))

    async def take(self, ctx):
        """(stream, item) of the host."""
        ports = {name: getattr(self.link, name) for name in HOST_STREAM}
        waiting = [port.valid for port in ports.values()]
        while self.paused or not any(map(ctx.get, waiting)):
            if self.paused:
                await ctx.tick()
            else:
                await ctx.changed(*waiting)
        name = next(name for name, port in ports.items() if ctx.get(port.valid))
        ctx.set(ports[name].ready, 1)
        _, _, bits = await ctx.tick().sample(Value.cast(ports[name].payload))
        ctx.set(ports[name].ready, 0)
        return name, unpack(ports[name].payload.shape(), bits)

    async def offer(self, ctx, name, bits):
        """An item of the core; a reset makes it go away."""
        port = getattr(self.link, name)
        ctx.set(Value.cast(port.payload), bits)
        ctx.set(port.valid, 1)
        while True:
            _, _, ready, reset = await ctx.tick().sample(port.ready, self.link.core_reset)
            if ready or reset:
                break
        ctx.set(port.valid, 0)
        if not reset:
            self.given.append((RESULT_STREAM[name], bits))

    def random_item(self, name):
        return self.rng.getrandbits(result_layouts(TINY)[name].as_shape().width)

    async def core(self, ctx):
        def status(job):
            return pack(result_layouts(TINY)["status"], {"job_id": job["job_id"], "code": job["skew"]})

        while True:
            name, item = await self.take(ctx)
            if name == "job":
                self.jobs.append(item["job_id"])
                for _ in range(item["dim"]):
                    await self.offer(ctx, "prob", self.random_item("prob"))
                    await self.offer(ctx, "out", self.random_item("out"))
                await self.offer(ctx, "status", status(item))
            elif name == "layer":
                self.jobs.append(item["job"]["job_id"])
                await self.offer(ctx, "survivor", self.random_item("survivor"))
                await self.offer(ctx, "status", status(item["job"]))
            else:
                self.ids.append((name, item))

    async def clear_counters(self, ctx):
        names = list(counters_layout(TINY).members)
        while True:
            ctx.set(self.link.counters, {name: self.clears * 1000 + place for place, name in enumerate(names)})
            ctx.set(self.link.words_read, [self.clears + 50, (1 << 48) - 1])
            await ctx.posedge(self.link.counters_clear)
            await ctx.tick()
            assert ctx.get(self.link.counters_clear) == 0
            self.clears += 1

    def run(self, host, cycles=200_000):
        async def bench(ctx):
            ctx.set(self.link.memory_idle, 1)
            await host(ctx)
            assert self.frames == []

        simulate(self.link, bench, self.receive, self.memory, self.core, self.clear_counters, cycles=cycles)


def zeros(shape):
    return unpack(shape, 0)


def job_item(job_id, dim=1, code=0):
    return pack(
        item_layouts(TINY)["job"], zeros(item_layouts(TINY)["job"]) | {"job_id": job_id, "dim": dim, "skew": code}
    )


def push_payload(name, *items):
    size = byte_count(item_layouts(TINY)[name])
    return bytes((HOST_STREAM[name],)) + b"".join(item.to_bytes(size, "little") for item in items)


async def idle(bench, ctx):
    """Until nothing is left to be done."""
    while ctx.get(bench.link.busy):
        await ctx.tick()


def test_session():
    """Each command once, as a host uses them."""
    bench = Bench(seed=1)
    link = bench.link
    content = bench.rng.randbytes(24)

    async def host(ctx):
        assert await bench.ask(ctx, Command.RESET, b"\x7e nonce \x7d") == b"\x7e nonce \x7d"
        assert await bench.ask(ctx, Command.VERSION) == identity_bytes(SETTINGS)
        assert await bench.ask(ctx, Command.WRITE, struct.pack("<HI", 1, 20) + content) == b""
        assert await bench.ask(ctx, Command.READ, struct.pack("<HIH", 1, 20, 3)) == content
        assert bench.words == {(1, 20 + k): int.from_bytes(content[8 * k : 8 * k + 8], "little") for k in range(3)}
        assert await bench.pull(ctx) == []
        assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(7, dim=2), job_item(8))) == b"\2\0"
        await idle(bench, ctx)
        await wait(ctx, 100)
        records = await bench.pull(ctx)
        for stream in (PROB, OUT, STATUS):
            assert [i[:2] for i in records if i[0] == stream] == [i for i in bench.given if i[0] == stream]
        streams = [record[0] for record in records]
        assert sorted(streams[:5]) == [OUT, OUT, PROB, PROB, STATUS] and sorted(streams[5:]) == [OUT, PROB, STATUS]
        assert streams[4] == streams[7] == STATUS
        stamps = [stamp for stream, _, stamp in records if stream == STATUS]
        assert 0 < stamps[0] < stamps[1]
        assert bench.jobs == [7, 8]
        assert not ctx.get(link.error)

    bench.run(host)


def test_all_streams():
    bench = Bench(seed=2)
    shapes = item_layouts(TINY)

    async def host(ctx):
        layer = zeros(shapes["layer"])
        layer["job"]["job_id"] = 0xBEEF
        head = zeros(shapes["heads"]) | {"head": 3, "importance": 0xFEDCBA98, "last": 1}
        entry = zeros(shapes["ids"]) | {"ids": [1, 65535], "count": 2, "last": 1}
        for name, item in (("heads", head), ("ids", entry), ("layer", layer)):
            assert await bench.ask(ctx, Command.PUSH, push_payload(name, pack(shapes[name], item))) == b"\1\0"
        await idle(bench, ctx)
        assert bench.ids == [("heads", head), ("ids", entry)]
        assert bench.jobs == [0xBEEF]
        await wait(ctx, 50)
        records = await bench.pull(ctx)
        assert [record[0] for record in records] == [SURVIVOR, STATUS]
        assert [record[:2] for record in records] == bench.given

    bench.run(host)


def test_results_that_are_not_wanted():
    bench = Bench(seed=3)

    async def host(ctx):
        for mask, kept in ((ALL_BUT["prob"], [OUT, STATUS]), (0, [STATUS]), (0xF, [PROB, OUT, STATUS])):
            assert await bench.ask(ctx, Command.RESULTS, bytes((mask,))) == b""
            assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(1))) == b"\1\0"
            await idle(bench, ctx)
            await wait(ctx, 50)
            assert [record[0] for record in await bench.pull(ctx)] == kept

    bench.run(host)


def test_counters():
    bench = Bench(seed=4)

    async def host(ctx):
        names = counters_layout(TINY).members
        for clear, cleared in ((0, 0), (1, 0), (1, 1), (0, 2)):
            *values, dropped = await bench.counters(ctx, clear)
            expected = [cleared * 1000 + place for place in range(len(names))]
            assert values == [*expected, cleared + 50, (1 << 48) - 1]
            assert dropped == 0
        assert bench.clears == 2

    bench.run(host)


def test_errors():
    """Each error by its code; nothing is done, the error light goes on, and RESET puts it out."""
    bench = Bench(seed=5)
    link = bench.link

    async def host(ctx):
        for type, payload, error in (
            (0x33, b"", Error.UNKNOWN_COMMAND),
            (0x81, b"", Error.UNKNOWN_COMMAND),
            (Command.VERSION, b"x", Error.BAD_LENGTH),
            (Command.WRITE, struct.pack("<HI", 0, 20) + bytes(7), Error.BAD_LENGTH),
            (Command.READ, struct.pack("<HIH", 0, 20, 0), Error.BAD_LENGTH),
            (Command.PUSH, push_payload("job", 1)[:-1], Error.BAD_LENGTH),
            (Command.PULL, b"", Error.BAD_LENGTH),
            (Command.COUNTERS, b"", Error.BAD_LENGTH),
            (Command.RESULTS, b"", Error.BAD_LENGTH),
            (Command.WRITE, struct.pack("<HI", 0, 15) + bytes(8), Error.OUTSIDE_WINDOW),
            (Command.READ, struct.pack("<HIH", 2, 20, 1), Error.OUTSIDE_WINDOW),
            (Command.PUSH, b"\4abc", Error.BAD_STREAM),
        ):
            assert await bench.ask(ctx, type, payload) is error
            assert ctx.get(link.error)
        assert await bench.ask(ctx, Command.RESET) == b""
        assert not ctx.get(link.error)
        assert bench.words == {} and bench.jobs == [] and bench.clears == 0

    bench.run(host)


def test_refused_job_lights_the_error():
    bench = Bench(seed=7)

    async def host(ctx):
        assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(1, dim=0, code=5))) == b"\1\0"
        await idle(bench, ctx)
        await wait(ctx, 5)
        assert ctx.get(bench.link.error)

    bench.run(host)


def test_repeated_requests():
    """What a host does when answers are lost: nothing is executed twice, and no result is lost."""
    bench = Bench(seed=8)

    async def host(ctx):
        assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(1)), again=1) == b"\1\0"
        await idle(bench, ctx)
        await wait(ctx, 50)
        content = await bench.ask(ctx, Command.PULL, b"\xff\xff", again=1)
        assert len(content) == sum(record_sizes(TINY)[stream] for stream in (PROB, OUT, STATUS))
        assert await bench.pull(ctx) == []
        assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(1))) == b"\1\0"
        await idle(bench, ctx)
        assert bench.jobs == [1, 1]
        assert await bench.ask(ctx, Command.COUNTERS, b"\1", again=1)
        assert bench.clears == 1
        assert await bench.ask(ctx, 0x70, again=1) is Error.UNKNOWN_COMMAND

    bench.run(host)


def test_reset():
    """Jobs, results, mask and cycle count are as after power-on; the memory is kept; it waits for the memory."""
    bench = Bench(seed=9)
    link = bench.link

    async def host(ctx):
        assert await bench.ask(ctx, Command.WRITE, struct.pack("<HI", 0, 16) + b"12345678") == b""
        assert await bench.ask(ctx, Command.RESULTS, b"\0") == b""
        assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(1))) == b"\1\0"
        await idle(bench, ctx)
        bench.paused = True
        assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(2), job_item(3))) == b"\2\0"
        assert ctx.get(link.busy)
        ctx.set(link.memory_idle, 0)
        await bench.send(ctx, encode_frame(Command.RESET, 1, b"a"))
        while not ctx.get(link.core_reset):
            await ctx.tick()
        await wait(ctx, 300)
        assert ctx.get(link.core_reset) and bench.frames == []
        ctx.set(link.memory_idle, 1)
        await wait(ctx, 3)
        assert not ctx.get(link.core_reset)
        assert (await bench.answer(ctx))[:3] == (0x82, 1, b"a")
        bench.paused = False
        await idle(bench, ctx)
        assert bench.jobs == [1]
        assert await bench.pull(ctx) == []
        assert await bench.ask(ctx, Command.RESET, b"b") == b"b"
        assert await bench.ask(ctx, Command.PUSH, push_payload("job", job_item(4))) == b"\1\0"
        await idle(bench, ctx)
        await wait(ctx, 50)
        records = await bench.pull(ctx)
        assert [record[0] for record in records] == [PROB, OUT, STATUS]
        # Since the reset: its answer, and a job of 42 bytes at 40 cycles each.
        size = len(encode_frame(5, 0, push_payload("job", job_item(4))))
        assert 40 * size < records[-1][2] < 40 * (size + 25)
        assert bench.jobs == [1, 4]
        assert await bench.ask(ctx, Command.READ, struct.pack("<HIH", 0, 16, 1)) == b"12345678"

    bench.run(host)


@pytest.mark.long
def test_damaged_frames_and_garbage():
    """Whatever came before it, a good request behind a flag is answered, and each bad frame is counted."""
    bench = Bench(seed=11)
    rng = bench.rng
    twin = FrameDecoder()

    async def host(ctx):
        executed = []
        for _ in range(12):
            number = len(executed) + 1
            bad = bytearray(encode_frame(Command.WRITE, 1, struct.pack("<HI", 0, 20) + rng.randbytes(8)))
            kind, place = rng.randrange(5), rng.randrange(len(bad))
            if kind == 0:
                bad[place] ^= 1 << rng.randrange(8)
            elif kind == 1:
                del bad[place:]
            elif kind == 2:
                bad[place:place] = b"\x7e"
            elif kind == 3:
                bad = bytearray(rng.randbytes(rng.randrange(15)))
            else:
                bad[place:place] = b"\x7d\x7e"
            assert twin.feed(bytes(bad)) == []
            await bench.send(ctx, bytes(bad))
            payload = struct.pack("<HI", 0, 30 + number) + number.to_bytes(8, "little")
            good = encode_frame(Command.WRITE, number, payload)
            await bench.send(ctx, good)
            assert [frame[:3] for frame in twin.feed(good)] == [(Command.WRITE, number, payload)]
            answer = await bench.answer(ctx)
            assert answer[:3] == (0x83, number, b"")
            executed.append(number)
        assert bench.words == {(0, 30 + number): number for number in executed}
        *_, dropped = await bench.counters(ctx)
        assert dropped == twin.dropped > 4
        assert ctx.get(bench.link.error)

    bench.run(host, cycles=300_000)


@pytest.mark.long
def test_bytes_that_find_no_room():
    """While a RESET waits for the memory the queue overflows: its frames are lost, the next one is answered."""
    bench = Bench(seed=12)
    link = bench.link

    async def host(ctx):
        ctx.set(link.memory_idle, 0)
        await bench.send(ctx, encode_frame(Command.RESET, 1))
        for seq in range(2, 2 + 12):
            await bench.send(ctx, encode_frame(Command.VERSION, seq))
        ctx.set(link.memory_idle, 1)
        assert (await bench.answer(ctx)).seq == 1
        await wait(ctx, 100)
        await idle(bench, ctx)
        await wait(ctx, 100)
        assert [frame.seq for frame in bench.frames] == [2, 3, 4, 5, 6]
        bench.frames.clear()
        assert await bench.ask(ctx, Command.VERSION) == identity_bytes(SETTINGS)
        *_, dropped = await bench.counters(ctx)
        assert dropped == 1

    bench.run(host)


def test_repetition_is_by_the_crc_of_the_frame():
    """Same type and payload under another sequence number is another request."""
    bench = Bench(seed=13)
    payload = push_payload("heads", 1)

    async def host(ctx):
        for seq in (1, 2, 2, 3):
            await bench.send(ctx, encode_frame(Command.PUSH, seq, payload))
            assert (await bench.answer(ctx))[:3] == (0x85, seq, b"\1\0")
        assert len(bench.ids) == 3
        assert len({frame_crc(Command.PUSH, seq, payload) for seq in (1, 2, 3)}) == 3

    bench.run(host)
