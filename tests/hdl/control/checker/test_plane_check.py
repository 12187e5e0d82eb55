import dataclasses
import random

import pytest

from hdl.control.checker.plane_check import PlaneCheck
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG, GOOD

ODD = dataclasses.replace(CONFIG, num_channels=1, channel_width=32, max_tokens=48, dims=(16, 48), operand_width=16)
PLANES = ("key", "query"), ("key_lsb", "value")


def random_job(config, rng, planes, window):
    """A legal job whose planes end near the window's end, or begin near its begin."""
    pair = rng.choice((0, 0, 1, 2))
    job = {**GOOD, "dim": rng.choice(config.dims), "num_rows": rng.randint(1, config.max_tokens), "pair": pair}
    job["key_bits"], job["key_lsb_bits"] = rng.choice([split for split in config.splits if split[1]])
    job["query_bits"], job["value_bits"] = (rng.choice(config.plane_widths) for _ in range(2))
    rows = rng.randint(1, config.max_tokens)
    fits = []
    for name in planes:
        dim = 2 * job["dim"] if name == "key" and pair else job["dim"]
        words = config.plane_words(rows if name == "query" else job["num_rows"], dim, job[f"{name}_bits"])
        base = rng.choice((window[1] - words + rng.randint(-1, 1), window[0] + rng.randint(-1, 1), window[1] + 1))
        job[f"{name}_base"] = max(0, base)
        fits.append(int(window[0] <= job[f"{name}_base"] and job[f"{name}_base"] + words <= window[1]))
    return job, rows, fits


def use(cases, window):
    """A use of the block: ``fits`` of both planes of each job, a plane every cycle."""

    def prepare(dut):
        seen = []

        async def bench(ctx):
            ctx.set(dut.window_base, window[0])
            ctx.set(dut.window_limit, window[1])
            for job, rows, _ in cases:
                ctx.set(dut.job, job)
                ctx.set(dut.rows, rows)
                for cycle in range(5):
                    ctx.set(dut.load, 1 << cycle if cycle < 2 else 0)
                    ctx.set(dut.place, 1 << cycle - 2 if 2 <= cycle < 4 else 0)
                    if cycle >= 3:
                        await ctx.delay(1e-9)
                        seen.append(ctx.get(dut.fits))
                    await ctx.tick()

        return bench, [], seen

    return prepare


@pytest.mark.parametrize("planes", PLANES, ids=lambda planes: planes[0])
@pytest.mark.parametrize("config", [CONFIG, ODD], ids=["tiny", "odd"])
def test_planes_at_the_edges_of_the_window(config, planes):
    rng = random.Random(3)
    window = (1000, 1000 + 4 * config.plane_words(config.max_tokens, 2 * config.dims[-1], 16))
    cases = [random_job(config, rng, planes, window) for _ in range(150)]
    dut = made(PlaneCheck, config, planes)
    bench, _, seen = use(cases, window)(dut)
    simulate(dut, bench, cycles=6 * len(cases))
    want = [fits for _, _, both in cases for fits in both]
    assert seen == want and 0 < sum(want) < len(want)


def test_a_window_up_to_the_end_of_the_address_space():
    """The limit has one bit more than an address."""
    end = 1 << CONFIG.address_width
    job = {**GOOD, "key_lsb_base": end - 10, "value_base": end - 20}  # 5 rows of 128 and 256 bits
    cases = [(job, 9, None), ({**job, "key_lsb_base": end - 9, "value_base": end - 19}, 9, None)]
    dut = made(PlaneCheck, CONFIG, PLANES[1])
    bench, _, seen = use(cases, (0, end))(dut)
    simulate(dut, bench, cycles=20)
    assert seen == [1, 1, 0, 0]


def test_reset_in_mid_stream():
    rng = random.Random(4)
    cases = [random_job(CONFIG, rng, PLANES[0], (100, 5000)) for _ in range(6)]
    check_reset(lambda: PlaneCheck(CONFIG, PLANES[0]), use(cases, (100, 5000)), cycles=100)
