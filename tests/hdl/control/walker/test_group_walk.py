import random

import pytest

from hdl.control.walker.group_walk import GroupWalk
from hdl.spec import payloads
from hdl.spec.planes import PLANES
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.requests import CONFIG, GOOD

END = 1 << CONFIG.address_width


def random_layer(rng):
    """(layer, heads): right, or wrong in one way."""
    layer = {f"{name}_stride": rng.randrange(200) for name in PLANES}
    layer["job"] = {**GOOD, "skew": rng.randrange(2), **{f"{name}_base": rng.randrange(1000) for name in PLANES}}
    heads, kv = [], 0
    for _ in range(rng.randint(1, 4)):
        kv += rng.randint(0, 3)
        scale, shift = rng.randrange(1, 2**16), rng.randrange(1, 64)
        for _ in range(rng.choice((1, 1, 2, CONFIG.max_group))):
            importance, weight = rng.getrandbits(32), rng.getrandbits(16)
            heads.append({"head": rng.randrange(256), "kv_head": kv, "scale": scale, "shift": shift})
            heads[-1] |= {"weight": weight, "importance": importance, "last": 0}
        kv += 1
    heads[-1]["last"] = 1
    layer["num_heads"] = len(heads)
    wrong = rng.choice((None, None, None, "fewer", "more", "falls", "large", "wraps"))
    if wrong in ("fewer", "more"):
        layer["num_heads"] += 1 if wrong == "fewer" else -1
    if wrong == "falls" and len(heads) > 1 and heads[-2]["kv_head"]:
        heads[-1]["kv_head"] = heads[-2]["kv_head"] - 1
    if wrong == "large":
        heads = [{**heads[0], "last": 0} for _ in range(CONFIG.max_group + 1)]
        heads[-1]["last"], layer["num_heads"] = 1, len(heads)
    if wrong == "wraps":
        layer["value_stride"], layer["job"]["value_base"] = END // 3, END // 2
    return (layer, heads) if 0 < layer["num_heads"] <= CONFIG.max_heads else random_layer(rng)


def expected(layer, heads):
    """(groups, head entries, code) in plain Python."""
    job, groups, entries, code, group = layer["job"], [], [], payloads.OK, None

    def send():
        nonlocal code
        kv = group["kv"]
        places = {f"{name}_base": job[f"{name}_base"] + kv * layer[f"{name}_stride"] for name in PLANES}
        if any(place >= END for place in places.values()):
            code = code or payloads.BAD_WINDOW
            return
        skew = (job["skew"] + kv) % CONFIG.num_channels
        groups.append({**{name: group[name] for name in ("group", "head", "scale", "shift")}, "skew": skew, **places})

    before = 0
    for rank, head in enumerate(heads):
        opens = group is None or head["kv_head"] != before
        bad = head["kv_head"] < before or (not opens and group["group"] == CONFIG.max_group)
        bad = bad or head["last"] != int(rank + 1 == layer["num_heads"])
        if bad:
            code = code or payloads.BAD_HEADS
            break  # the group before it has not been sent, and never will be
        if opens and group is not None:
            send()
            if code:
                break
        if opens:
            group = {"group": 0, "head": rank, "kv": head["kv_head"], "scale": head["scale"], "shift": head["shift"]}
        group["group"] += 1
        entries.append({"rank": rank, **{name: head[name] for name in ("head", "weight", "importance")}})
        before = head["kv_head"]
    if not code:
        send()
    return groups, entries, code


def control(dut, layers, codes, entries):
    """A layer after the other; nothing is fine after a failure."""

    async def run(ctx):
        for layer, _ in layers:
            ctx.set(dut.layer, layer)
            ctx.set(dut.load, 1)
            ctx.set(dut.fine, 1)
            await ctx.tick()
            ctx.set(dut.load, 0)
            ctx.set(dut.layer, {})
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            code, done = payloads.OK, 0
            for _ in range(10_000):
                if done:
                    break
                _, _, done, fail, now = await ctx.tick().sample(dut.done, dut.fail, dut.code)
                if fail:
                    code = code or now
                    ctx.set(dut.fine, 0)
            codes.append(code)

    async def watch(ctx):
        names = ("rank", "head", "weight", "importance")
        while True:
            values = [dut.head_entry.payload[name] for name in names]
            _, _, valid, *got = await ctx.tick().sample(dut.head_entry.valid, *values)
            if valid:
                entries.append(dict(zip(names, got, strict=True)))

    return [run, watch]


@pytest.mark.parametrize("stall", [0, 0.5])
def test_random_layers(stall):
    rng = random.Random(1)
    layers = [random_layer(rng) for _ in range(60)]
    want = [expected(*layer) for layer in layers]
    codes: list = []
    entries: list = []
    dut = made(GroupWalk, CONFIG)
    result, _ = run_streams(
        dut,
        {"heads": [head for _, heads in layers for head in heads]},
        {"group": sum(len(groups) for groups, _, _ in want)},
        stall=stall,
        shy=0.5 if stall else None,
        processes=control(dut, layers, codes, entries),
        settle=500,
    )
    assert codes == [code for _, _, code in want]
    assert set(codes) == {payloads.OK, payloads.BAD_HEADS, payloads.BAD_WINDOW}
    assert result["group"] == [group for groups, _, _ in want for group in groups]
    assert entries == [entry for _, mine, _ in want for entry in mine]


def test_a_group_takes_six_cycles():
    """16 heads of K/V heads 0, 1, …: the way to the next bases is shorter than that."""
    layer = {"job": GOOD, "num_heads": 16, **{f"{name}_stride": 1 for name in PLANES}}
    blank = {"scale": 1, "shift": 1, "weight": 0, "importance": 0}
    heads = [{**blank, "head": kv, "kv_head": kv, "last": int(kv == 15)} for kv in range(16)]
    dut = made(GroupWalk, CONFIG)
    _, last = run_streams(
        dut, {"heads": heads}, {"group": 16}, stall=0, processes=control(dut, [(layer, heads)], [], []), settle=5
    )
    assert last <= 16 * 6 + 10


def test_reset_in_mid_stream():
    rng = random.Random(2)
    layers = [random_layer(rng) for _ in range(4)]
    check_stream_reset(
        lambda: GroupWalk(CONFIG),
        {"heads": [head for _, heads in layers for head in heads]},
        {"group": sum(len(expected(*layer)[0]) for layer in layers)},
        processes=lambda dut: control(dut, layers, [], []),
        settle=300,
    )
