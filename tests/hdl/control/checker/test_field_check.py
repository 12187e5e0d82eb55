import random

from hdl.control.checker.field_check import FieldCheck
from hdl.spec import payloads
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG, random_request, request


def expected_code(item):
    """The first wrong field, told in plain Python."""
    job, head = item["job"], not item["list_only"]
    if job["dim"] not in CONFIG.dims:
        return payloads.BAD_DIM
    if not 1 <= job["num_keys"] <= job["num_rows"] <= CONFIG.max_tokens or job["skew"] >= CONFIG.num_channels:
        return payloads.BAD_COUNT
    if head and not 1 <= job["num_queries"] <= CONFIG.max_tokens:
        return payloads.BAD_COUNT
    if head and job["causal"] and job["num_queries"] > job["num_keys"]:
        return payloads.BAD_COUNT
    if head and job["generation"] and (job["num_queries"], job["group"]) != (1, 1):
        return payloads.BAD_COUNT
    if head and not 1 <= job["value_keep"] <= job["num_keys"]:
        return payloads.BAD_KEEP
    widths = {job["query_bits"], job["value_bits"]}
    if head and ((job["key_bits"], job["key_lsb_bits"]) not in CONFIG.splits or widths - set(CONFIG.plane_widths)):
        return payloads.BAD_WIDTH
    if head and not (job["scale"] and job["shift"]):
        return payloads.BAD_SCALE
    if head and not (1 <= job["group"] <= CONFIG.max_group and job["head"] + job["group"] <= CONFIG.max_heads):
        return payloads.BAD_HEADS
    return payloads.OK


def use(items):
    """A use of the block: (code, sizes of what is right) of every request, one every two cycles."""

    def prepare(dut):
        seen = []

        async def bench(ctx):
            for item in items:
                ctx.set(dut.request, item)
                ctx.set(dut.compare, 1)
                await ctx.tick()
                ctx.set(dut.compare, 0)
                code, rows, log = ctx.get(dut.code), ctx.get(dut.rows), ctx.get(dut.log_slices)
                ctx.set(dut.measure, 1)
                await ctx.tick()
                ctx.set(dut.measure, 0)
                assert ctx.get(dut.code) == code, "code holds until the next request"
                good = code == payloads.OK
                sizes = (rows, log, ctx.get(dut.too_many), ctx.get(dut.too_long)) if good else None
                seen.append((code, sizes))

        return bench, [], seen

    return prepare


def expected(item):
    code, job = expected_code(item), item["job"]
    if code != payloads.OK:
        return code, None
    head, rows = not item["list_only"], job["num_queries"] * job["group"]
    slots = job["num_keys"] * CONFIG.slices(job["dim"])
    most = CONFIG.key_slots // 2 if job["pair"] else CONFIG.buffer_slots
    too_long = head and slots > min(most, CONFIG.buffer_slots)
    return code, (rows, CONFIG.log_slices(job["dim"]), int(head and rows > CONFIG.max_tokens), int(too_long))


def test_random_requests():
    rng = random.Random(1)
    items = [random_request(rng, changes=1 + i % 3) for i in range(600)]
    # Fields that a list does not need may be anything; sizes are compared where they are defined.
    items = [item for item in items if not item["list_only"] or item["job"]["num_queries"] * item["job"]["group"] < 512]
    dut = made(FieldCheck, CONFIG)
    bench, _, seen = use(items)(dut)
    simulate(dut, bench, cycles=3 * len(items))
    want = [expected(item) for item in items]
    assert [code for code, _ in seen] == [code for code, _ in want]
    codes = {code for code, _ in want}
    assert codes >= {payloads.OK, payloads.BAD_DIM, payloads.BAD_COUNT, payloads.BAD_KEEP, payloads.BAD_WIDTH}
    assert codes >= {payloads.BAD_SCALE, payloads.BAD_HEADS}
    for item, got, right in zip(items, seen, want, strict=True):
        if right[1] is not None and not item["list_only"]:
            assert got == right, item


def test_the_first_of_several_wrong_fields_counts():
    order = [
        {"dim": 20},
        {"num_keys": 0},
        {"value_keep": 0},
        {"value_bits": 5},
        {"shift": 0},
        {"group": 9},
    ]
    items = [request(**{name: value for change in order[i:] for name, value in change.items()}) for i in range(6)]
    dut = made(FieldCheck, CONFIG)
    bench, _, seen = use(items)(dut)
    simulate(dut, bench, cycles=50)
    assert [code for code, _ in seen] == [
        payloads.BAD_DIM,
        payloads.BAD_COUNT,
        payloads.BAD_KEEP,
        payloads.BAD_WIDTH,
        payloads.BAD_SCALE,
        payloads.BAD_HEADS,
    ]


def test_reset_in_mid_stream():
    rng = random.Random(2)
    check_reset(lambda: FieldCheck(CONFIG), use([random_request(rng) for _ in range(10)]), cycles=100)
