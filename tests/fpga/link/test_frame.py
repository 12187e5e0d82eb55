"""Framing: software codec, CRC, receiver and transmitter, each against the others."""

import random
import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpga.host.codec import Frame, FrameDecoder, encode_frame, frame_crc, stuff
from fpga.link.frame.layouts import CRC_PARAMETERS, request_layout
from fpga.link.frame.receiver import FrameReceiver
from fpga.link.frame.transmitter import FrameTransmitter
from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, result_layouts
from fpga.spec.protocol import ESCAPE, FLAG, MAX_PAYLOAD, Command
from hdl.spec.config import PRESETS
from tests.bench.examples import examples
from tests.bench.harness import ProtocolError, give, made, run_streams, see, simulate

DOC = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"

payloads = st.one_of(
    st.binary(max_size=40), st.lists(st.sampled_from([FLAG, ESCAPE, 0x5E, 0x20]), max_size=20).map(bytes)
)


def random_payload(rng, length):
    return bytes(rng.choice((rng.randrange(256), FLAG, ESCAPE)) for _ in range(length))


# Software ------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_crc_is_the_one_of_amaranth(content):
    assert zlib.crc32(content) == CRC_PARAMETERS.compute(content)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65535), payloads), max_size=5), st.randoms())
def test_codec_round_trip(frames, rng):
    line = b"".join(encode_frame(*frame) for frame in frames)
    decoder, decoded = FrameDecoder(), []
    while line:
        cut = rng.randint(1, len(line))
        decoded += decoder.feed(line[:cut])
        line = line[cut:]
    assert decoded == [Frame(*frame, frame_crc(*frame)) for frame in frames]
    assert decoder.dropped == 0


@given(st.binary(max_size=60), payloads)
def test_a_frame_behind_garbage_is_found(garbage, payload):
    decoder = FrameDecoder()
    decoder.feed(garbage)
    assert decoder.feed(encode_frame(3, 9, payload))[-1] == Frame(3, 9, payload, frame_crc(3, 9, payload))


def test_codec_limits():
    longest = bytes(MAX_PAYLOAD)
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame(1, 2, longest))[0].payload == longest
    assert decoder.feed(encode_frame(1, 2, longest + b"x")) == []
    assert decoder.dropped == 1
    with pytest.raises(ValueError, match="payload must be shorter than 65536 bytes, not 65536"):
        encode_frame(1, 2, bytes(65536))


# Receiver ------------------------------------------------------------------------------------------------------------


def receive(line, *, stall, seed):
    """What FrameReceiver makes of the bytes: ((type, seq, payload, crc, too_long) of each request, dropped)."""
    dut, rng, requests = FrameReceiver(), random.Random(seed), []
    state = {"sent": False, "quiet": 0, "drops": 0}

    async def send(ctx):
        for byte in line:
            while rng.random() < stall:
                await ctx.tick()
            await give(ctx, dut.i, byte)
            state["quiet"] = 0
        state["sent"] = True

    async def body(ctx, length):
        content = []
        while len(content) < length:
            ctx.set(dut.body.ready, rng.random() >= stall)
            _, _, byte, valid, ready = await ctx.tick().sample(dut.body.payload, dut.body.valid, dut.body.ready)
            if valid and ready:
                content.append(byte)
        ctx.set(dut.body.ready, 0)
        return bytes(content)

    async def take(ctx):
        while True:
            bits = await see(ctx, dut.request)
            request = request_layout().from_bits(bits)
            length = 0 if request.too_long else rng.choice((request.length, request.length, request.length // 2))
            payload = await body(ctx, length)
            if (ctx.get(dut.request.valid), ctx.get(dut.request.payload).as_bits()) != (1, bits):
                raise ProtocolError("request changed before it was taken")
            requests.append((request.type, request.seq, payload, request.crc, request.too_long, request.length))
            ctx.set(dut.request.ready, 1)
            await ctx.tick()
            ctx.set(dut.request.ready, 0)
            state["quiet"] = 0

    async def watch(ctx):
        while not (state["sent"] and state["quiet"] > 20):
            _, _, drop, waiting = await ctx.tick().sample(dut.drop, dut.request.valid)
            state["drops"] += drop
            state["quiet"] += 1
            if waiting:
                state["quiet"] = 0
        assert not ctx.get(dut.busy)
        assert ctx.get(dut.dropped) == state["drops"]

    simulate(dut, watch, send, take, cycles=500 * len(line) + 20_000)
    return requests, state["drops"]


def check_receiver(line, **options):
    requests, dropped = receive(line, **options)
    decoder = FrameDecoder()
    frames = decoder.feed(line)
    assert [(type, seq, crc, length) for type, seq, _, crc, _, length in requests] == [
        (frame.type, frame.seq, frame.crc, len(frame.payload)) for frame in frames
    ]
    for (*_, payload, _, too_long, _), frame in zip(requests, frames, strict=True):
        assert payload == frame.payload[: len(payload)] and not too_long
    assert dropped == decoder.dropped
    return frames, dropped


@pytest.mark.parametrize("stall", [0, 0.5])
def test_good_frames(stall):
    rng = random.Random(1)
    sizes = [0, 1, 2, 7, 60, 0]
    line = b"".join(encode_frame(rng.randrange(256), rng.randrange(1 << 16), random_payload(rng, n)) for n in sizes)
    frames, dropped = check_receiver(line, stall=stall, seed=2)
    assert (len(frames), dropped) == (len(sizes), 0)


def damaged(rng, frame):
    """A frame as a bad line may leave it."""
    frame = bytearray(frame)
    place = rng.randrange(len(frame))
    kind = rng.randrange(6)
    if kind == 0:
        frame[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del frame[place]
    elif kind == 2:
        del frame[place:]
    elif kind == 3:
        frame[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 9)))
    elif kind == 4:
        frame[place:place] = bytes((FLAG,))
    else:
        frame[place:place] = bytes((ESCAPE, FLAG))
    return bytes(frame)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_frames_cost_no_other(seed):
    """Between damaged frames each good one arrives; requests and count of dropped frames are those of the codec."""
    rng = random.Random(seed)
    line, good = b"", []
    for _ in range(25):
        frame = rng.randrange(256), rng.randrange(1 << 16), random_payload(rng, rng.randrange(12))
        if rng.random() < 0.6:
            line += damaged(rng, encode_frame(*frame))
        else:
            line += encode_frame(*frame)
            good.append(Frame(*frame, frame_crc(*frame)))
    frames, dropped = check_receiver(line, stall=0.2, seed=seed)
    assert [frame for frame in frames if frame in good] == good
    assert dropped > 5


def test_small_damages():
    """What is exactly too short, empty, cut at an escape, or of a wrong length."""
    header = bytes((1, 0, 4, 5, 0))  # announces one byte
    wrong_length = header + zlib.crc32(header).to_bytes(4, "little")
    lines = {
        bytes((FLAG, FLAG, FLAG)): 0,
        bytes((FLAG, ESCAPE, FLAG)): 1,
        bytes((FLAG, 1, 2, ESCAPE, FLAG)): 1,
        stuff(wrong_length): 1,
        stuff(wrong_length[:8]): 1,
        stuff(b""): 0,
        bytes((ESCAPE, ESCAPE, 0x33)): 1,
    }
    line = b"".join(lines) + encode_frame(9, 9)
    frames, dropped = check_receiver(line, stall=0.1, seed=1)
    assert frames == [Frame(9, 9, b"", frame_crc(9, 9))]
    assert dropped == sum(lines.values())


def test_longest_and_too_long():
    rng = random.Random(5)
    longest, longer = random_payload(rng, MAX_PAYLOAD), random_payload(rng, MAX_PAYLOAD + 1)
    line = (
        encode_frame(1, 2, longer) + encode_frame(3, 4, longest) + encode_frame(1, 2, longer)[:-7] + encode_frame(5, 6)
    )
    requests, dropped = receive(line, stall=0, seed=3)
    assert requests[0] == (1, 2, b"", frame_crc(1, 2, longer), 1, MAX_PAYLOAD + 1)
    assert requests[1] == (3, 4, longest[: len(requests[1][2])], frame_crc(3, 4, longest), 0, MAX_PAYLOAD)
    assert len(requests[1][2]) >= MAX_PAYLOAD // 2
    assert requests[2] == (5, 6, b"", frame_crc(5, 6), 0, 0)
    assert dropped == 1


# Transmitter ---------------------------------------------------------------------------------------------------------


def transmit(answers, *, stall, seed=0):
    """Bytes on the line for (type, seq, payload, or None to leave the buffer as it is and send all of it again)."""
    dut = made(FrameTransmitter)
    line = b""
    buffer = b""
    for _, seq, payload in answers:
        buffer = buffer if payload is None else payload
        line += encode_frame(7, seq, buffer)

    async def answer(ctx):
        length = 0
        for _, seq, payload in answers:
            if payload is not None:
                length = len(payload)
                for place, byte in enumerate(payload):
                    ctx.set(dut.write.payload, {"address": place, "byte": byte})
                    ctx.set(dut.write.valid, 1)
                    await ctx.tick()
                ctx.set(dut.write.valid, 0)
            await give(ctx, dut.answer, {"type": 7, "seq": seq, "length": length})

    results, cycle = run_streams(dut, {}, {"o": len(line)}, stall=stall, seed=seed, processes=[answer])
    assert bytes(results["o"]) == line
    return cycle, len(line)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_answers(stall):
    rng = random.Random(4)
    sizes = [0, 1, 30, 0, 5]
    transmit([(7, rng.randrange(1 << 16), random_payload(rng, size)) for size in sizes], stall=stall)


def test_answer_again():
    transmit([(7, 0x7E7D, b"once \x7e more"), (7, 0x7E7D, None), (7, 3, b""), (7, 3, None)], stall=0.2)


def test_longest_answer_and_rate():
    """Fast enough for the fastest line: a byte of it takes 40 cycles."""
    cycles, length = transmit([(7, 1, random_payload(random.Random(6), MAX_PAYLOAD))], stall=0)
    assert cycles < 1100 + 8 * length


@examples(25)
@given(payloads, st.integers(0, 65535))
def test_any_answer(payload, seq):
    transmit([(7, seq, payload)], stall=0.2)


# Specification -------------------------------------------------------------------------------------------------------


EXAMPLE = re.compile(
    r"^((?:[0-9a-f]{2} )+) *# type ([0-9a-f]{2}) seq ([0-9a-f]{4}) payload ?((?:[0-9a-f]{2} ?)*)$", re.M
)


def test_examples_of_the_specification():
    """Lines ``bytes  # type seq payload`` of docs/protocol.md."""
    text = DOC.read_text()
    found = EXAMPLE.findall(text)
    assert len(found) == text.count("# type") >= 15
    for line, type, seq, payload in found:
        assert bytes.fromhex(line) == encode_frame(int(type, 16), int(seq, 16), bytes.fromhex(payload))
    assert {int(type, 16) for _, type, _, _ in found} >= set(Command)


@pytest.mark.parametrize(("preset", "column"), [("tiny", 2), ("ulx3s", 3)])
def test_item_sizes_of_the_specification(preset, column):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in DOC.read_text().splitlines()]
    table = {row[0]: row for row in rows if len(row) == 4}
    for name, layout in {**item_layouts(PRESETS[preset]), **result_layouts(PRESETS[preset])}.items():
        assert int(table[name][column].split(",")[0]) == byte_count(layout)
