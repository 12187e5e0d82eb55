import random

from hdl.control.walker.head_intake import HeadIntake
from tests.bench.harness import check_reset, give, made, run_streams
from tests.bench.requests import CONFIG

BLANK = {"scale": 1, "shift": 1, "weight": 0, "importance": 0}


def random_heads(layers, seed):
    """Heads of layers in a row; K/V heads mostly ascend."""
    rng = random.Random(seed)
    heads = []
    for _ in range(layers):
        number, kv = rng.randint(1, 8), 0
        for place in range(number):
            kv = max(0, kv + rng.choice((0, 0, 1, 2, -1)))
            heads.append({**BLANK, "head": rng.randrange(256), "kv_head": kv, "last": int(place == number - 1)})
    return heads


def control(dut, number, seen, seed):
    """Weighs every head with random state, then takes it."""

    async def run(ctx):
        rng = random.Random(seed)
        for _ in range(number):
            group, final, fine = rng.choice((0, 1, 3, CONFIG.max_group)), rng.randrange(2), int(rng.random() < 0.8)
            ctx.set(dut.group, group)
            ctx.set(dut.final, final)
            ctx.set(dut.fine, fine)
            ctx.set(dut.weigh, 1)
            held = 0
            while not held:
                _, _, held = await ctx.tick().sample(dut.held)
            ctx.set(dut.weigh, 0)
            ctx.set(dut.group, rng.randrange(CONFIG.max_group))  # judged already
            for _ in range(rng.randrange(3)):
                await ctx.tick()
            judged = tuple(ctx.get(getattr(dut, name)) for name in ("opens", "good", "waits"))
            seen.append((ctx.get(dut.head.head), group, final, fine, judged))
            ctx.set(dut.take, 1)
            await ctx.tick()
            ctx.set(dut.take, 0)

    return run


def judged(head, before, group, final, fine):
    """(opens, good, waits) in plain Python; ``before``: the head before it, None at the begin of a layer."""
    kv = before["kv_head"] if before is not None else 0
    opens = group == 0 or head["kv_head"] != kv
    bad = head["kv_head"] < kv or (not opens and group == CONFIG.max_group) or head["last"] != final
    good = bool(fine and not bad)
    return int(opens), int(good), int(good and opens and group != 0)


def test_random_heads():
    heads = random_heads(40, 1)
    seen: list = []
    dut = made(HeadIntake, CONFIG)
    run_streams(
        dut, {"heads": heads}, {}, stall=0.3, processes=[control(dut, len(heads), seen, 2)], settle=20 * len(heads)
    )
    assert [item[0] for item in seen] == [head["head"] for head in heads]
    before = None
    for head, (_, group, final, fine, got) in zip(heads, seen, strict=True):
        assert got == judged(head, before, group, final, fine), (head, before)
        before = None if head["last"] else head
    for place in range(3):
        assert {got[place] for *_, got in seen} == {0, 1}


def test_reset_in_mid_stream():
    """After a reset the next head is the first of a layer: its K/V head is compared with 0."""
    heads = [{"head": 1, "kv_head": 3}, {"head": 2, "kv_head": 1, "last": 1}, {"head": 3, "kv_head": 0, "last": 1}]

    def prepare(dut):
        results: list = []

        async def drive(ctx):
            for head in heads:
                await give(ctx, dut.heads, head)

        return control(dut, len(heads), results, 3), [drive], results

    check_reset(lambda: HeadIntake(CONFIG), prepare, cycles=200, resets=6)
