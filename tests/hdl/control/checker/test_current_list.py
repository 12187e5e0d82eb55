import random

from hdl.control.checker.current_list import CurrentList
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG, request


class Model:
    """What is current, in plain Python."""

    def __init__(self):
        self.current, self.count, self.last, self.tabled = 0, 0, 0, False

    def apply(self, name, count, last):
        if name == "written":
            self.tabled = False
        if name in ("taken", "selected"):
            self.current, self.count, self.last = 1 - self.current, count, last
            self.tabled = self.tabled or name == "taken"
        if name == "void":
            self.count = 0

    def known(self, item):
        job = item["job"]
        if job["list"] == 2 or (item["list_only"] and item["match"]):
            fits = self.count == job["num_keys"] and self.last < job["num_rows"]
            return int(fits and (self.tabled or not item["list_only"]))
        return int(job["list"] == 0)


def steps(number, seed):
    """(pulse, count, last id, request) in turn."""
    rng = random.Random(seed)
    items = []
    for _ in range(number):
        count = rng.randint(1, 4)
        item = request(
            list=rng.randrange(4),
            list_only=int(rng.random() < 0.3),
            match=rng.randrange(2),
            num_keys=rng.randint(1, 4),
            num_rows=rng.choice((5, 9)),
        )
        items.append(
            (rng.choice(("written", "taken", "selected", "void", None)), count, rng.choice((4, 5, 8, 9)), item)
        )
    return items


def use(items):
    def prepare(dut):
        seen = []

        async def bench(ctx):
            for name, count, last, item in items:
                ctx.set(dut.count, count)
                ctx.set(dut.survivors, count)
                ctx.set(dut.last_id, last)
                ctx.set(dut.survivor_id, last)
                if name is not None:
                    ctx.set(getattr(dut, name), 1)
                await ctx.tick()
                if name is not None:
                    ctx.set(getattr(dut, name), 0)
                ctx.set(dut.request, item)
                await ctx.tick()
                seen.append((ctx.get(dut.current), ctx.get(dut.known)))

        return bench, [], seen

    return prepare


def test_random_steps():
    items = steps(400, 1)
    dut = made(CurrentList, CONFIG)
    bench, _, seen = use(items)(dut)
    simulate(dut, bench, cycles=3 * len(items))
    model, want = Model(), []
    for name, count, last, item in items:
        model.apply(name, count, last)
        want.append((model.current, model.known(item)))
    assert seen == want
    assert {known for _, known in want} == {0, 1}


def test_reset_in_mid_stream():
    """After a reset there is no list."""
    check_reset(lambda: CurrentList(CONFIG), use(steps(20, 2)), cycles=100, resets=6)
