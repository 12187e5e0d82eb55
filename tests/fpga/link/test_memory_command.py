"""MemoryCommand: words written and read through the window, and what is refused."""

import random
import struct

import pytest
from amaranth.hdl import Value

from fpga.link.memory_command import MemoryCommand
from fpga.spec.protocol import MAX_PAYLOAD, Command, Error
from fpga.spec.settings import SystemSettings
from hdl.spec.config import PRESETS, Config
from tests.bench.command_bench import CommandBench, check_command_reset
from tests.bench.harness import ProtocolError, give, made, monitor, simulate, wait


def settings_of(core, **window):
    return SystemSettings(core=core, clock_hz=1_000_000, baud=250_000, memory_words=256, **window)


TINY = PRESETS["tiny"]
SETTINGS = settings_of(TINY, window_base=16, window_words=200)


class Memory:
    """The other side of HostMemory, with random stalls; counts requests."""

    def __init__(self, port, seed=0, stall=0.3):
        self.port, self.rng, self.stall = port, random.Random(seed), stall
        self.words = {}
        self.requests = 0

    def processes(self):
        return [self.run, monitor(self.port.request, "request"), self.watch]

    async def run(self, ctx):
        port = self.port
        while True:
            ctx.set(port.request.ready, self.rng.random() >= self.stall)
            signals = (port.request.valid, port.request.ready, port.request.payload)
            _, _, valid, ready, request = await ctx.tick().sample(*signals)
            if not (valid and ready):
                continue
            ctx.set(port.request.ready, 0)
            self.requests += 1
            place = request.channel, request.address
            if request.write:
                self.words[place] = request.data
            else:
                await wait(ctx, self.rng.randint(0, 9) if self.stall else 0)
                await give(ctx, port.response, self.words.get(place, 0))

    async def watch(self, ctx):
        """Words go through one register: no request before the last read is answered, no answer without a read."""
        port, waits = self.port, False
        while True:
            request, response = port.request, port.response
            signals = (request.valid, request.ready, request.payload.write, response.valid, response.ready)
            _, _, asks, taken, write, answers, takes = await ctx.tick().sample(*signals)
            if waits and asks:
                raise ProtocolError("a request before the last read was answered")
            if takes and not waits:
                raise ProtocolError("an answer is taken that was not asked for")
            waits = (waits or (asks and taken and not write)) and not (answers and takes)


def write_payload(channel, first, content):
    return struct.pack("<HI", channel, first) + content


def read_payload(channel, first, count):
    return struct.pack("<HIH", channel, first, count)


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("preset", ["tiny", "ulx3s"])
def test_write_then_read(preset, stall):
    settings = settings_of(PRESETS[preset], window_base=16, window_words=200)
    dut = made(MemoryCommand, settings)
    bench, memory, rng = CommandBench(dut, seed=3, stall=stall), Memory(dut.memory, stall=stall), random.Random(4)
    size, channels = settings.core.channel_width // 8, settings.core.num_channels
    most = MAX_PAYLOAD // size

    async def run(ctx):
        model = {}
        for first, count in ((16, 1), (215, 1), (216 - most, most - 1), (50, 7)):
            channel = rng.randrange(channels)
            content = rng.randbytes(count * size)
            assert await bench.execute(ctx, Command.WRITE, write_payload(channel, first, content)) == (0, b"")
            for index in range(count):
                model[channel, first + index] = int.from_bytes(content[index * size : (index + 1) * size], "little")
            assert memory.words == model
        for channel in range(channels):
            for first, count in ((16, 1), (215, 1), (216 - most, most), (45, 12)):
                expected = b"".join(model.get((channel, first + k), 0).to_bytes(size, "little") for k in range(count))
                assert await bench.execute(ctx, Command.READ, read_payload(channel, first, count)) == (0, expected)

    simulate(dut, run, *memory.processes(), cycles=60_000)


def bad_accesses():
    word = bytes(8)
    for channel, first, count in ((2, 20, 1), (0xFFFF, 20, 1), (0, 15, 1), (0, 15, 2), (1, 215, 2), (1, 216, 1)):
        yield Command.WRITE, write_payload(channel, first, word * count), Error.OUTSIDE_WINDOW
        yield Command.READ, read_payload(channel, first, count), Error.OUTSIDE_WINDOW
    # A number of 32 bits must not wrap into the window, nor its upper bits be lost.
    for first in (0xFFFFFFFF, 0xFFFFFFEF, 0x10000 + 20, 0x80000010):
        yield Command.WRITE, write_payload(0, first, word * 40), Error.OUTSIDE_WINDOW
        yield Command.READ, read_payload(0, first, 40), Error.OUTSIDE_WINDOW
    for payload in (b"", write_payload(0, 20, b""), write_payload(0, 20, word[:-1]), write_payload(0, 20, word + b"x")):
        yield Command.WRITE, payload, Error.BAD_LENGTH
    for payload in (b"", read_payload(0, 20, 1)[:-1], read_payload(0, 20, 1) + b"x"):
        yield Command.READ, payload, Error.BAD_LENGTH
    for count in (0, 129, 0xFFFF):
        yield Command.READ, read_payload(0, 20, count), Error.BAD_LENGTH


def test_refused_accesses_touch_nothing():
    dut = made(MemoryCommand, SETTINGS)
    bench, memory = CommandBench(dut), Memory(dut.memory)

    async def run(ctx):
        for type, payload, error in bad_accesses():
            assert await bench.execute(ctx, type, payload) == (error, b""), (type, payload)
        assert memory.requests == 0
        assert await bench.execute(ctx, Command.WRITE, write_payload(0, 16, b"12345678")) == (0, b"")
        assert memory.words == {(0, 16): int.from_bytes(b"12345678", "little")}

    simulate(dut, run, *memory.processes(), cycles=30_000)


def test_window_that_is_the_whole_memory():
    """Words from 0 to the last one, and not one more."""
    dut = made(MemoryCommand, settings_of(TINY))
    bench, memory = CommandBench(dut), Memory(dut.memory)
    words = [bytes((number,)) * 8 for number in range(1, 4)]

    async def run(ctx):
        for first, content in ((0, words[0]), (254, words[1] + words[2])):
            assert await bench.execute(ctx, Command.WRITE, write_payload(1, first, content)) == (0, b"")
            assert await bench.execute(ctx, Command.READ, read_payload(1, first, len(content) // 8)) == (0, content)
        requests = memory.requests
        for type, payload in (
            (Command.READ, read_payload(1, 255, 2)),
            (Command.READ, read_payload(1, 256, 1)),
            (Command.READ, read_payload(1, 0xFFFFFFFF, 1)),
            (Command.WRITE, write_payload(1, 255, words[0] * 2)),
        ):
            assert await bench.execute(ctx, type, payload) == (Error.OUTSIDE_WINDOW, b"")
        assert memory.requests == requests

    simulate(dut, run, *memory.processes(), cycles=5000)


def test_widest_word():
    MemoryCommand(SystemSettings(core=Config(channel_width=4096), clock_hz=10**7, memory_words=16))
    with pytest.raises(ValueError, match="channel_width must be at most 4096 for the link, not 8192"):
        MemoryCommand(SystemSettings(core=Config(channel_width=8192), clock_hz=10**7, memory_words=16))


def test_reset():
    def background(dut, results):
        memory = Memory(dut.memory)

        async def log(ctx):
            request = dut.memory.request
            while True:
                _, _, valid, ready, bits = await ctx.tick().sample(
                    request.valid, request.ready, Value.cast(request.payload)
                )
                results.extend([bits] if valid and ready else [])

        return [*memory.processes(), log]

    content = bytes(range(1, 25))
    commands = [
        (Command.WRITE, write_payload(0, 20, content)),
        (Command.READ, read_payload(0, 21, 2)),
        (Command.READ, read_payload(0, 15, 2)),
        (Command.WRITE, write_payload(1, 30, content[:8])),
    ]
    check_command_reset(lambda: MemoryCommand(SETTINGS), commands, background=background)
