"""Dispatch, answers, errors and repetition, with stand-ins for the blocks that execute."""

import random

import pytest

from fpga.link.command_decoder import GROUPS, CommandDecoder
from fpga.spec.protocol import MAX_PAYLOAD, Command, Error
from tests.bench.harness import give, made, simulate, wait

KNOWN = [command for group in GROUPS for command in group]


class Board:
    """A decoder, stand-ins that answer with the reverse of the payload, and the transmitter's buffer.

    A payload that begins with 0xE0 + e is answered by error e, after some bytes.
    """

    def __init__(self, seed=0):
        self.dut = made(CommandDecoder)
        self.rng = random.Random(seed)
        self.executed = []
        self.answers = []
        self.buffer = bytearray(MAX_PAYLOAD)
        self.failures = 0

    def stand_in(self, number):
        port = self.dut.commands[number]

        async def run(ctx):
            while True:
                _, _, start, type, length = await ctx.tick().sample(port.start, port.type, port.length)
                ctx.set(port.done, 0)
                if not start:
                    continue
                assert type in GROUPS[number]
                payload = b""
                while len(payload) < length:
                    ctx.set(port.body.ready, 1)
                    _, _, valid, byte = await ctx.tick().sample(port.body.valid, port.body.payload)
                    payload += bytes((byte,)) if valid else b""
                ctx.set(port.body.ready, 0)
                self.executed.append((type, payload))
                error = payload[0] - 0xE0 if payload and payload[0] > 0xE0 else 0
                for index, byte in enumerate(reversed(payload)):
                    ctx.set(port.answer.payload, byte)
                    ctx.set(port.answer.valid, 1)
                    if index == length - 1 and number % 2:  # done with the last byte, or behind it
                        ctx.set(port.done, 1)
                        ctx.set(port.error, error)
                    await ctx.tick()
                    ctx.set(port.answer.valid, 0)
                if not (length and number % 2):
                    ctx.set(port.done, 1)
                    ctx.set(port.error, error)
                    await ctx.tick()
                ctx.set(port.done, 0)

        return run

    async def memory(self, ctx):
        write = self.dut.write
        while True:
            signals = (write.valid, write.payload.address, write.payload.byte, self.dut.failed)
            _, _, valid, address, byte, failed = await ctx.tick().sample(*signals)
            if valid:
                self.buffer[address] = byte
            self.failures += failed

    async def transmitter(self, ctx):
        port = self.dut.answer
        while True:
            _, _, valid, answer = await ctx.tick().sample(port.valid, port.payload)
            if valid:
                for _ in range(self.rng.randint(1, 20)):
                    await ctx.tick()
                    assert (ctx.get(port.valid), ctx.get(port.payload)) == (1, answer)
                self.answers.append((answer.type, answer.seq, bytes(self.buffer[: answer.length])))
                ctx.set(port.ready, 1)
                await ctx.tick()
                ctx.set(port.ready, 0)

    async def body(self, ctx, payload):
        """The payload byte by byte, as long as the request is there."""
        port, request = self.dut.body, self.dut.request
        place = 0
        while True:
            ctx.set(port.payload, payload[place] if place < len(payload) else 0xEE)
            ctx.set(port.valid, self.rng.random() < 0.5)
            _, _, valid, ready, taken = await ctx.tick().sample(port.valid, port.ready, request.ready)
            place += valid and ready
            if taken:
                ctx.set(port.valid, 0)
                return

    async def ask(self, ctx, type, seq, payload=b"", *, crc, too_long=0):
        """The answer to a request."""
        request, number = self.dut.request, len(self.answers)
        fields = {"type": type, "seq": seq, "length": len(payload), "crc": crc, "too_long": too_long}
        ctx.set(request.payload, fields)
        ctx.set(request.valid, 1)
        await self.body(ctx, payload)
        ctx.set(request.valid, 0)
        while len(self.answers) == number or ctx.get(self.dut.busy):
            await ctx.tick()
        assert len(self.answers) == number + 1
        return self.answers[-1]

    def simulate(self, bench, cycles=20_000):
        stand_ins = [self.stand_in(number) for number in range(len(GROUPS))]
        simulate(self.dut, bench, self.memory, self.transmitter, *stand_ins, cycles=cycles)


def test_every_command_has_one_block():
    assert sorted(KNOWN) == sorted(command for command in Command if command != Command.ERROR)


@pytest.mark.parametrize("seed", range(3))
def test_answers(seed):
    board, rng = Board(seed), random.Random(seed)

    async def bench(ctx):
        expected = []
        for crc in range(60):
            type, seq = rng.choice(KNOWN), rng.randrange(1 << 16)
            payload = rng.randbytes(rng.choice((0, 1, 2, 9)))
            payload = payload.replace(b"\xe0", b"\0")
            error = payload[0] - 0xE0 if payload and payload[0] > 0xE0 else 0
            answer = await board.ask(ctx, type, seq, payload, crc=crc)
            expected.append((type, payload))
            if error:
                assert answer == (Command.ERROR, seq, bytes((error, type)))
            else:
                assert answer == (type | 0x80, seq, payload[::-1])
        assert board.executed == expected

    board.simulate(bench)


def test_longest_payload():
    board = Board()
    payload = bytes(k % 223 for k in range(MAX_PAYLOAD))

    async def bench(ctx):
        assert await board.ask(ctx, Command.RESET, 1, payload, crc=5) == (0x82, 1, payload[::-1])

    board.simulate(bench)


def test_errors_of_the_decoder():
    """Unknown types, answers' types among them, and requests that are too long are not executed."""
    board = Board()
    unknown = [type for type in range(256) if type not in KNOWN]

    async def bench(ctx):
        for type in (0, 9, 0x41, 0x81, 0x82, 0xFE, 0xFF, *random.Random(1).sample(unknown, 20)):
            answer = await board.ask(ctx, type, 7, b"abc", crc=type)
            assert answer == (Command.ERROR, 7, bytes((Error.UNKNOWN_COMMAND, type)))
        for type in (Command.WRITE, 0x55):
            answer = await board.ask(ctx, type, 8, crc=1000 + type, too_long=1)
            assert answer == (Command.ERROR, 8, bytes((Error.TOO_LONG, type)))
        assert board.executed == []
        assert board.failures == len(board.answers) == 29

    board.simulate(bench)


def test_repetition():
    """Only the CRC counts: the same request again, at once or after that answer, is answered but not executed."""
    board = Board()
    crc = 0x12345678

    async def bench(ctx):
        # CRC 0 right after power-on is no repetition.
        assert await board.ask(ctx, Command.PUSH, 1, b"first", crc=0) == (0x85, 1, b"tsrif")
        for _ in range(3):
            assert await board.ask(ctx, Command.PUSH, 2, b"once", crc=crc) == (0x85, 2, b"ecno")
        # One bit of another CRC makes another request.
        for bit in range(32):
            assert await board.ask(ctx, Command.PUSH, 2, b"once", crc=crc ^ 1 << bit) == (0x85, 2, b"ecno")
        # An error is repeated, too, and does not count twice.
        for _ in range(2):
            assert await board.ask(ctx, Command.PULL, 3, b"\xe2", crc=77) == (0xFF, 3, b"\x02\x06")
        # Only the last request can be repeated.
        assert await board.ask(ctx, Command.PUSH, 2, b"once", crc=crc) == (0x85, 2, b"ecno")
        assert board.executed == [(5, b"first"), *[(5, b"once")] * 33, (6, b"\xe2"), (5, b"once")]
        assert board.failures == 1
        await wait(ctx, 50)
        assert len(board.answers) == 1 + 3 + 32 + 2 + 1

    board.simulate(bench)


def test_a_request_may_follow_while_the_answer_is_sent():
    board = Board(seed=4)
    request = board.dut.request

    async def bench(ctx):
        for number in range(5):
            await give(ctx, request, {"type": 1, "seq": number, "length": 0, "crc": number, "too_long": 0})
        while len(board.answers) < 5:
            await ctx.tick()
        assert board.answers == [(0x81, number, b"") for number in range(5)]

    board.simulate(bench)
