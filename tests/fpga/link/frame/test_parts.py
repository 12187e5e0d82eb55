"""Stages of the receiver, each alone: escapes, parts of a frame, and the buffer of its payload."""

import random
import struct

import pytest

from fpga.host.codec import stuff
from fpga.link.frame.parts import FrameParts, PayloadBuffer, Unstuffer
from fpga.spec.protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG, HEADER_BYTES, MAX_PAYLOAD
from tests.bench.frames import random_payload
from tests.bench.harness import ProtocolError, check_reset, made, monitor, simulate, wait

# Unstuffer -----------------------------------------------------------------------------------------------------------

END, ABORTED = "end", "aborted"


def unstuffed(line):
    """Events of each byte of the line, in software: a byte of content, END, ABORTED, or None for an escape."""
    events, escaped = [], False
    for byte in line:
        if byte == FLAG:
            events.append(ABORTED if escaped else END)
        elif byte == ESCAPE and not escaped:
            events.append(None)
        else:
            events.append(byte ^ ESCAPE_XOR if escaped else byte)
        escaped = byte == ESCAPE and not escaped
    return events


def use_unstuffer(dut, line, stall, seed=0, events=None):
    """A bench that gives the line; ``events`` of each byte, the cycle after it, with the cycle's number."""
    rng = random.Random(seed)
    events = [] if events is None else events

    async def bench(ctx):
        cycle, left, offered, moved = 0, list(reversed(line)), False, False
        while left or moved:
            hold = rng.random() < stall
            ctx.set(dut.hold, hold)
            offered = offered or (bool(left) and rng.random() >= stall)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.i.payload, left[-1] if left else rng.randrange(256))
            signals = (dut.i.valid, dut.i.ready, dut.byte, dut.content, dut.end, dut.aborted)
            _, _, valid, ready, byte, content, end, aborted = await ctx.tick().sample(*signals)
            assert ready == (not hold and not end), "a byte is taken unless held, or at the end of a frame"
            assert moved or not (content or end), "an event without a byte"
            if moved:
                assert not (content and end)
                event = (ABORTED if aborted else END) if end else byte if content else None
                events.append((cycle, event))
            moved = bool(valid and ready)
            if moved:
                left.pop()
                offered = False
            cycle += 1

    return bench, events


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_any_line(seed, stall):
    """Noise, full of flags and escapes: each byte has its event the cycle after it."""
    dut, rng = made(Unstuffer), random.Random(seed)
    special = FLAG, ESCAPE, FLAG ^ ESCAPE_XOR, ESCAPE ^ ESCAPE_XOR
    line = bytes(rng.choice((rng.randrange(256), *special)) for _ in range(400))
    bench, events = use_unstuffer(dut, line, stall, seed)
    simulate(dut, bench, cycles=5000)
    assert [event for _, event in events] == unstuffed(line)
    assert {END, ABORTED, None, FLAG, ESCAPE} <= {event for _, event in events}


@pytest.mark.parametrize("stall", [0, 0.4])
def test_frames_of_the_codec(stall):
    """What software stuffs comes out as it was, between flags."""
    rng = random.Random(1)
    contents = [bytes(range(256)), bytes((FLAG, ESCAPE)), b"", bytes((ESCAPE,)), random_payload(rng, 50)]
    dut = made(Unstuffer)
    bench, events = use_unstuffer(dut, b"".join(map(stuff, contents)), stall)
    simulate(dut, bench, cycles=5000)
    expected = [part for content in contents for part in (END, *content, END)]
    assert [event for _, event in events if event is not None] == expected


def test_rate_of_the_unstuffer():
    """A byte a cycle, and a cycle without one at the end of a frame."""
    dut, content = made(Unstuffer), bytes(range(64))
    bench, events = use_unstuffer(dut, stuff(content), 0)
    simulate(dut, bench, cycles=200)
    assert [cycle for cycle, _ in events] == [1, *range(3, 3 + len(content) + 1)]


def test_reset_of_the_unstuffer():
    line = random_payload(random.Random(5), 60)

    def prepare(dut):
        bench, events = use_unstuffer(dut, line, 0.3)
        return bench, [], events

    check_reset(Unstuffer, prepare, cycles=1000, resets=8)


# FrameParts ----------------------------------------------------------------------------------------------------------


async def give_bytes(ctx, dut, content, rng, stall, writes):
    """Bytes of a frame; adds (address, byte) of each write."""
    for byte in content:
        while rng.random() < stall:
            ctx.set(dut.byte, rng.randrange(256))
            assert not ctx.get(dut.write_en)
            await ctx.tick()
        ctx.set(dut.byte, byte)
        ctx.set(dut.content, 1)
        _, _, enable, write = await ctx.tick().sample(dut.write_en, dut.write)
        writes.extend([(write.address, write.byte)] if enable else [])
        ctx.set(dut.content, 0)


async def clear(ctx, dut):
    ctx.set(dut.clear, 1)
    await ctx.tick()
    ctx.set(dut.clear, 0)


def header_of(content):
    length, type, seq = struct.unpack("<HBH", content[:HEADER_BYTES])
    return {"length": length, "type": type, "seq": seq}


@pytest.mark.parametrize("stall", [0, 0.4])
def test_parts(stall):
    """Frame after frame, shorter than a header and longer than the buffer too."""
    dut, rng = made(FrameParts), random.Random(2)
    longest = HEADER_BYTES + MAX_PAYLOAD
    sizes = (0, 3, HEADER_BYTES, HEADER_BYTES + 1, 30, longest, longest + CRC_BYTES, longest + 100, 12)

    async def run(ctx):
        for size in sizes:
            content, writes = rng.randbytes(size), []
            await give_bytes(ctx, dut, content, rng, stall, writes)
            assert ctx.get(dut.count) == size
            assert writes == list(enumerate(content[HEADER_BYTES:longest]))
            if size >= HEADER_BYTES:
                header = ctx.get(dut.header)
                assert {name: header[name] for name in ("length", "type", "seq")} == header_of(content)
                assert ctx.get(dut.last) == int.from_bytes(content[-CRC_BYTES:], "little")
            await clear(ctx, dut)
            assert ctx.get(dut.count) == 0

    simulate(dut, run, cycles=20_000)


def test_count_stops_at_its_largest_value():
    """A line without flags does not make it wrap to the length of a good frame."""
    dut, rng = made(FrameParts), random.Random(3)
    most = (1 << 17) - 1

    async def run(ctx):
        ctx.set(dut.count, most - 2)  # as after as many bytes
        for expected in (most - 1, most, most, most):
            await give_bytes(ctx, dut, b"x", rng, 0, [])
            assert ctx.get(dut.count) == expected
        await clear(ctx, dut)
        assert ctx.get(dut.count) == 0

    simulate(dut, run, cycles=100)


def test_reset_of_the_parts():
    content = random.Random(4).randbytes(40)

    def prepare(dut):
        rng, results = random.Random(5), []

        async def bench(ctx):
            await give_bytes(ctx, dut, content, rng, 0.3, results)
            results.append((ctx.get(dut.count), ctx.get(dut.last)))

        return bench, [], results

    check_reset(FrameParts, prepare, cycles=500, resets=8)


# PayloadBuffer -------------------------------------------------------------------------------------------------------


async def fill(ctx, dut, content):
    for place, byte in enumerate(content):
        ctx.set(dut.write, {"address": place, "byte": byte})
        ctx.set(dut.write_en, 1)
        await ctx.tick()
    ctx.set(dut.write_en, 0)


async def read(ctx, dut, count, rng, stall):
    """(cycle, byte) of the first bytes of the body."""
    bytes_read, cycle = [], 0
    while len(bytes_read) < count:
        ctx.set(dut.body.ready, rng.random() >= stall)
        _, _, valid, ready, byte = await ctx.tick().sample(dut.body.valid, dut.body.ready, dut.body.payload)
        bytes_read.extend([(cycle, byte)] if valid and ready else [])
        cycle += 1
        assert cycle < 10_000, "watchdog"
    ctx.set(dut.body.ready, 0)
    return bytes_read


@pytest.mark.parametrize("stall", [0, 0.4])
def test_payload(stall):
    """From the first byte on for each request, however much of it was read; withdrawn with the request."""
    dut, rng = made(PayloadBuffer), random.Random(6)

    async def watch(ctx):
        """The body is held while the request is, and no longer."""
        before, held_before, word = 0, 0, 0
        while True:
            signals = (dut.body.valid, dut.body.ready, dut.body.payload, dut.held)
            _, _, valid, ready, byte, held = await ctx.tick().sample(*signals)
            if before and held_before and (not valid or byte != word):
                raise ProtocolError("body changed before it was taken")
            if valid and not held_before:
                raise ProtocolError("body of no request")
            before, held_before, word = valid and not ready, held, byte

    async def run(ctx):
        for size in (1, 9, MAX_PAYLOAD, 40):
            content = random_payload(rng, size)
            await fill(ctx, dut, content)
            for count in (size // 2, size):
                ctx.set(dut.held, 1)
                assert bytes(byte for _, byte in await read(ctx, dut, count, rng, stall)) == content[:count]
                await wait(ctx, rng.randrange(5))
                ctx.set(dut.held, 0)
                await wait(ctx, rng.randint(1, 3))
                assert not ctx.get(dut.body.valid)

    simulate(dut, run, watch, cycles=20_000)


def test_a_byte_every_three_cycles():
    dut, rng = made(PayloadBuffer), random.Random(7)
    content = rng.randbytes(30)

    async def run(ctx):
        await fill(ctx, dut, content)
        ctx.set(dut.held, 1)
        cycles = [cycle for cycle, _ in await read(ctx, dut, len(content), rng, 0)]
        assert cycles == list(range(cycles[0], cycles[0] + 3 * len(content), 3))

    simulate(dut, run, cycles=200)


def test_reset_of_the_buffer():
    content = random.Random(8).randbytes(20)

    def prepare(dut):
        rng, results = random.Random(9), []

        async def bench(ctx):
            await fill(ctx, dut, content)
            ctx.set(dut.held, 1)
            results.extend(await read(ctx, dut, len(content), rng, 0.3))

        return bench, [monitor(dut.body, "body")], results

    check_reset(PayloadBuffer, prepare, cycles=500, resets=8)
