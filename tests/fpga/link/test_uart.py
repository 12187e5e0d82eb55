import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.link.uart import UartReceiver, UartTransmitter
from tests.bench.harness import give, made, simulate, wait


class Loop(wiring.Component):
    """Transmitter and receiver on one line."""

    def __init__(self, cycles: int):
        self.cycles = cycles
        super().__init__(
            {"i": In(stream.Signature(8)), "o": Out(stream.Signature(8, always_ready=True)), "tx": Out(1, init=1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tx, m.submodules.rx = tx, rx = UartTransmitter(self.cycles), UartReceiver(self.cycles)
        wiring.connect(m, wiring.flipped(self.i), tx.i)
        wiring.connect(m, rx.o, wiring.flipped(self.o))
        m.d.comb += [self.tx.eq(tx.tx), rx.rx.eq(tx.tx)]
        return m


def received_by(dut, bench, cycles):
    """The bytes of ``dut.o`` while ``bench`` runs."""
    received = []

    async def collect(ctx):
        while True:
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                received.append(byte)

    simulate(dut, bench, collect, cycles=cycles)
    return received


async def drive(ctx, line, bits, cycles):
    for bit in bits:
        ctx.set(line, bit)
        await wait(ctx, cycles)


def frame_bits(byte, stop=1):
    return [0, *(byte >> i & 1 for i in range(8)), stop]


@pytest.mark.parametrize("stall", [0, 60])
@pytest.mark.parametrize("cycles", [4, 5, 8, 13])
def test_bytes_go_through(cycles, stall):
    rng = random.Random(cycles)
    sent = [0, 0xFF, 0x55, 0xAA, *(rng.randrange(256) for _ in range(30))]
    dut = made(Loop, cycles)

    async def send(ctx):
        for byte in sent:
            await wait(ctx, rng.randint(0, stall) + 1)
            await give(ctx, dut.i, byte)
        await wait(ctx, 12 * cycles)

    assert received_by(dut, send, (10 * cycles + stall + 3) * len(sent) + 20 * cycles) == sent


@pytest.mark.parametrize("cycles", [4, 9])
def test_waveform_and_rate(cycles):
    """Two bytes back to back: every bit as long as it has to be, and one cycle between them at most."""
    dut = made(Loop, cycles)
    line = []

    async def send(ctx):
        for byte in (0xA5, 0x3C):
            await give(ctx, dut.i, byte)
        await wait(ctx, 12 * cycles)

    async def watch(ctx):
        while True:
            _, _, tx = await ctx.tick().sample(dut.tx)
            line.append(tx)

    simulate(dut, send, watch, cycles=100 * cycles)
    expected = [bit for byte in (0xA5, 0x3C) for bit in frame_bits(byte) for _ in range(cycles)]
    expected.insert(10 * cycles, 1)
    start = line.index(0)
    assert line[:start] == [1] * start
    assert line[start : start + len(expected)] == expected
    assert all(line[start + len(expected) :])


@pytest.mark.parametrize("sender", [31, 32, 33])
def test_sender_with_another_clock(sender):
    """Three per cent off is within what a serial line allows."""
    dut, sent = UartReceiver(32), [0x00, 0xFF, 0x5A, 0x80, 0x01]

    async def send(ctx):
        for byte in sent:
            await drive(ctx, dut.rx, frame_bits(byte), sender)
        await wait(ctx, 64)

    assert received_by(dut, send, 4000) == sent


def test_noise_and_framing_errors():
    """A glitch is no start bit; a byte without stop bit is dropped, and so is a break; the next byte is received."""
    dut = made(UartReceiver, 8)

    async def send(ctx):
        await drive(ctx, dut.rx, [0], 3)
        await drive(ctx, dut.rx, [1], 100)
        await drive(ctx, dut.rx, frame_bits(0x12), 8)
        await drive(ctx, dut.rx, frame_bits(0x34, stop=0), 8)
        await drive(ctx, dut.rx, [1], 8)
        await drive(ctx, dut.rx, frame_bits(0x56), 8)
        await drive(ctx, dut.rx, [0], 300)
        await drive(ctx, dut.rx, [1], 8)
        await drive(ctx, dut.rx, frame_bits(0x78), 8)
        await wait(ctx, 32)

    assert received_by(dut, send, 2000) == [0x12, 0x56, 0x78]


@pytest.mark.parametrize("block", [UartReceiver, UartTransmitter])
@pytest.mark.parametrize("cycles", [3, 1 << 16])
def test_constructor_errors(block, cycles):
    with pytest.raises(ValueError, match=f"cycles_per_bit must be from 4 to 65535, not {cycles}"):
        block(cycles)
