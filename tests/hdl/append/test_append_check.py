"""AppendCheck: right commands pass; what lies beyond a limit, or in between, has its code, by loops over all rows."""

import random

import pytest

from hdl.append.append_check import AppendCheck
from hdl.spec.config import PRESETS
from hdl.spec.formats import Code
from tests.bench.append_planes import KEY, QUERY, VALUE, Layer
from tests.bench.harness import check_reset, made, simulate

CONFIGS = {name: PRESETS[name] for name in ("tiny", "ulx3s", "paper")}


def malformed(config, request):
    """Whether AppendUnit cannot do it."""
    command, plan = request["command"], request["plan"]
    flags = command["flags"]
    members = plan["group"] if flags[QUERY] else 1
    return (
        (flags[KEY], flags[VALUE], flags[QUERY]) not in ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1))
        or flags["reserved"] != 0
        or not 1 <= command["num_heads"] <= config.max_heads
        or command["num_rows"] == 0
        or not (not flags[QUERY] or 1 <= plan["group"] <= config.max_group)
        or command["first_row"] + command["num_rows"] * members > config.max_tokens
        or (flags["paired"] and command["num_heads"] % 2 == 1)
        or plan["dim"] not in config.dims
        or plan["skew"] >= config.num_channels
        or (plan["key_bits"], plan["key_lsb_bits"]) not in config.splits
        or any(plan[f"{name}_bits"] not in config.plane_widths for name in (QUERY, VALUE))
        or command["constants"] % 64 != 0
        or command["position_stride"] % 32 != 0
        or command["head_stride"] % 32 != 0
        or ((flags[KEY] or flags[QUERY]) and command["rows"] % 32 != 0)
        or (flags[VALUE] and command["value_rows"] % 32 != 0)
    )


def read(request):
    """(first byte, byte after the last) of everything that is read."""
    command, plan = request["command"], request["plan"]
    flags, dim = command["flags"], plan["dim"]
    tensors = [name for name in (KEY, VALUE, QUERY) if flags[name]]
    yield command["constants"], command["constants"] + 4 * dim * command["num_heads"] * len(tensors)
    for name in tensors:
        source = command["value_rows" if name == VALUE else "rows"]
        for head in range(command["num_heads"] * (plan["group"] if name == QUERY else 1)):
            for row in range(command["num_rows"]):
                place = source + row * command["position_stride"] + head * command["head_stride"]
                yield place, place + 2 * dim


def planes(config, request):
    """Byte after the last one of a channel, of every head's rows in every plane."""
    command, plan = request["command"], request["plan"]
    flags, bits = command["flags"], {name: plan[f"{name}_bits"] for name in (KEY, "key_lsb", VALUE, QUERY)}
    for name in (KEY, "key_lsb", VALUE, QUERY):
        if not flags["key" if name == "key_lsb" else name] or not bits[name]:
            continue
        base = command[QUERY] if name == QUERY else plan[name]
        wide = 2 if name == KEY and flags["paired"] else 1
        rows = command["first_row"] + command["num_rows"] * (plan["group"] if name == QUERY else 1)
        for head in range(command["num_heads"]):
            size = plan["dim"] * bits[name] // 8 * wide
            yield base + head // wide * plan[f"{name}_stride"] + ((rows - 1) // config.num_channels + 1) * size


def expected(config, request, window):
    if malformed(config, request):
        return Code.MALFORMED
    inside = all(window["base"] <= first and last <= window["limit"] for first, last in read(request))
    space = config.channel_width // 8 << config.address_width
    return 0 if inside and all(last <= space for last in planes(config, request)) else Code.OUTSIDE


def random_request(config, rng):
    paired = rng.random() < 0.3
    names = rng.choice(([KEY], [VALUE], [KEY, VALUE], [QUERY]))
    layer = Layer(
        config,
        dim=rng.choice(config.dims),
        widths=(rng.choice(config.plane_widths), *rng.choice(config.splits), rng.choice(config.plane_widths)),
        heads=2 if paired else rng.randint(1, 3),
        group=rng.randint(1, min(3, config.max_group)),
        rows=9,
        queries=4,
        paired=paired,
        skew=rng.randrange(config.num_channels),
        seed=rng.getrandbits(30),
    )
    return layer.command(names, first=rng.randint(0, 5 if names != [QUERY] else 0), rows=rng.randint(1, 4))


def changed(config, rng, request):
    """A request with one field at or about a limit of it."""
    command, plan = request["command"], request["plan"]
    word, space = config.channel_width // 8, config.channel_width // 8 << config.address_width
    near = rng.choice((-1, 0, 1))
    members = plan["group"] if command["flags"][QUERY] else 1
    rows = command["num_rows"] * members
    most = (config.max_tokens - command["first_row"]) // members
    tensors, widths = (KEY, "key_lsb", VALUE, QUERY), (0, 2, 4, 5, 6, 12, 14, 16, 255)
    choices = {
        "first_row": (command, config.max_tokens - rows + near),
        "first_row ": (command, (1 << 32) - rows),
        "num_rows": (command, rng.choice((0, 1, (1 << 16) - 1, most + near))),
        "num_heads": (command, rng.choice((0, 1, config.max_heads + near, (1 << 16) - 1))),
        "group": (plan, rng.choice((0, config.max_group + near, 255))),
        "dim": (plan, rng.choice((0, 8, 16, plan["dim"] + 1, plan["dim"] + 16, 272, (1 << 16) - 16))),
        "skew": (plan, rng.choice((config.num_channels + near, 1 << 15))),
        **{f"{name}_bits": (plan, rng.choice(widths)) for name in (QUERY, KEY, VALUE)},
        "key_lsb_bits": (plan, rng.choice((0, 2, 4, 8, 132))),
        "constants": (command, command["constants"] + rng.choice((4, 32, 64))),
        **{name: (command, command[name] + rng.choice((2, 16, 32))) for name in ("rows", "value_rows")},
        **{name: (command, command[name] + rng.choice((16, 32, 64))) for name in ("position_stride", "head_stride")},
        **{f"{name} ": (command, rng.choice((0, (1 << 32) - 32))) for name in ("position_stride", "head_stride")},
        **{name: (plan, space - word * rng.randint(1, 40)) for name in ("key", "key_lsb", "value")},
        "query": (command, space - word * rng.randint(1, 40)),
        **{f"{name}_stride": (plan, (space - word * rng.randint(0, 40)) & 0xFFFF_FFFF) for name in tensors},
    }  # fmt: skip
    name = rng.choice(list(choices))
    record, value = choices[name]
    record[name.strip()] = max(0, value)
    if rng.random() < 0.1:
        command["flags"][rng.choice((KEY, VALUE, QUERY, "paired"))] ^= 1
    if rng.random() < 0.02:
        command["flags"]["reserved"] = 1 << rng.randrange(27)
    return request


def window_of(rng, request):
    """All that is read, or not quite."""
    if request["command"]["num_rows"] * request["command"]["num_heads"] > 1 << 16:
        return {"base": 0, "limit": (1 << 64) - 4096}
    parts = list(read(request))
    base, limit = min(first for first, _ in parts), max(last for _, last in parts)
    move = rng.choice((0, 0, 0, 1, 8, 32))
    which = rng.random() < 0.5
    return {"base": base + move * which, "limit": min(limit - move * (not which), (1 << 64) - 1)}


async def codes(ctx, dut, cases, found):
    for request, window in cases:
        ctx.set(dut.request, request)
        ctx.set(dut.readable, window)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        cycles, done = 1, 0
        while not done:
            _, _, done, code = await ctx.tick().sample(dut.done, dut.code)
            cycles += 1
        found.append((code, cycles))


def check(config, cases):
    dut, found = made(AppendCheck, config), []

    async def bench(ctx):
        await codes(ctx, dut, cases, found)

    simulate(dut, bench, cycles=50 * len(cases))
    want = [int(expected(config, *case)) for case in cases]
    assert [code for code, _ in found] == want
    assert {cycles for _, cycles in found} == {24}
    return want


@pytest.mark.parametrize("name", CONFIGS)
def test_right_commands(name):
    rng, config = random.Random(name), CONFIGS[name]
    requests = [random_request(config, rng) for _ in range(40)]
    cases = []
    for request in requests:
        parts = list(read(request))
        window = {"base": min(first for first, _ in parts), "limit": max(last for _, last in parts)}
        cases.append((request, window))
    assert set(check(config, cases)) == {0}


@pytest.mark.parametrize("name", CONFIGS)
def test_limits(name):
    rng, config = random.Random(name), CONFIGS[name]
    cases = []
    for _ in range(400):
        request = changed(config, rng, random_request(config, rng))
        cases.append((request, window_of(rng, request)))
    want = check(config, cases)
    assert all(want.count(code) > 20 for code in (0, Code.MALFORMED, Code.OUTSIDE))


def test_addresses_at_the_end_of_all():
    """Nothing goes around."""
    config, rng, cases = CONFIGS["tiny"], random.Random(5), []
    for name in ("constants", "rows", "value_rows"):
        request = random_request(config, rng)
        while not (request["command"]["flags"][KEY] and request["command"]["flags"][VALUE]):
            request = random_request(config, rng)
        request["command"][name] = (1 << 64) - 64
        cases.append((request, {"base": 0, "limit": (1 << 64) - 1}))
    assert set(check(config, cases)) == {Code.OUTSIDE}


def test_reset():
    config = CONFIGS["tiny"]
    rng = random.Random(3)
    cases = [(request := random_request(config, rng), window_of(rng, request)) for _ in range(3)]

    def prepare(dut):
        found = []

        async def bench(ctx):
            await codes(ctx, dut, cases, found)

        return bench, [], found

    check_reset(lambda: AppendCheck(config), prepare, cycles=300)
