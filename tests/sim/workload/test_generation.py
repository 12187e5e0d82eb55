import pytest
import torch

from golden.layers.job import run_job
from hdl.spec.config import PRESETS
from sim.workload.generation import csv_workload
from sim.workload.layout import layout_of
from sim.workload.rows import read_csv
from tests.bench.workload_rows import generation, write

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "rows.csv", generation())


def test_jobs_of_a_file(file):
    work = csv_workload(file, TINY)
    rows, _ = read_csv(file, TINY)
    for job, row in zip(work.jobs, rows, strict=True):
        assert job.generation and (job.dim, job.num_keys, job.value_keep) == (32, row.keys, row.values)
        assert (job.ids is None) == (row.keys == row.tokens) and job.num_rows == 41
        assert (job.key_bits, job.key_lsb_bits, job.value_bits, job.head) == (6, 4, 6, row.head)
        assert bool(run_job(job, TINY).flat) == row.flat
    assert work.flat == [row.flat for row in rows] and any(work.flat) and not all(work.flat)


def test_cache_and_ids_are_shared(file):
    work = csv_workload(file, TINY)
    jobs = {name: job for name, job in zip(places(file), work.jobs, strict=True)}
    for layer in range(3):
        for head in range(4):
            assert jobs[0, layer, head].key is jobs[1, layer, head].key
            assert jobs[0, layer, head].value is jobs[1, layer, head].value
            assert jobs[0, layer, head].skew == jobs[1, layer, head].skew
        assert len({id(jobs[1, layer, head].ids) for head in range(4)}) == 1
    assert len({id(job.key) for job in work.jobs}) == 12
    ids = [set(jobs[1, layer, 0].ids.tolist()) for layer in range(3)]
    assert ids[0] > ids[1] > ids[2] and 40 in ids[2]


def places(file):
    return [(row.iteration, row.layer, row.head) for row in read_csv(file, TINY)[0]]


def test_same_seed_same_jobs(file):
    one, same, other = (csv_workload(file, TINY, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.query, b.query) for a, b in zip(one.jobs, same.jobs, strict=True))
    assert not any(torch.equal(a.query, b.query) for a, b in zip(one.jobs, other.jobs, strict=True))


def test_pairs(file):
    work = csv_workload(file, TINY)
    # Pages: 12 keys of 2 slices are 24 slots, a pair of them 3 of 16 pages; 30 keys would take 8.
    expected = [(1, 2)[head % 2] if (iteration, layer) == (1, 2) else 0 for iteration, layer, head in places(file)]
    assert [job.pair for job in work.jobs] == expected
    assert work.facts["paired_rows"] == 4 and work.facts["planes_in_both_layouts"] == 4
    for first, second in zip(work.jobs[-4::2], work.jobs[-3::2], strict=True):
        assert first.skew == second.skew and first.ids is second.ids
    assert layout_of(read_csv(file, TINY)[0], TINY) == [(job.pair, job.skew) for job in work.jobs]
    alone = csv_workload(file, TINY, pair=False)
    assert not any(job.pair for job in alone.jobs) and alone.facts["paired_rows"] == 0
    assert [job.skew for job in alone.jobs[:12]] == [index % 2 for index in range(12)]


@pytest.mark.parametrize(
    "change",
    [
        dict(key_fetch_num=9),
        dict(quant_value_bit=8),
        dict(head_id=2),
        dict(layer_id=1),
        dict(sentence_length_L=39),
    ],
)
def test_no_pair(tmp_path, change):
    first = dict(key_fetch_num=10, value_fetch_num=4)
    pairs = [
        [job.pair for job in csv_workload(write(tmp_path / "a.csv", [first, first | second]), TINY).jobs]
        for second in ({"head_id": 1}, {"head_id": 1} | change)
    ]
    assert pairs == [[1, 2], [0, 0]]


def test_no_pair_of_wide_rows(tmp_path):
    short = dict(sentence_length_L=10, key_fetch_num=10, value_fetch_num=4)
    rows = [short | dict(embedding_length_D=dim, head_id=head) for head, dim in enumerate((48, 48, 64, 64))]
    assert not any(job.pair for job in csv_workload(write(tmp_path / "a.csv", rows), TINY).jobs)


def test_limit_may_cut_a_pair(tmp_path):
    path = write(tmp_path / "a.csv", [dict(key_fetch_num=10, value_fetch_num=4, head_id=head) for head in range(4)])
    assert [job.pair for job in csv_workload(path, TINY, limit=3).jobs] == [1, 2, 0]
