"""FrameReceiver against the software decoder: good, damaged and too long frames."""

import random
import zlib

import pytest

from fpga.host.codec import Frame, FrameDecoder, encode_frame, frame_crc, stuff
from fpga.link.frame.layouts import request_layout
from fpga.link.frame.receiver import FrameReceiver
from fpga.spec.protocol import CRC_BYTES, ESCAPE, FLAG, HEADER_BYTES, MAX_PAYLOAD
from tests.bench.frames import random_payload
from tests.bench.harness import ProtocolError, check_reset, give, made, monitor, see, simulate


class Receiving:
    """One use of a receiver: it gives the line and takes the requests, and of some only half of their payload.

    ``requests``: (type, seq, payload as far as it was read, crc, too_long, length) of each; ``drops``: bad frames.
    """

    def __init__(self, dut, line, *, stall, seed):
        self.dut, self.line, self.stall, self.rng = dut, line, stall, random.Random(seed)
        self.requests, self.drops, self.quiet, self.sent = [], 0, 0, False

    def background(self):
        return [self.send, self.take, self.obey, monitor(self.dut.request, "request")]

    async def send(self, ctx):
        for byte in self.line:
            while self.rng.random() < self.stall:
                await ctx.tick()
            await give(ctx, self.dut.i, byte)
            self.quiet = 0
        self.sent = True

    async def body(self, ctx, length):
        dut, content = self.dut, []
        while len(content) < length:
            ctx.set(dut.body.ready, self.rng.random() >= self.stall)
            _, _, byte, valid, ready = await ctx.tick().sample(dut.body.payload, dut.body.valid, dut.body.ready)
            if valid and ready:
                content.append(byte)
        ctx.set(dut.body.ready, 0)
        return bytes(content)

    async def take(self, ctx):
        dut = self.dut
        while True:
            request = request_layout().from_bits(await see(ctx, dut.request))
            some = self.rng.choice((request.length, request.length, request.length // 2))
            payload = await self.body(ctx, 0 if request.too_long else some)
            self.requests.append((request.type, request.seq, payload, request.crc, request.too_long, request.length))
            ctx.set(dut.request.ready, 1)
            await ctx.tick()
            ctx.set(dut.request.ready, 0)
            self.quiet = 0

    async def obey(self, ctx):
        """No byte is taken while a request is on offer, and the body comes with a request only."""
        dut, body = self.dut, None
        while True:
            signals = dut.busy, dut.i.ready, dut.request.valid, dut.body.valid, dut.body.ready, dut.body.payload
            _, _, busy, takes, on_offer, valid, ready, byte = await ctx.tick().sample(*signals)
            if on_offer and (takes or not busy):
                raise ProtocolError("a byte is taken while a request is on offer")
            if valid and not on_offer:
                raise ProtocolError("body without a request")
            if on_offer and body is not None and (not valid or byte != body):
                raise ProtocolError("body changed before it was taken")
            body = byte if valid and not ready else None

    async def watch(self, ctx):
        """Over when nothing has happened for some cycles after the last byte."""
        dut = self.dut
        while not (self.sent and self.quiet > 20):
            _, _, drop, waiting = await ctx.tick().sample(dut.drop, dut.request.valid)
            self.drops += drop
            self.quiet = 0 if waiting else self.quiet + 1
        assert not ctx.get(dut.busy)
        assert ctx.get(dut.dropped) == self.drops


def receive(line, **options):
    """(requests, bad frames)."""
    dut = made(FrameReceiver)
    use = Receiving(dut, line, **options)
    simulate(dut, use.watch, *use.background(), cycles=500 * len(line) + 20_000)
    return use.requests, use.drops


def check_receiver(line, **options):
    """The same requests and drops as of the software; (frames, drops)."""
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


def test_each_bit_is_checked():
    """A frame with any single bit turned is dropped."""
    content = stuff(bytes((1, 0, 4, 5, 0, 0x33)))[1:-1]
    content += frame_crc(4, 5, b"\x33").to_bytes(CRC_BYTES, "little")
    assert stuff(content) == encode_frame(4, 5, b"\x33") and len(content) == HEADER_BYTES + 1 + CRC_BYTES
    number = int.from_bytes(content, "little")
    bits = range(8 * len(content))
    line = b"".join(stuff((number ^ (1 << bit)).to_bytes(len(content), "little")) for bit in bits)
    requests, dropped = receive(line, stall=0, seed=4)
    assert (requests, dropped) == ([], len(bits))


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


def test_reset():
    """In the middle of a frame or a request; bad frames are counted anew."""
    rng = random.Random(6)
    line = encode_frame(1, 2, random_payload(rng, 9)) + stuff(b"no frame at all") + encode_frame(6, 7, b"x")

    def prepare(dut):
        use = Receiving(dut, line, stall=0.3, seed=7)

        async def bench(ctx):
            await use.watch(ctx)
            assert len(use.requests) == 2 and use.drops == 1

        return bench, use.background(), use.requests

    check_reset(FrameReceiver, prepare, cycles=2000, resets=8)
