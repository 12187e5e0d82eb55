import dataclasses
import random

import pytest

from hdl.control.job_checker import JobChecker
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from tests.bench.harness import check_stream_reset, made, run_streams

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
    "skew": 1,
    "pair": 0,
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


def check(jobs, ids=(), accepted=None, written=0, stall=0.3, window=(100, 500), config=CONFIG, list_free=3):
    """Runs jobs (changes to GOOD); returns (accepted records, codes of the refused, id writes)."""
    jobs = [{"job": {**GOOD, "job_id": i, **job}, "layer": 0, "list_only": 0, "match": 0} for i, job in enumerate(jobs)]
    accepted = len(jobs) if accepted is None else accepted
    result, _ = run_streams(
        made(JobChecker, config),
        {"job": jobs, "ids": list(ids)},
        {"accepted": accepted, "refused": len(jobs) - accepted, "id_write": written},
        stall=stall,
        setup={"window_base": window[0], "window_limit": window[1], "list_free": list_free},
    )
    return result["accepted"], result["refused"], result["id_write"]


def entries(ids, lanes=CONFIG.lanes, rng=None):
    """Beats of a list; what stands behind its last id is at random, or 0."""
    beats = []
    for start in range(0, len(ids), lanes):
        part = ids[start : start + lanes]
        rest = [rng.randrange(2**16) if rng else 0 for _ in range(lanes - len(part))]
        beats.append(
            {
                "ids": [*part, *rest],
                "importance": [*(3 * value for value in part), *rest],
                "count": len(part),
                "last": start + lanes >= len(ids),
            }
        )
    return beats


def ids_of(write):
    """(ids, importance) that a write sets."""
    lanes = [lane for lane in range(len(write["ids"])) if write["mask"] >> lane & 1]
    return [write["ids"][lane] for lane in lanes], [write["importance"][lane] for lane in lanes]


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
        ({"dim": 24}, payloads.BAD_DIM),
        ({"dim": 80}, payloads.BAD_DIM),
        ({"num_keys": 0}, payloads.BAD_COUNT),
        ({"num_keys": 65, "num_rows": 65}, payloads.BAD_COUNT),
        ({"num_queries": 0}, payloads.BAD_COUNT),
        ({"num_queries": 65}, payloads.BAD_COUNT),
        ({"num_queries": 10, "causal": 1}, payloads.BAD_COUNT),
        ({"generation": 1}, payloads.BAD_COUNT),
        ({"generation": 1, "num_queries": 1, "group": 2}, payloads.BAD_COUNT),
        ({"num_queries": 13, "group": 5}, payloads.BAD_COUNT),  # 65 rows
        ({"group": 0}, payloads.BAD_HEADS),
        ({"group": 9}, payloads.BAD_HEADS),
        ({"group": 2, "head": 31}, payloads.BAD_HEADS),
        ({"group": 3, "query_base": 490}, payloads.BAD_WINDOW),  # 9 rows of 384 bits: 30 words
        ({"num_queries": 11, "query_base": 465}, payloads.BAD_WINDOW),  # 11 rows: 36 words, not as many rows as K
        ({"num_rows": 8}, payloads.BAD_COUNT),
        ({"value_keep": 0}, payloads.BAD_KEEP),
        ({"value_keep": 10}, payloads.BAD_KEEP),
        ({"key_bits": 5}, payloads.BAD_WIDTH),
        ({"key_bits": 10}, payloads.BAD_WIDTH),
        ({"key_lsb_bits": 2}, payloads.BAD_WIDTH),
        ({"query_bits": 16}, payloads.BAD_WIDTH),
        ({"value_bits": 0}, payloads.BAD_WIDTH),
        ({"scale": 0}, payloads.BAD_SCALE),
        ({"shift": 0}, payloads.BAD_SCALE),
        ({"dim": 64, "num_keys": 33, "num_rows": 33}, payloads.BAD_CAPACITY),
        ({"query_base": 99}, payloads.BAD_WINDOW),
        ({"key_base": 486}, payloads.BAD_WINDOW),  # 5 rows a channel of 192 bits: 15 words
        ({"key_lsb_base": 491}, payloads.BAD_WINDOW),  # 5 rows of 128 bits: 10 words
        ({"value_base": 481}, payloads.BAD_WINDOW),  # 5 rows of 256 bits: 20 words
        ({"key_lsb_bits": 0, "value_base": 481}, payloads.BAD_WINDOW),
        ({"skew": 2}, payloads.BAD_COUNT),
        ({"skew": 128}, payloads.BAD_COUNT),
        ({"list": 3}, payloads.BAD_IDS),
        ({"list": 2}, payloads.BAD_IDS),  # there is no previous list
    ],
)
def test_refused(change, code):
    _, (status,), _ = check([change], accepted=0)
    assert status == {"job_id": 0, "code": code}


def test_planes_may_end_with_the_window():
    jobs = [{"key_base": 485}, {"key_lsb_base": 490}, {"value_base": 480}, {"num_queries": 11, "query_base": 464}]
    assert len(check(jobs)[0]) == 4


def test_static_job_has_no_lsb_plane():
    (record,), _, _ = check([{"key_lsb_bits": 0, "key_lsb_base": 9999}])
    assert record["progressive"] == 0


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_lists_of_every_length(lanes, stall):
    """Words, masks and ids of lists that end in every lane, and the next list behind them."""
    config = dataclasses.replace(CONFIG, lanes=lanes, topk_parallelism=8)
    rng = random.Random(lanes)
    lists = [sorted(rng.sample(range(64), count)) for count in [*range(1, 2 * lanes + 2), 64]]
    jobs = [{"dim": 16, "num_keys": len(ids), "num_rows": 64, "value_keep": 1, "list": 1} for ids in lists]
    beats = [beat for ids in lists for beat in entries(ids, lanes, rng)]
    records, _, writes = check(jobs, beats, written=len(beats), window=(0, 65000), stall=stall, config=config)
    assert [record["list"] for record in records] == [(i + 1) % 2 for i in range(len(lists))]
    for number, ids in enumerate(lists):
        mine, writes = writes[: -(-len(ids) // lanes)], writes[-(-len(ids) // lanes) :]
        assert [write["list"] for write in mine] == [(number + 1) % 2] * len(mine)
        assert [write["first"] for write in mine] == [1] + [0] * (len(mine) - 1)
        assert [write["word"] for write in mine] == list(range(len(mine)))
        assert [value for write in mine for value in ids_of(write)[0]] == ids
        assert [value for write in mine for value in ids_of(write)[1]] == [3 * value for value in ids]


@pytest.mark.parametrize(
    ("ids", "good"),
    [
        ([0, 1, 2], 2),
        ([3, 3, 5, 8], 0),
        ([3, 5, 5, 8], 1),
        ([5, 4, 6, 7], 0),
        ([4, 6, 6, 7], 1),
        ([0, 1, 2, 9], 1),
        ([0, 1, 2, 65535], 1),
        ([1, 2, 3, 4, 5], 3),
        ([9, 1, 2, 3], 0),
    ],
)
def test_bad_ids(ids, good):
    """Beats in front of the first bad one are written, none behind it; the next list is read from its begin."""
    job = {"num_keys": 4, "list": 1}
    following = [0, 2, 4, 8]
    records, (status,), writes = check(
        [job, job], [*entries(ids), *entries(following)], accepted=1, written=good + 2, list_free=3
    )
    assert status == {"job_id": 0, "code": payloads.BAD_IDS}
    assert [value for write in writes[good:] for value in ids_of(write)[0]] == following
    assert writes[good]["first"] and records[0]["list"] == writes[0]["list"] == 1


@pytest.mark.parametrize("beat", [{"count": 0}, {"count": 1}, {"count": 3}])
def test_beats_but_the_last_must_be_full(beat):
    first, second, last = entries([0, 1, 2, 3, 4])
    _, (status,), _ = check([{"num_keys": 5, "list": 1}], [first, {**second, **beat}, last], accepted=0, written=1)
    assert status["code"] == payloads.BAD_IDS


@pytest.mark.parametrize("count", [0, 3])
def test_last_beat_must_hold_one_id_and_no_more_than_the_lanes(count):
    first, last = entries([0, 1, 2, 3])
    _, (status,), _ = check([{"num_keys": 4, "list": 1}], [first, {**last, "count": count}], accepted=0, written=1)
    assert status["code"] == payloads.BAD_IDS


def test_list_is_written_when_it_is_free():
    """The first list is the one that is not current, which is 1; nothing is written before."""
    dut = made(JobChecker, CONFIG)

    async def owner(ctx):
        ctx.set(dut.list_free, 1)
        for _ in range(200):
            await ctx.tick()
            assert not ctx.get(dut.id_write.valid)
        ctx.set(dut.list_free, 2)

    result, last = run_streams(
        dut,
        {"job": [{"job": {**GOOD, "list": 1}, "layer": 0, "list_only": 0, "match": 0}], "ids": entries(list(range(9)))},
        {"accepted": 1, "id_write": 5},
        setup={"window_base": 100, "window_limit": 500},
        processes=[owner],
    )
    assert last > 200 and [value for write in result["id_write"] for value in ids_of(write)[0]] == list(range(9))


def test_ids_of_a_refused_job_are_only_read():
    """Even if no list may be written: the job that holds the list may be waiting for the next one."""
    bad, good = {"num_keys": 3, "value_keep": 4, "list": 1}, {"num_keys": 3, "value_keep": 2}
    records, (status,), _ = check([bad, good], entries([0, 1, 2]), accepted=1, list_free=0)
    assert status["code"] == payloads.BAD_KEEP and records[0]["job_id"] == 1


def test_lists_alternate_and_a_refused_job_leaves_the_previous_one():
    new, previous = {"num_keys": 3, "value_keep": 2, "list": 1}, {"num_keys": 3, "value_keep": 2, "list": 2}
    jobs = [{**new}, {**previous}, {**new, "value_keep": 4}, {**previous}, {**new}, {**previous}]
    lists = [[1, 4, 8], [0, 1, 2], [2, 3, 5]]
    records, refused, writes = check(jobs, [e for ids in lists for e in entries(ids)], accepted=5, written=4)
    assert [(r["listed"], r["list"]) for r in records] == [(1, 1), (1, 1), (1, 1), (1, 0), (1, 0)]
    assert refused == [{"job_id": 2, "code": payloads.BAD_KEEP}]
    assert [ids_of(w)[0] for w in writes] == [[1, 4], [8], [2, 3], [5]]
    assert [w["list"] for w in writes] == [1, 1, 0, 0]


def test_previous_list_must_fit():
    job = {"num_keys": 3, "value_keep": 2}
    jobs = [{**job, "list": 1}, {**job, "num_rows": 8, "list": 2}, {**job, "num_keys": 4, "list": 2}]
    _, refused, _ = check(jobs, entries([1, 4, 8]), accepted=1, written=2)
    assert [status["code"] for status in refused] == [payloads.BAD_IDS, payloads.BAD_IDS]


FIRST = {"generation": 1, "num_queries": 1, "dim": 32, "pair": 1}
SECOND = {**FIRST, "pair": 2, "key_lsb_base": 350, "value_base": 420, "query_base": 150, "value_keep": 2, "scale": 7}


def pair_codes(changes, ids=(), written=0, accepted=None, config=CONFIG):
    """Codes of jobs, 0 of the accepted."""
    records, refused, _ = check(changes, ids, accepted=accepted, written=written, config=config)
    codes = {status["job_id"]: status["code"] for status in refused} | {record["job_id"]: 0 for record in records}
    assert [record["pair"] for record in records] == [changes[record["job_id"]].get("pair", 0) for record in records]
    return [codes[number] for number in range(len(changes))]


def test_pairs():
    (first, second, alone), _, _ = check([FIRST, SECOND, {}])
    assert [record["pair"] for record in (first, second, alone)] == [1, 2, 0]
    assert first["skew"] == second["skew"] == 1 and first["key_base"] == second["key_base"]
    assert second["value_base"] == 420 and second["scale"] == 7


def test_pairs_share_a_list():
    """The first may bring it, or use the one before."""
    new, previous = {"list": 1, "num_keys": 3, "value_keep": 2}, {"list": 2, "num_keys": 3, "value_keep": 2}
    jobs = [{**FIRST, **new}, {**SECOND, **previous}, {**FIRST, **previous}, {**SECOND, **previous}]
    records, _, _ = check(jobs, entries([1, 4, 8]), written=2)
    assert [record["list"] for record in records] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"pair": 2},  # there is no first
        {"pair": 3},
        {"generation": 0},
        {"dim": 48},  # 96 elements a row
        {"dim": 64},
    ],
)
def test_bad_first_of_a_pair(change):
    assert pair_codes([{**FIRST, **change}, FIRST, SECOND], accepted=2) == [payloads.BAD_PAIR, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"pair": 0},
        {"pair": 1},
        {"pair": 3},
        {"generation": 0},
        {"dim": 16},
        {"num_keys": 8},
        {"num_rows": 10},
        {"key_bits": 8},
        {"key_lsb_bits": 0},
        {"skew": 0},
        {"key_base": 201},
        {"list": 2},
        {"list": 1},
        {"pair": 0, "list": 1},
    ],
)
def test_pair_stays_open_until_the_right_second(change):
    """A right one with another flaw is refused for that flaw."""
    ids = entries([0, 1, 2]) if change.get("list") == 1 else ()
    jobs = [FIRST, {**SECOND, **change}, {**SECOND, "value_keep": 10}, SECOND, {}]
    assert pair_codes(jobs, ids, accepted=3) == [0, payloads.BAD_PAIR, payloads.BAD_KEEP, 0, 0]


@pytest.mark.parametrize("second", [0, 1])
def test_second_of_a_listed_pair_must_not_bring_a_list(second):
    lists = {"list": 1, "num_keys": 3, "value_keep": 2}, {"list": second, "num_keys": 3, "value_keep": 2}
    ids = entries([1, 4, 8]) * (1 + second)
    jobs = [{**FIRST, **lists[0]}, {**SECOND, **lists[1]}, {**SECOND, **lists[0], "list": 2}]
    assert pair_codes(jobs, ids, accepted=2, written=2) == [0, payloads.BAD_PAIR, 0]


def test_pair_needs_whole_slices():
    config = dataclasses.replace(CONFIG, num_multipliers=64)  # slices of 32
    jobs = [{**FIRST, "dim": 16}, FIRST, SECOND]
    assert pair_codes(jobs, accepted=2, config=config) == [payloads.BAD_PAIR, 0, 0]


@pytest.mark.parametrize(("base", "code"), [(470, 0), (471, payloads.BAD_WINDOW)])
def test_key_rows_of_a_pair_are_of_both_heads(base, code):
    """5 rows a channel of 64 elements of 6 bits: 30 words."""
    codes = pair_codes(
        [{**FIRST, "key_base": base}, {**SECOND, "key_base": base}][: 1 + (code == 0)], accepted=2 * (not code)
    )
    assert codes == ([0, 0] if not code else [code])


def test_other_planes_of_a_pair_are_of_one_head():
    """5 rows a channel of 128 and of 256 bits, and a Q row of 384."""
    ends = {"key_lsb_base": 490, "value_base": 480, "query_base": 494}
    assert pair_codes([{**FIRST, **ends}, {**SECOND, **ends}]) == [0, 0]


@pytest.mark.parametrize(("keys", "code"), [(32, 0), (33, payloads.BAD_CAPACITY)])
def test_both_regions_of_a_pair_must_fit(keys, code):
    """K buffer of 128 slots, 2 a row; alone a job may fill it."""
    config = dataclasses.replace(CONFIG, key_rows=64)
    rows = {"num_keys": keys, "num_rows": keys, "value_base": 200}
    _, refused, _ = check([{**FIRST, **rows}], accepted=int(not code), config=config, window=(0, 900))
    assert [status["code"] for status in refused] == [code] * bool(code)
    check([{**rows, "num_keys": 64, "num_rows": 64}], config=config, window=(0, 900))


async def send(ctx, port, item):
    ctx.set(port.payload, item)
    ctx.set(port.valid, 1)
    await ctx.tick().until(port.ready)
    ctx.set(port.valid, 0)


def walk(requests, ids=(), accepted=0, written=0, stall=0.3, events=()):
    """Requests of the layer walker; events are (before request i, pulse, values). Returns (codes, records)."""
    dut = made(JobChecker, CONFIG)
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
        {**only, "num_keys": 9, "skew": 2},
        {**only, "num_keys": 9, "pair": 1},
        FIRST,
    ]
    answers, records = walk(requests, entries([1, 4, 8]), accepted=1, written=2)
    bad, count = payloads.BAD_IDS, payloads.BAD_COUNT
    assert answers == [
        bad,
        payloads.OK,
        None,
        payloads.OK,
        bad,
        bad,
        count,
        count,
        payloads.BAD_PAIR,
        payloads.BAD_PAIR,
    ]
    assert (records[0]["layer"], records[0]["rows"], records[0]["listed"]) == (1, 6, 1)


def test_selection_makes_the_next_list_and_void_ends_it():
    only = {"list_only": 1, "num_keys": 4, "list": 2}
    requests = [{**only, "list": 1}, {**only, "num_keys": 2}, only, {**only, "num_keys": 2}]
    events = [(1, "selected", {"survivors": 2, "last_id": 8}), (3, "void", {})]
    answers, _ = walk(requests, entries([1, 4, 7, 8]), written=2, events=events)
    assert answers == [payloads.OK, payloads.OK, payloads.BAD_IDS, payloads.BAD_IDS]


def test_refused_list_spoils_the_importance_of_the_one_before():
    only = {"list_only": 1, "num_keys": 2, "list": 2}
    requests = [{**only, "list": 1}, {**only, "list": 1}, only, {"num_keys": 2, "value_keep": 1, "list": 2}]
    answers, _ = walk(requests, entries([1, 4]) + entries([5, 6, 3]), accepted=1, written=2)
    assert answers == [payloads.OK, payloads.BAD_IDS, payloads.BAD_IDS, None]


@pytest.mark.parametrize("change", [{}, {"list": 2, "num_keys": 4}, {**FIRST, "pair": 0}])
def test_cycles(change):
    """8 a job, if nothing stalls; for a new list 2 more and a cycle for each beat."""
    ids = [0, 1, 2, 3, 4, 5, 6, 7, 8]

    def cycles(number):
        first = {"list": 1, "num_keys": change.get("num_keys", 9)}
        jobs = [{**GOOD, **job} for job in [first, *([change] * number)]]
        _, last = run_streams(
            made(JobChecker, CONFIG),
            {
                "job": [{"job": job, "layer": 0, "list_only": 0, "match": 0} for job in jobs],
                "ids": entries(ids[: first["num_keys"]]),
            },
            {"accepted": 1 + number},
            stall=0,
            setup={"window_base": 100, "window_limit": 500, "list_free": 3, "id_write.ready": 1},
        )
        return last

    assert cycles(9) - cycles(1) == 8 * 8


def test_cycles_of_a_new_list():
    def cycles(count):
        job = {**GOOD, "list": 1, "num_keys": count, "value_keep": 1}
        _, last = run_streams(
            made(JobChecker, CONFIG),
            {"job": [{"job": job, "layer": 0, "list_only": 0, "match": 0}], "ids": entries(list(range(count)))},
            {"accepted": 1},
            stall=0,
            setup={"window_base": 100, "window_limit": 500, "list_free": 3, "id_write.ready": 1},
        )
        return last

    def dense():
        _, last = run_streams(
            made(JobChecker, CONFIG),
            {"job": [{"job": GOOD, "layer": 0, "list_only": 0, "match": 0}]},
            {"accepted": 1},
            stall=0,
            setup={"window_base": 100, "window_limit": 500},
        )
        return last

    assert [cycles(count) - dense() for count in (1, 2, 3, 9)] == [3, 3, 4, 7]


def test_reset_in_mid_stream():
    """Within a list, between the jobs of a pair and with an answer on its way: nothing of it is left.

    Each use begins with jobs that are refused, for no list is there yet and no pair is open.
    """
    new, previous = {"list": 1, "num_keys": 3, "value_keep": 2}, {"list": 2, "num_keys": 3, "value_keep": 2}
    only = {"list_only": 1, "num_keys": 3}
    requests = [
        previous, SECOND, new, previous, {**FIRST, **new}, {**SECOND, **previous}, {**new, "value_keep": 4},
        {**only, "list": 1}, {**only, "num_keys": 10}, previous, {},
    ]  # fmt: skip
    jobs = []
    for number, request in enumerate(requests):
        layer = request.get("list_only", 0)
        job = {**GOOD, "job_id": number, **{name: value for name, value in request.items() if name != "list_only"}}
        jobs.append({"job": job, "layer": layer, "list_only": layer, "match": 0})
    ids = [beat for given in ([1, 4, 8], [0, 2, 6], [2, 3, 5], [1, 5, 7]) for beat in entries(given)]
    check_stream_reset(
        lambda: JobChecker(CONFIG),
        {"job": jobs, "ids": ids},
        {"accepted": 6, "refused": 3, "answer": 2, "id_write": 6},
        setup={"window_base": 100, "window_limit": 500, "list_free": 3},
        view=lambda item: (item["list"], ids_of(item)) if "mask" in item else item,
        resets=20,
    )
