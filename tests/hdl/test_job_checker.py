import pytest

from hdl import layouts
from hdl.config import PRESETS
from hdl.job_checker import JobChecker
from tests.hdl.harness import run_streams

CONFIG = PRESETS["tiny"]  # 2 channels of 64 bits, 64 tokens, buffer of 128 slots of 16
GOOD = {
    "job_id": 7,
    "dim": 32,
    "num_keys": 9,
    "num_queries": 3,
    "group": 1,
    "head": 0,
    "accumulate": 0,
    "num_rows": 9,
    "causal": 0,
    "generation": 0,
    "list": 0,
    "value_keep": 4,
    "query_base": 100,
    "key_base": 200,
    "key_lsb_base": 300,
    "value_base": 400,
    "query_bits": 12,
    "key_bits": 6,
    "key_lsb_bits": 4,
    "value_bits": 8,
    "scale": 40000,
    "shift": 10,
    "flat_limit": 655360,
}


def check(jobs, ids=(), accepted=None, written=0, stall=0.3, window=(100, 500)):
    """Runs jobs (changes to GOOD); returns (accepted records, codes of the refused, id writes)."""
    jobs = [{"job": {**GOOD, "job_id": i, **job}, "layer": 0, "list_only": 0, "match": 0} for i, job in enumerate(jobs)]
    accepted = len(jobs) if accepted is None else accepted
    result, _ = run_streams(
        JobChecker(CONFIG),
        {"job": jobs, "ids": list(ids)},
        {"accepted": accepted, "refused": len(jobs) - accepted, "id_write": written},
        stall=stall,
        setup={"window_base": window[0], "window_limit": window[1], "list_free": 3},
    )
    return result["accepted"], result["refused"], result["id_write"]


def entries(ids):
    return [{"id": value, "importance": 3 * value, "last": i == len(ids) - 1} for i, value in enumerate(ids)]


@pytest.mark.parametrize("stall", [0, 0.5])
def test_good_job(stall):
    (record,), _, _ = check([{}], stall=stall)
    assert record["log_slices"] == 1
    assert (record["pack"], record["repeat"], record["listed"], record["progressive"]) == (0, 0, 0, 1)
    assert all(record[name] == GOOD[name] for name in ("dim", "num_keys", "value_keep", "scale", "value_base"))


def test_packed_job():
    (record,), _, _ = check([{"dim": 16}])
    assert (record["log_slices"], record["pack"], record["repeat"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dim": 24}, layouts.BAD_DIM),
        ({"dim": 80}, layouts.BAD_DIM),
        ({"num_keys": 0}, layouts.BAD_COUNT),
        ({"num_keys": 65, "num_rows": 65}, layouts.BAD_COUNT),
        ({"num_queries": 0}, layouts.BAD_COUNT),
        ({"num_queries": 65}, layouts.BAD_COUNT),
        ({"num_queries": 10, "causal": 1}, layouts.BAD_COUNT),
        ({"generation": 1}, layouts.BAD_COUNT),
        ({"generation": 1, "num_queries": 1, "group": 2}, layouts.BAD_COUNT),
        ({"num_queries": 13, "group": 5}, layouts.BAD_COUNT),  # 65 rows
        ({"group": 0}, layouts.BAD_HEADS),
        ({"group": 9}, layouts.BAD_HEADS),
        ({"group": 2, "head": 31}, layouts.BAD_HEADS),
        ({"group": 3, "query_base": 490}, layouts.BAD_WINDOW),  # 9 rows of 384 bits: 30 words
        ({"num_rows": 8}, layouts.BAD_COUNT),
        ({"value_keep": 0}, layouts.BAD_KEEP),
        ({"value_keep": 10}, layouts.BAD_KEEP),
        ({"key_bits": 5}, layouts.BAD_WIDTH),
        ({"key_bits": 10}, layouts.BAD_WIDTH),
        ({"key_lsb_bits": 2}, layouts.BAD_WIDTH),
        ({"query_bits": 16}, layouts.BAD_WIDTH),
        ({"value_bits": 0}, layouts.BAD_WIDTH),
        ({"scale": 0}, layouts.BAD_SCALE),
        ({"shift": 0}, layouts.BAD_SCALE),
        ({"dim": 64, "num_keys": 33, "num_rows": 33}, layouts.BAD_CAPACITY),
        ({"query_base": 99}, layouts.BAD_WINDOW),
        ({"key_base": 486}, layouts.BAD_WINDOW),  # 5 rows a channel of 192 bits: 15 words
        ({"key_lsb_base": 491}, layouts.BAD_WINDOW),  # 5 rows of 128 bits: 10 words
        ({"value_base": 481}, layouts.BAD_WINDOW),  # 5 rows of 256 bits: 20 words
        ({"list": 3}, layouts.BAD_IDS),
        ({"list": 2}, layouts.BAD_IDS),  # there is no previous list
    ],
)
def test_refused(change, code):
    _, (status,), _ = check([change], accepted=0)
    assert status == {"job_id": 0, "code": code}


def test_planes_may_end_with_the_window():
    records, _, _ = check([{"key_base": 485}, {"key_lsb_base": 490}, {"value_base": 480}])
    assert len(records) == 3


def test_static_job_has_no_lsb_plane():
    (record,), _, _ = check([{"key_lsb_bits": 0, "key_lsb_base": 9999}])
    assert record["progressive"] == 0


@pytest.mark.parametrize(
    ("ids", "good"),
    [([0, 1, 2], 3), ([3, 3, 5, 8], 3), ([5, 4, 6, 7], 3), ([0, 1, 2, 9], 3), ([1, 2, 3, 4, 5], 5)],
)
def test_bad_ids(ids, good):
    job = {"num_keys": 4, "list": 1}
    _, (status,), _ = check([job], entries(ids), accepted=0, written=good)
    assert status["code"] == layouts.BAD_IDS


def test_lists_alternate_and_a_refused_job_leaves_the_previous_one():
    new, previous = {"num_keys": 3, "value_keep": 2, "list": 1}, {"num_keys": 3, "value_keep": 2, "list": 2}
    jobs = [{**new}, {**previous}, {**new, "value_keep": 4}, {**previous}, {**new}, {**previous}]
    lists = [[1, 4, 8], [0, 1, 2], [2, 3, 5]]
    records, refused, writes = check(jobs, [e for ids in lists for e in entries(ids)], accepted=5, written=9)
    assert [(r["listed"], r["list"]) for r in records] == [(1, 1), (1, 1), (1, 1), (1, 0), (1, 0)]
    assert refused == [{"job_id": 2, "code": layouts.BAD_KEEP}]
    assert [w["id"] for w in writes] == [i for ids in lists for i in ids]
    assert [w["list"] for w in writes] == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert [w["position"] for w in writes] == [0, 1, 2] * 3


def test_previous_list_must_fit():
    job = {"num_keys": 3, "value_keep": 2}
    jobs = [{**job, "list": 1}, {**job, "num_rows": 8, "list": 2}, {**job, "num_keys": 4, "list": 2}]
    _, refused, _ = check(jobs, entries([1, 4, 8]), accepted=1, written=3)
    assert [status["code"] for status in refused] == [layouts.BAD_IDS, layouts.BAD_IDS]


async def send(ctx, port, item):
    ctx.set(port.payload, item)
    ctx.set(port.valid, 1)
    await ctx.tick().until(port.ready)
    ctx.set(port.valid, 0)


def walk(requests, ids=(), accepted=0, written=0, stall=0.3, events=()):
    """Requests of the layer walker; events are (before request i, pulse, values). Returns (codes, records)."""
    dut = JobChecker(CONFIG)
    answers = []

    async def bench(ctx):
        for number, request in enumerate(requests):
            for place, name, values in events:
                if place == number:
                    for signal, value in values.items():
                        ctx.set(getattr(dut, signal), value)
                    ctx.set(getattr(dut, name), 1)
                    await ctx.tick()
                    ctx.set(getattr(dut, name), 0)
            extra = {"layer": 1, "list_only": request.get("list_only", 0), "match": request.get("match", 0)}
            job = {**GOOD, **{name: value for name, value in request.items() if name not in extra}}
            await send(ctx, dut.job, {"job": job, **extra})
            while True:
                _, _, valid, code, taken = await ctx.tick().sample(
                    dut.answer.valid, dut.answer.payload.code, dut.accepted.valid & dut.accepted.ready
                )
                if valid or taken:
                    answers.append(int(code) if valid else None)
                    break

    result, _ = run_streams(
        dut,
        {"ids": list(ids)},
        {"accepted": accepted, "id_write": written},
        stall=stall,
        setup={"window_base": 100, "window_limit": 500, "list_free": 3},
        processes=[bench],
        settle=400,
    )
    return answers, result["accepted"]


def test_list_only_takes_the_list_and_nothing_else():
    only = {"list_only": 1, "num_keys": 3, "scale": 0, "key_base": 0}
    requests = [
        {**only, "match": 1},  # no list yet
        {**only, "list": 1, "match": 1},
        {"num_keys": 3, "value_keep": 2, "list": 2, "group": 2},
        {**only, "list": 2},
        {**only, "num_keys": 4, "match": 1},
        {**only, "num_rows": 8, "match": 1},  # id 8 is not a row
        {**only, "num_keys": 10},
    ]
    answers, records = walk(requests, entries([1, 4, 8]), accepted=1, written=3)
    bad = layouts.BAD_IDS
    assert answers == [bad, layouts.OK, None, layouts.OK, bad, bad, layouts.BAD_COUNT]
    assert (records[0]["layer"], records[0]["rows"], records[0]["listed"]) == (1, 6, 1)


def test_selection_makes_the_next_list_and_void_ends_it():
    only = {"list_only": 1, "num_keys": 4, "list": 2}
    requests = [{**only, "list": 1}, {**only, "num_keys": 2}, only, {**only, "num_keys": 2}]
    events = [(1, "selected", {"survivors": 2, "last_id": 8}), (3, "void", {})]
    answers, _ = walk(requests, entries([1, 4, 7, 8]), written=4, events=events)
    assert answers == [layouts.OK, layouts.OK, layouts.BAD_IDS, layouts.BAD_IDS]


def test_refused_list_spoils_the_importance_of_the_one_before():
    only = {"list_only": 1, "num_keys": 2, "list": 2}
    requests = [{**only, "list": 1}, {**only, "list": 1}, only, {"num_keys": 2, "value_keep": 1, "list": 2}]
    answers, _ = walk(requests, entries([1, 4]) + entries([5, 3]), accepted=1, written=3)
    assert answers == [layouts.OK, layouts.BAD_IDS, layouts.BAD_IDS, None]
