import random

import pytest

from hdl.axi.burst_merger import BurstMerger
from tests.bench.harness import check_stream_reset, made, run_streams

BASE = 0xFEDC_BA98_7654_3000


def merger(data_width: int = 64, address_width: int = 64) -> BurstMerger:
    return made(BurstMerger, address_width=address_width, data_width=data_width, word_width=20)


def setup(base: int = BASE, most: int = 16) -> dict[str, int]:
    return {"base": base, "max_burst": most, "allow": 1}


def merged(words: list[int], data_width: int, base: int, most: int, width: int) -> list[dict[str, int]]:
    """Bursts of words that come one a cycle."""
    size, found = data_width // 8, []
    for word in words:
        last = found[-1] if found else None
        follows = last and word == last["word"] + last["beats"] + 1 and word * size % 4096
        if last and follows and last["beats"] + 1 < most:
            last["beats"] += 1
        else:
            found.append({"address": (base + word * size) % (1 << width), "beats": 0, "word": word})
    return found


@pytest.mark.parametrize("data_width", [32, 64, 256, 1024])
@pytest.mark.parametrize("most", [1, 3, 16, 256])
@pytest.mark.parametrize("width, base", [(64, BASE), (64, (1 << 64) - 4096), (32, 0x8000_0000), (13, 0)])
def test_bursts_of_a_dense_stream(data_width, most, width, base):
    """What the table of docs/axi.md promises, for runs of every length, and addresses that wrap."""
    rng, words = random.Random(most), []
    while len(words) < 300:
        first = rng.choice((rng.randrange(1 << 19), 4096 * 8 // data_width * rng.randint(1, 9) - 2))
        words += range(first, first + rng.randint(1, 40))
    expected = merged(words, data_width, base, most, width)
    result, last = run_streams(
        merger(data_width, width), {"i": words}, {"o": len(expected)}, stall=0, setup=setup(base, most)
    )
    assert result["o"] == expected
    assert last <= len(words) + 4 + BurstMerger.PATIENCE, "a word a cycle"


@pytest.mark.parametrize("stall", [0.2, 0.6])
def test_all_words_are_in_bursts(stall):
    """Whatever gaps there are: no word is lost, twice, or in another order. The bursts are at least as many."""
    words = [*range(100, 300), *range(0, 600, 2), *range(500, 530)]
    for seed in range(3):
        result = gather(words, stall, seed)
        assert [burst["word"] + index for burst in result for index in range(burst["beats"] + 1)] == words


def gather(words: list[int], stall: float, seed: int) -> list[dict[str, int]]:
    """Bursts until all words are in some; how many is not known before."""
    count = len(merged(words, 64, BASE, 16, 64))
    while True:
        try:
            found, _ = run_streams(
                merger(), {"i": words}, {"o": count}, stall=stall, seed=seed, setup=setup(), settle=400
            )
        except AssertionError as error:
            if "items, expected" not in str(error):
                raise
            count = int(str(error).split()[1])
            continue
        return found["o"]


def test_reset_in_mid_stream():
    words = [*range(40), 7, 9, *range(500, 530)]
    count = len(merged(words, 64, BASE, 16, 64))
    check_stream_reset(merger, {"i": words}, {"o": count}, stall=0, setup=setup())
