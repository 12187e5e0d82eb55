import random
from collections import deque

import pytest

from fpga.memory.read_queue import ReadQueue
from tests.bench.harness import check_reset, made, simulate

DEPTH = 4


class Use:
    """A memory that answers requests in order after some cycles, and a core; ``seen`` has (cycle, word)."""

    def __init__(self, dut, seed, words, *, stall=0.4):
        self.dut, self.rng, self.words, self.stall = dut, random.Random(seed), words, stall
        self.seen, self.open, self.most = [], 0, 0

    async def bench(self, ctx):
        dut, rng = self.dut, self.rng
        answers, asked, cycle, was_taken = deque(), 0, 0, 0
        while len(self.seen) < self.words:
            assert ctx.get(dut.idle) == (self.open == 0)
            assert ctx.get(dut.count) == len(self.seen) - was_taken
            request = asked < self.words and ctx.get(dut.room) and rng.random() > self.stall
            ctx.set(dut.requested, request)
            answer = bool(answers) and answers[0][0] <= cycle
            ctx.set(dut.word_valid, answer)
            if answer:
                ctx.set(dut.word, answers.popleft()[1])
            if request:
                answers.append((cycle + rng.randint(1, 6), 100 + asked))
                asked += 1
            ready = rng.random() > self.stall
            ctx.set(dut.o.ready, ready)
            taken = was_taken = int(ready and ctx.get(dut.o.valid))
            if taken:
                self.seen.append((cycle, ctx.get(dut.o.payload)))
            await ctx.tick()
            self.open += request - taken
            self.most = max(self.most, self.open)
            assert self.open <= DEPTH, "a word may come for which there is no place"
            cycle += 1


@pytest.mark.parametrize("stall", [0, 0.4, 0.8])
def test_every_word_comes_in_order(stall):
    dut = made(ReadQueue, 8, depth=DEPTH)
    use = Use(dut, 1, 60, stall=stall)
    simulate(dut, use.bench, cycles=5000)
    assert [word for _, word in use.seen] == list(range(100, 160))
    assert use.most == DEPTH, "all places are used"


def test_count_begins_anew():
    dut = made(ReadQueue, 8, depth=DEPTH)
    use = Use(dut, 2, 5)

    async def bench(ctx):
        await use.bench(ctx)
        ctx.set(dut.o.ready, 0)
        await ctx.tick()
        assert ctx.get(dut.count) == 5 and ctx.get(dut.idle) and ctx.get(dut.room)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert ctx.get(dut.count) == 0

    simulate(dut, bench, cycles=500)


def test_reset():
    def prepare(dut):
        use = Use(dut, 3, 20)
        return use.bench, [], use.seen

    check_reset(lambda: ReadQueue(8, depth=DEPTH), prepare, cycles=500, resets=8)
