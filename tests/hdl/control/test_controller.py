"""Controller: random jobs of every kind through a datapath that takes its time; every row, load and answer."""

import random

import pytest

from hdl.control.controller import Controller
from hdl.spec.config import PRESETS
from tests.bench.controller_bench import Datapath
from tests.bench.harness import check_reset, made, simulate
from tests.bench.records import full_record

TINY = PRESETS["tiny"]


def random_records(count, seed):
    rng = random.Random(seed)
    return [full_record(TINY, rng, job_id=index) for index in range(count)]


def rows_of(record):
    queries = record["num_queries"]
    for row in range(record["rows"]):
        length = record["num_keys"] - queries + row % queries + 1 if record["causal"] else record["num_keys"]
        yield {"query": row, "group": row // queries}, length


@pytest.fixture(scope="module", params=range(3))
def used(request):
    """What a datapath saw of 24 jobs."""
    dut = made(Controller, TINY)
    datapath = Datapath(dut, TINY, random_records(24, request.param), request.param)
    simulate(dut, datapath.bench, cycles=6000)
    return datapath


def test_answers_in_order(used):
    assert used.answers == [None if record["layer"] else index for index, record in enumerate(used.records)]


def test_every_row_once_and_flat_ones_twice(used):
    """First passes in the order of the jobs and of their rows; a second pass for each flat row, with all bits of K."""
    first = [row for row in used.rows if not row["tag"]["second"]]
    wanted = [
        (record, {"context": index % TINY.contexts, **place, "second": 0}, length)
        for index, record in enumerate(used.records)
        for place, length in rows_of(record)
    ]
    assert [(row["tag"], row["length"]) for row in first] == [(tag, length) for _, tag, length in wanted]
    for row, (record, _, _) in zip(first, wanted, strict=True):
        assert row["log_slices"] == record["log_slices"] and row["pack"] == record["pack"]
        assert row["low"] == (not record["progressive"])
    second = [row for row in used.rows if row["tag"]["second"]]
    assert second and all(row["low"] for row in second)
    assert len(used.rows) == len(first) + len(second)


def test_elements_of_rows(used):
    """A Q row goes with the query that asked for it; the second pass of a generation row has those of the first."""
    fetched, last = [], {}
    for row, record in zip(used.rows, iter_jobs(used), strict=True):
        tag = row["tag"]
        if tag["second"] and record["generation"]:
            assert row["elements"] == last[tag["context"]]
        else:
            fetched.append(row["elements"])
        if record["generation"]:
            last[tag["context"]] = row["elements"]
    assert fetched == used.elements


def test_loads(used):
    """K and V of each job once, in the order of the jobs; V of generation jobs is gathered; LSBs once at most."""
    records = used.records
    assert [command["plane"]["base"] for command in used.commands["key"]] == [r["key_base"] for r in records]
    summarization = [r["value_base"] for r in records if not r["generation"]]
    assert [command["plane"]["base"] for command in used.commands["value"]] == summarization
    generation = sorted(r["value_base"] for r in records if r["generation"])
    assert sorted(command["plane"]["base"] for command in used.commands["gather_command"]) == generation
    loads = [command["plane"]["base"] for command in used.commands["key_lsb"]]
    able = [record["key_lsb_base"] for record in records if record["progressive"]]
    assert loads and all(loads.count(base) <= able.count(base) for base in loads)


def test_parameters_of_rows(used):
    """One item for softmax and one for the pruner, of each row in the order in which Q×K took it."""
    jobs = iter_jobs(used)
    for row, softmax, prune in zip(used.rows, *used.parameters.values(), strict=True):
        record = next(jobs)
        tag = row["tag"]
        check = int(record["progressive"] and not tag["second"])
        assert softmax == {"tag": tag, "check": check} | {n: record[n] for n in ("scale", "shift", "flat_limit")}
        prunes = int(record["value_keep"] < row["length"])
        assert prune == {
            "tag": tag,
            "prune": prunes,
            "k": record["value_keep"],
            "gather": record["generation"],
            "log_slices": record["log_slices"],
            "dim": record["dim"],
        }


def iter_jobs(used):
    """The job of each row: a context's rows are those of one job until the first pass of row 0 of the next."""
    job_of, next_job = {}, dict.fromkeys(range(TINY.contexts), 0)
    for row in used.rows:
        tag = row["tag"]
        context = tag["context"]
        if not tag["second"] and tag["query"] == 0:
            job_of[context] = used.records[next_job[context] * TINY.contexts + context]
            next_job[context] += 1
        yield job_of[context]


def test_reset():
    def prepare(dut):
        datapath = Datapath(dut, TINY, random_records(8, 5), 5)
        return datapath.bench, [], datapath.answers

    check_reset(lambda: Controller(TINY), prepare, cycles=3000, resets=2)
