import dataclasses
import itertools
import random

import pytest

from hdl.control.checker.id_intake import IdIntake
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.requests import CONFIG

ROWS = 40


def beats_of(ids, lanes):
    """Beats of a list, importance 3 * id."""
    beats = []
    for start in range(0, len(ids), lanes):
        part = ids[start : start + lanes]
        rest = [0] * (lanes - len(part))
        beats.append(
            {
                "ids": part + rest,
                "importance": [3 * value for value in part] + rest,
                "count": len(part),
                "last": int(start + lanes >= len(ids)),
            }
        )
    return beats


def random_list(rng, lanes):
    """A list, of which a third have one wrong id or beat."""
    ids = sorted(rng.sample(range(ROWS), rng.randint(1, 12)))
    beats = beats_of(ids, lanes)
    if rng.random() < 0.35:
        beat = rng.choice(beats)
        kind = rng.randrange(3)
        if kind == 0:
            beat["ids"][rng.randrange(beat["count"])] = ROWS + rng.randrange(3)
        elif kind == 1:
            beat["ids"][0] = 0
        else:
            beat["count"] = 0 if lanes == 1 else rng.choice((0, lanes + 1)) if beat["last"] else lanes - 1
    return beats


def right(beat, before, lanes):
    """Whether a beat is right after the id ``before`` (None: it is the first)."""
    count = beat["count"]
    if not (count == lanes or (beat["last"] and 0 < count < lanes)):
        return False
    ids = ([] if before is None else [before]) + beat["ids"][:count]
    return all(low < high for low, high in itertools.pairwise(ids)) and all(id < ROWS for id in ids)


def expected(lists, lanes, fine):
    """(words that are written, (beats are all right, count) of each list)."""
    writes, ends = [], []
    for number, beats in enumerate(lists):
        good, before, count = True, None, 0
        for word, beat in enumerate(beats):
            good = good and right(beat, before, lanes)
            before = beat["ids"][min(beat["count"], lanes) - 1] if beat["count"] else before
            count += beat["count"]
            if good and fine[number]:
                ids = beat["ids"][: beat["count"]]
                writes.append({"list": number % 2, "word": word, "first": int(word == 0), "ids": ids})
        ends.append((good, count))
    return writes, ends


def control(dut, lists, fine, ends, seed):
    """Begins each list when the one before has gone; a list becomes free late, and stays free."""

    async def run(ctx):
        rng = random.Random(seed)
        ctx.set(dut.num_rows, ROWS)
        for number in range(len(lists)):
            ctx.set(dut.free, 0)
            ctx.set(dut.target, number % 2)
            ctx.set(dut.fine, fine[number])
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            good, done, left = True, 0, rng.randrange(12)
            while not done:
                if left == 0:
                    ctx.set(dut.free, 1 << number % 2)
                left -= 1
                _, _, bad, done = await ctx.tick().sample(dut.bad, dut.done)
                if bad:
                    ctx.set(dut.fine, 0)
                good = good and not bad
            ends.append((good, ctx.get(dut.count)))
            writing = 1
            while writing:
                _, _, writing = await ctx.tick().sample(dut.writing)

    return run


def taken(writes):
    return [
        {
            "list": write["list"],
            "word": write["word"],
            "first": write["first"],
            "ids": [id for lane, id in enumerate(write["ids"]) if write["mask"] >> lane & 1],
        }
        for write in writes
    ]


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_random_lists(lanes, stall):
    config = dataclasses.replace(CONFIG, lanes=lanes, topk_parallelism=8)
    rng = random.Random(lanes)
    lists = [random_list(rng, lanes) for _ in range(40)]
    fine = [int(rng.random() < 0.8) for _ in lists]
    writes, want = expected(lists, lanes, fine)
    ends: list = []
    dut = made(IdIntake, config)
    result, _ = run_streams(
        dut,
        {"ids": [beat for beats in lists for beat in beats]},
        {"id_write": len(writes)},
        stall=stall,
        shy=0.5,
        processes=[control(dut, lists, fine, ends, lanes)],
        settle=200,
    )
    assert taken(result["id_write"]) == writes
    assert ends == want
    assert any(not good for good, _ in want) and any(good for good, _ in want)


def test_reset_in_mid_stream():
    rng = random.Random(5)
    lists = [beats_of(sorted(rng.sample(range(ROWS), 5)), CONFIG.lanes) for _ in range(4)]
    fine = [1] * len(lists)
    check_stream_reset(
        lambda: IdIntake(CONFIG),
        {"ids": [beat for beats in lists for beat in beats]},
        {"id_write": len(expected(lists, CONFIG.lanes, fine)[0])},
        processes=lambda dut: [control(dut, lists, fine, [], 1)],
    )
