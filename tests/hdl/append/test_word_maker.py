"""WordMaker: chunks of spans that begin and end anywhere in a word."""

import random

import pytest

from hdl.append.word_maker import WordMaker
from hdl.spec.config import PRESETS
from tests.bench.harness import check_stream_reset, made, run_streams

BASES = [64 * (1 << 20), 64 * ((1 << 40) + 3)]


def scene(word_width, count, seed=0):
    """(inputs, words): spans of both sources in random channels, with what is written for them."""
    rng, per = random.Random(seed), word_width // 32
    inputs, words = {"span": [], "msb": [], "lsb": []}, []
    for _ in range(count):
        size, place, channel, lsb = rng.randint(1, 40), rng.randrange(1 << 16), rng.randrange(2), rng.randrange(2)
        chunks = [rng.getrandbits(32) for _ in range(size)]
        inputs["span"].append(
            {"channel": channel, "place": place, "chunks": size, "lsb": lsb, "last": rng.randrange(2)}
        )
        inputs["lsb" if lsb else "msb"] += chunks
        first = place // per
        for word in range(first, (place + size - 1) // per + 1):
            data = strobes = 0
            for at in range(per):
                if 0 <= word * per + at - place < size:
                    data |= chunks[word * per + at - place] << 32 * at
                    strobes |= 15 << 4 * at
            words.append({"word": BASES[channel] // (word_width // 8) + word, "data": data, "strobes": strobes})
    return inputs, words


def kept(item):
    """Of a word the bytes that are written."""
    mask = sum(0xFF << 8 * at for at in range(32) if item["strobes"] >> at & 1)
    return {**item, "data": item["data"] & mask}


@pytest.mark.parametrize("word_width", [64, 128, 256])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_spans(word_width, stall):
    inputs, words = scene(word_width, 40, seed=word_width)
    dut = made(WordMaker, PRESETS["tiny"], word_width=word_width)
    setup = {f"channel_base.{number}": base for number, base in enumerate(BASES)}
    got, last = run_streams(dut, inputs, {"o": len(words)}, stall=stall, seed=3, setup=setup)
    assert [kept(item) for item in got["o"]] == words
    padding = sum(-(span["place"] + span["chunks"]) % (word_width // 32) for span in inputs["span"])
    chunks = sum(span["chunks"] for span in inputs["span"])
    assert stall or last <= chunks + padding + 2 * len(inputs["span"]) + 2


def test_last_is_told_with_the_last_word_of_a_span():
    inputs, words = scene(64, 12, seed=9)
    dut, told = made(WordMaker, PRESETS["tiny"], word_width=64), []
    setup = {f"channel_base.{number}": base for number, base in enumerate(BASES)}

    async def watch(ctx):
        while True:
            _, _, valid, ready, last = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.last)
            if valid and ready:
                told.append(last)

    run_streams(dut, inputs, {"o": len(words)}, seed=4, setup=setup, processes=[watch])
    want = []
    for span in inputs["span"]:
        count = (span["place"] + span["chunks"] - 1) // 2 - span["place"] // 2 + 1
        want += [0] * (count - 1) + [span["last"]]
    assert told == want


def test_reset():
    inputs, words = scene(128, 6, seed=6)
    check_stream_reset(
        lambda: WordMaker(PRESETS["tiny"], word_width=128),
        inputs,
        {"o": len(words)},
        setup={f"channel_base.{number}": base for number, base in enumerate(BASES)},
        view=kept,
    )
