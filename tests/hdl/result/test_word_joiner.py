"""WordJoiner: the pieces of a word come out as one, in order, with all that they wrote."""

import random

import pytest

from hdl.result.word_joiner import WordJoiner
from tests.bench.harness import check_stream_reset, give, made, run_streams, simulate


def random_words(rng, width, count):
    """(pieces, words): each word in one to four pieces, later ones over earlier ones."""
    size, pieces, words = width // 8, [], []
    for _ in range(count):
        word, data, strobes = rng.getrandbits(20), 0, 0
        parts = rng.randint(1, 4)
        for part in range(parts):
            new, mask = rng.getrandbits(width), rng.getrandbits(size) | 1 << rng.randrange(size)
            for byte in range(size):
                if mask >> byte & 1:
                    data = data & ~(0xFF << 8 * byte) | new & 0xFF << 8 * byte
            strobes |= mask
            last, entry = rng.randint(0, 1), rng.randrange(8)
            write = {"word": word, "data": new, "strobes": mask}
            pieces.append({"write": write, "entry": entry, "last": last, "done": int(part == parts - 1)})
        words.append(({"word": word, "strobes": strobes}, data, entry, last))
    return pieces, words


def seen(item):
    """A word without the bytes that it does not write."""
    write = item["write"]
    data = sum(write["data"] & 0xFF << 8 * byte for byte in range(64) if write["strobes"] >> byte & 1)
    return {"word": write["word"], "strobes": write["strobes"]}, data, item["entry"], item["last"]


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_words(width, stall):
    pieces, words = random_words(random.Random(width), width, 80)
    dut = made(WordJoiner, word_width=width)
    got, last = run_streams(dut, {"i": pieces}, {"o": len(words)}, stall=stall, seed=width)
    assert [seen(item) for item in got["o"]] == words
    if stall == 0:
        assert last <= len(pieces) + 5


def test_flush():
    """What is here goes; a flush of nothing does nothing."""
    dut = made(WordJoiner, word_width=64)
    piece = {"write": {"word": 5, "data": 0x1122, "strobes": 3}, "entry": 2, "last": 0, "done": 0}

    async def flush(ctx):
        ctx.set(dut.flush, 1)
        await ctx.tick()
        ctx.set(dut.flush, 0)

    async def bench(ctx):
        await flush(ctx)
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.o.valid)
        await give(ctx, dut.i, piece)
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.o.valid)
        await flush(ctx)
        assert ctx.get(dut.o.valid) and ctx.get(dut.o.payload.write.strobes) == 3
        ctx.set(dut.o.ready, 1)
        await give(ctx, dut.i, {**piece, "write": {"word": 6, "data": 0, "strobes": 4}, "done": 1})
        assert ctx.get(dut.o.valid) and ctx.get(dut.o.payload.write.strobes) == 4

    simulate(dut, bench, cycles=100)


def test_reset():
    pieces, words = random_words(random.Random(9), 64, 10)
    check_stream_reset(lambda: WordJoiner(word_width=64), {"i": pieces}, {"o": len(words)}, view=seen)
