"""TokenBeats: a table of tokens in groups of lanes."""

import random

import pytest

from hdl.command.token_beats import TokenBeats
from hdl.spec.config import PRESETS
from tests.bench.harness import check_stream_reset, made, run_streams


def scene(config, count, seed=0):
    """(records, beats) of a table with so many tokens; what follows them in the last record is undefined."""
    rng, lanes = random.Random(seed), config.lanes
    size = -(-count // lanes) * lanes
    tokens = [
        {
            "id": rng.choice([rng.randrange(1 << 16), rng.randrange(1 << 24)]),
            "reserved0": 0,
            "importance": rng.getrandbits(32),
        }
        for _ in range(size)
    ]
    records, beats = [], []
    for first in range(0, size, lanes):
        group, last = tokens[first : first + lanes], first + lanes == size
        records.append({"record": group, "last": int(last), "error": 0})
        ids = [min(token["id"], (1 << 16) - 1) for token in group]
        importance = [token["importance"] for token in group]
        beats.append({"ids": ids, "importance": importance, "count": min(lanes, count - first), "last": int(last)})
    return records, beats


@pytest.mark.parametrize("preset", ["tiny", "ulx3s-d32", "paper"])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_tables(preset, stall):
    config = PRESETS[preset]
    for count in (1, config.lanes, config.lanes + 1, 5 * config.lanes, 41):
        records, beats = scene(config, count, seed=count)
        inputs, want = {"i": records * 2}, beats * 2
        dut = made(TokenBeats, config)
        got, last = run_streams(dut, inputs, {"o": len(want)}, setup={"count": count}, stall=stall)
        assert got["o"] == want
        assert stall or last == len(want) - 1, "a beat a cycle"


def test_reset():
    records, beats = scene(PRESETS["tiny"], 9)
    check_stream_reset(lambda: TokenBeats(PRESETS["tiny"]), {"i": records}, {"o": len(beats)}, setup={"count": 9})
