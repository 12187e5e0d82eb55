import random

from hdl.control.checker.job_answer import JobAnswer
from hdl.spec import payloads
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.requests import CONFIG, request


def random_requests(number, seed):
    """(request, code)"""
    rng = random.Random(seed)
    items = []
    for job_id in range(number):
        item = request(job_id=job_id, layer=rng.randrange(2), list_only=0)
        if item["layer"]:
            item["list_only"] = rng.randrange(2)
        items.append((item, rng.choice((payloads.OK, payloads.OK, payloads.BAD_DIM, payloads.BAD_PAIR))))
    return items


def control(dut, items, taken):
    """A verdict for each request, the next one a few cycles after its answer."""

    async def run(ctx):
        for item, code in items:
            ctx.set(dut.request, item)
            ctx.set(dut.record.job_id, item["job"]["job_id"])
            ctx.set(dut.good, code == payloads.OK)
            ctx.set(dut.judge, 1)
            await ctx.tick()
            ctx.set(dut.judge, 0)
            ctx.set(dut.code, code)
            answered = 0
            while not answered:
                _, _, answered, took = await ctx.tick().sample(dut.answered, dut.taken)
            taken.append(took)

    return run


def expected(items):
    accepted, refused, answers = [], [], []
    for item, code in items:
        status = {"job_id": item["job"]["job_id"], "code": code}
        if code == payloads.OK and not item["list_only"]:
            accepted.append(status["job_id"])
        elif item["layer"]:
            answers.append(status)
        else:
            refused.append(status)
    return accepted, refused, answers


def watch(dut, answers):
    """The answers to the layer walker, who is always ready."""

    async def run(ctx):
        while True:
            _, _, valid, job_id, code = await ctx.tick().sample(
                dut.answer.valid, dut.answer.payload.job_id, dut.answer.payload.code
            )
            if valid:
                answers.append({"job_id": job_id, "code": code})

    return run


def test_each_answer_goes_to_whom_it_concerns():
    items = random_requests(120, 1)
    accepted, refused, answers = expected(items)
    taken: list = []
    told: list = []
    dut = made(JobAnswer, CONFIG)
    result, _ = run_streams(
        dut,
        {},
        {"accepted": len(accepted), "refused": len(refused)},
        stall=0.5,
        shy=0.5,
        processes=[control(dut, items, taken), watch(dut, told)],
        settle=100,
    )
    assert [record["job_id"] for record in result["accepted"]] == accepted
    assert result["refused"] == refused
    assert told == answers
    assert taken == [int(code == payloads.OK) for _, code in items]


def test_reset_in_mid_stream():
    items = random_requests(12, 2)
    accepted, refused, _ = expected(items)
    check_stream_reset(
        lambda: JobAnswer(CONFIG),
        {},
        {"accepted": len(accepted), "refused": len(refused)},
        processes=lambda dut: [control(dut, items, [])],
        settle=60,
    )
