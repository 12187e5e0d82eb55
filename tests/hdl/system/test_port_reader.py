"""PortReader: words of every request in order, never more asked for than there is room for."""

import random
from collections import deque

import pytest

from hdl.system.port_reader import PortReader
from tests.bench.harness import check_reset, made, simulate
from tests.bench.region_bench import Monitor


class Use:
    """Random requests; a manager that answers in order, and fails from a word on. ``got``: (data, error)."""

    def __init__(self, dut, *, count=20, stall=0.3, seed=0, fails=None, longest=40):
        self.dut, self.stall, self.rng, self.fails = dut, stall, random.Random(f"{seed} port"), fails
        size = dut.word_width // 8
        rng = self.rng
        self.requests = [(size * rng.randrange(1 << 40), rng.randint(1, longest)) for _ in range(count)]
        self.numbers = [address // size + at for address, words in self.requests for at in range(words)]
        self.got, self.asked, self.cycle, self.most = [], [], 0, 0

    def word(self, number):
        return number * 0x9E3779B97F4A7C15 % (1 << self.dut.word_width)

    async def bench(self, ctx):
        dut, rng, port = self.dut, self.rng, self.dut.port
        monitors, on_way, given, offered = [Monitor(port.word), Monitor(dut.request)], deque(), 0, False
        sampled = [port.request.ready, dut.request.valid, dut.request.ready, dut.request.payload]
        edge = ctx.tick().sample(*sampled, port.word.valid, port.word.ready, port.word.payload)
        gave = 0
        while len(self.got) < len(self.numbers):
            offered = given < len(self.requests) and (offered or rng.random() >= self.stall)
            if offered:
                address, words = self.requests[given]
                ctx.set(port.request.payload, {"address": address, "words": words})
            ctx.set(port.request.valid, offered)
            ctx.set(dut.request.ready, rng.random() >= self.stall)
            comes = bool(on_way) and on_way[0][0] <= self.cycle and rng.random() >= self.stall
            failed = self.fails is not None and gave >= self.fails
            ctx.set(dut.response.valid, comes)
            if comes:
                ctx.set(dut.response.payload, self.word(on_way.popleft()[1]))
                gave += 1
            ctx.set(dut.failed, failed)
            ctx.set(port.word.ready, rng.random() >= self.stall)
            for monitor in monitors:
                monitor.look(ctx)
            _, _, taken, asks, ready, number, valid, accepted, word = await edge
            self.cycle += 1
            given, offered = (given + 1, False) if offered and taken else (given, offered)
            if asks and ready:
                self.asked.append(number)
                on_way.append((self.cycle + rng.randint(0, 6), number))
            if valid and accepted:
                self.got.append((word.data, word.error))
            self.most = max(self.most, len(self.asked) - len(self.got))
        ctx.set(port.request.valid, 0)


@pytest.mark.parametrize("word_width", [64, 256])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_words(word_width, stall):
    use = Use(made(PortReader, word_width=word_width), stall=stall, seed=word_width)
    simulate(use.dut, use.bench, cycles=20_000)
    assert use.asked == use.numbers
    assert use.got == [(use.word(number), 0) for number in use.numbers]
    assert use.most <= use.dut.words and (stall or use.cycle <= len(use.numbers) + 20)


def test_no_more_than_there_is_room_for():
    use = Use(made(PortReader, word_width=64, words=5), stall=0.6, seed=4)
    simulate(use.dut, use.bench, cycles=20_000)
    assert use.got == [(use.word(number), 0) for number in use.numbers] and use.most == 5


def test_a_manager_that_fails():
    """The word that comes in the cycle before the fault is told is in error, too."""
    use = Use(made(PortReader, word_width=64), seed=2, fails=50)
    simulate(use.dut, use.bench, cycles=20_000)
    errors = [error for _, error in use.got]
    assert errors == [0] * errors.index(1) + [1] * (len(errors) - errors.index(1))
    assert errors.index(1) in (49, 50)


def test_reset():
    def prepare(dut):
        use = Use(dut, count=4, longest=8, seed=3)
        return use.bench, [], use.got

    check_reset(lambda: PortReader(word_width=64), prepare, cycles=1000)
