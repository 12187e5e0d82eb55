import random

import pytest

from hdl.pv.beat_issuer import BeatIssuer
from tests.bench.cycles import run_cycles
from tests.hdl.pv.test_prob_times_v import CONFIGS
from tests.hdl.pv.test_weight_aligner import make_joined


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.4])
def test_beats_of_lines(name, stall):
    """Every beat of a line as soon as its V rows are there and, if it ends a row, the Normalizer has room."""
    config = CONFIGS[name]

    async def line(block, rng):
        """Offer a line until it is taken; returns the cycles."""
        joined = make_joined(config, rng)
        joined["line"]["a_last"], joined["finish"] = last, finish = rng.choice([(0, 0), (1, 0), (1, 1)])
        beats, cycles, present = config.beats(joined["row"]["dim"]), 0, 0
        block.set(offered=1, joined=joined)
        beat = 0
        while beat < beats:
            present = present or rng.random() >= stall
            room = rng.random() >= stall
            block.set(present=present, announce_ready=room)
            ends = finish and beat == beats - 1
            goes = present and (room or not ends)
            assert block.get("en") == goes
            assert block.get("announce_valid") == (present and ends)
            assert not ends or block.get("announce_payload") == joined["row"]["dim"]
            if goes:
                assert block.get("group") == beat
                assert block.get("first") == joined["first"] | beat * config.lanes
                assert block.get("last") == (last and beat == beats - 1)
                assert block.get("taken") == (beat == beats - 1)
            beat += goes
            cycles += 1
            await block.tick()
            stalls = [block.get(f"stall_{cause}") for cause in ("line", "value", "out")]
            assert stalls == [0, not present, present and not goes]
        return cycles - beats

    async def bench(block):
        rng = random.Random(f"{name} {stall}")
        for number in range(40):
            lost = await line(block, rng)
            assert stall or not lost, "a beat a cycle"
            if rng.random() < stall:
                block.set(offered=0)
                assert not block.get("en") and not block.get("announce_valid")
                await block.tick()
                assert block.get("stall_line")
            if number % 10 == 5:  # within a line, if it has several beats
                joined = make_joined(config, rng)
                block.set(offered=1, present=1, joined={**joined, "finish": 0}, announce_ready=1)
                await block.tick()
                block.set(offered=0)
                await block.reset()

    run_cycles(BeatIssuer(config), bench)
