"""The system through its serial pins, in Amaranth's simulator; test_board.py beside it runs whole models."""

import struct
from pathlib import Path

import pytest

from fpga.board.system import System
from fpga.host.codec import FrameDecoder, encode_frame
from fpga.spec.protocol import ANSWER, Command, Error, Identity
from fpga.spec.settings import SystemSettings, config_digest
from hdl.spec.config import Config
from tests.bench.harness import Simulation, made

SMALL = Config.load(str(Path(__file__).parents[2] / "bench" / "small.json"))
"""A core as small as it gets; CI builds its bitstream, too."""
CYCLES_PER_BIT = 4
CLOCK_HZ = 4_000_000
WATCHDOG = 4000


class Line:
    """Host's side of the serial line in a simulation: a request goes out, its answer comes back."""

    def __init__(self, dut):
        self.dut = dut
        self.sent, self.decoder, self.frames = 0, FrameDecoder(), []

    async def listen(self, ctx):
        """In the background: bytes of tx to frames."""
        wait, bits = None, []  # cycles to the next sample
        while True:
            # One tick at a time: a longer wait cannot be cut off when the simulation ends.
            _, _, level = await ctx.tick().sample(self.dut.tx)
            if wait is None:
                wait = None if level else CYCLES_PER_BIT + CYCLES_PER_BIT // 2 - 1
                continue
            wait -= 1
            if wait == 0:
                bits.append(level)
                wait = CYCLES_PER_BIT
            if len(bits) == 9:
                assert bits.pop() == 1, "stop bit"
                self.frames += self.decoder.feed(bytes([sum(bit << index for index, bit in enumerate(bits))]))
                wait, bits = None, []

    async def send(self, ctx, content):
        for byte in content:
            for bit in (0, *(byte >> index & 1 for index in range(8)), 1):
                ctx.set(self.dut.rx, bit)
                await ctx.tick().repeat(CYCLES_PER_BIT)

    async def ask(self, ctx, command, payload=b""):
        """Type and payload of the answer."""
        self.sent += 1
        await self.send(ctx, encode_frame(command, self.sent, payload))
        for _ in range(WATCHDOG):
            await ctx.tick()
            if self.frames:
                frame = self.frames.pop(0)
                assert frame.seq == self.sent
                return frame.type, frame.payload
        raise AssertionError(f"no answer to {command!r} within {WATCHDOG} cycles")


@pytest.mark.long
def test_commands_through_the_pins():
    settings = SystemSettings(core=SMALL, clock_hz=CLOCK_HZ, memory_words=64, window_base=8, window_words=32)
    assert settings.cycles_per_bit == CYCLES_PER_BIT
    dut = made(System, settings)
    line = Line(dut)
    words = bytes(range(0x78, 0x80)) + bytes(8)  # flag and escape among them
    leds = {}

    async def bench(ctx):
        await ctx.tick().repeat(10)
        leds["start"] = (ctx.get(dut.idle), ctx.get(dut.busy), ctx.get(dut.error))
        kind, payload = await line.ask(ctx, Command.VERSION)
        assert kind == Command.VERSION + ANSWER
        # protocol, channels, bytes of a word, longest payload, window and its words, clock, configuration
        identity = (1, 1, 8, 1024, 8, 32, CLOCK_HZ, config_digest(SMALL))
        assert struct.unpack(Identity.FORMAT, payload) == identity
        assert await line.ask(ctx, Command.WRITE, struct.pack("<HI", 0, 38) + words) == (Command.WRITE + ANSWER, b"")
        # The window's end comes from the settings.
        refused = await line.ask(ctx, Command.READ, struct.pack("<HIH", 0, 39, 2))
        assert refused == (Command.ERROR, bytes([Error.OUTSIDE_WINDOW, Command.READ]))
        leds["error"] = ctx.get(dut.error)
        # RESET keeps the memory.
        assert await line.ask(ctx, Command.RESET, b"nonce") == (Command.RESET + ANSWER, b"nonce")
        assert await line.ask(ctx, Command.READ, struct.pack("<HIH", 0, 38, 2)) == (Command.READ + ANSWER, words)
        await ctx.tick().repeat(20 * CYCLES_PER_BIT)
        leds["end"] = (ctx.get(dut.idle), ctx.get(dut.busy), ctx.get(dut.error))

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(line.listen, background=True)
    sim.add_testbench(bench)
    sim.run()
    assert leds == {"start": (1, 0, 0), "error": 1, "end": (1, 0, 0)}
    assert line.decoder.dropped == 0
