"""FrameTransmitter against the software encoder."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpga.host.codec import encode_frame
from fpga.link.frame.transmitter import FrameTransmitter
from fpga.spec.protocol import ESCAPE, FLAG, MAX_PAYLOAD
from tests.bench.examples import examples
from tests.bench.frames import payloads, random_payload
from tests.bench.harness import ProtocolError, check_stream_reset, give, made, run_streams


def frames_of(answers):
    """The frame of each answer, in software."""
    frames, buffer = [], b""
    for type, seq, payload in answers:
        buffer = buffer if payload is None else payload
        frames.append(encode_frame(type, seq, buffer))
    return frames


def decoder_of(dut, answers):
    """A process that writes payloads and gives answers."""

    async def run(ctx):
        length = 0
        for type, seq, payload in answers:
            if payload is not None:
                length = len(payload)
                for place, byte in enumerate(payload):
                    ctx.set(dut.write.payload, {"address": place, "byte": byte})
                    ctx.set(dut.write.valid, 1)
                    await ctx.tick()
                ctx.set(dut.write.valid, 0)
            await give(ctx, dut.answer, {"type": type, "seq": seq, "length": length})

    return run


def watch(dut, frames):
    """An answer is taken when its last byte has left, not earlier."""

    async def run(ctx):
        sent, ends = 0, [sum(map(len, frames[: number + 1])) for number in range(len(frames))]
        while True:
            signals = dut.o.valid, dut.o.ready, dut.answer.valid, dut.answer.ready
            _, _, valid, ready, answer, taken = await ctx.tick().sample(*signals)
            if answer and taken and sent != ends.pop(0):
                raise ProtocolError(f"an answer is taken after {sent} bytes")
            sent += valid and ready

    return run


def transmit(answers, *, stall, seed=0):
    """Check the line for (type, seq, payload, or None to leave the buffer as it is and send all of it again)."""
    dut, frames = made(FrameTransmitter), frames_of(answers)
    line = b"".join(frames)
    processes = [decoder_of(dut, answers), watch(dut, frames)]
    results, cycle = run_streams(dut, {}, {"o": len(line)}, stall=stall, seed=seed, processes=processes)
    assert bytes(results["o"]) == line
    return cycle, len(line)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_answers(stall):
    rng = random.Random(4)
    sizes = [0, 1, 30, 0, 5]
    answers = [(rng.randrange(256), rng.randrange(1 << 16), random_payload(rng, size)) for size in sizes]
    transmit(answers, stall=stall)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_flags_and_escapes_everywhere(stall):
    """In header and payload; lengths whose bytes need an escape, too."""
    rng = random.Random(5)
    answers = [
        (FLAG, FLAG << 8 | ESCAPE, bytes((FLAG, ESCAPE) * 4)),
        (ESCAPE, ESCAPE << 8 | FLAG, rng.randbytes(FLAG)),
        (0xFF, FLAG, rng.randbytes(ESCAPE)),
    ]
    transmit(answers, stall=stall)


def test_answer_again():
    """The buffer keeps its contents."""
    transmit([(7, 0x7E7D, b"once \x7e more"), (7, 0x7E7D, None), (7, 3, b""), (7, 3, None)], stall=0.2)


def test_longest_answer_and_rate():
    """Fast enough for the fastest line: a byte of it takes 40 cycles."""
    cycles, length = transmit([(7, 1, random_payload(random.Random(6), MAX_PAYLOAD))], stall=0)
    assert cycles < 1100 + 8 * length


@examples(25)
@given(st.integers(0, 255), payloads, st.integers(0, 65535))
def test_any_answer(type, payload, seq):
    transmit([(type, seq, payload)], stall=0.2)


def test_reset():
    answers = [(7, 0x7E01, b"some \x7e thing"), (0x82, 2, None), (3, 4, b"\x7d")]
    count = sum(map(len, frames_of(answers)))
    check_stream_reset(
        FrameTransmitter,
        {},
        {"o": count},
        processes=lambda dut: [decoder_of(dut, answers), watch(dut, frames_of(answers))],
        resets=8,
    )
