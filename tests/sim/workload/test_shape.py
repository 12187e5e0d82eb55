import pytest

from hdl.spec.config import PRESETS
from sim.workload.shape import bert_workload, parse_lengths
from sim.workload.workload import WorkloadError

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


@pytest.mark.parametrize(
    ("text", "sequences", "lengths"),
    [("128", None, [128]), ("20,25,60", None, [20, 25, 60]), ("7-7", 3, [7, 7, 7]), ("7-7", None, [7] * 16)],
)
def test_lengths(text, sequences, lengths):
    assert parse_lengths(text, sequences, 0) == lengths


def test_random_lengths():
    lengths = parse_lengths("20-60", 200, 0)
    assert (min(lengths), max(lengths)) == (20, 60) and lengths == parse_lengths("20-60", 200, 0)
    assert lengths != parse_lengths("20-60", 200, 1)


@pytest.mark.parametrize("text", ["", "0", "5,0", "-5", "9-3", "0-4", "1.5", "a", "5,", "1-2-3"])
def test_wrong_lengths(text):
    with pytest.raises(WorkloadError, match="--tokens must be L, L,L,… or A-B, integers of at least 1, not "):
        parse_lengths(text, None, 0)


def test_sequences_without_a_range():
    with pytest.raises(WorkloadError, match="--sequences needs a range of --tokens such as 20-60, not '20'"):
        parse_lengths("20", 3, 0)


def test_bert():
    work = bert_workload(TINY, [5, 9], heads=2, layers=2, dim=16)
    assert [(job.rows, job.num_keys, job.head) for job in work.jobs] == [(5, 5, 0), (5, 5, 1), (9, 9, 0), (9, 9, 1)] * 2
    assert all(not job.generation and job.key_bits == 12 and job.key_lsb_bits == 0 for job in work.jobs)
    assert all(job.value_keep == job.num_keys for job in work.jobs)
    assert work.tokens == [5, 5, 9, 9] * 2 and work.flat is None


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (TINY, dict(dim=40), "--dim must be one of 16, 32, 48, 64 (preset tiny), not 40"),
        (PRESETS["ulx3s"], dict(), "--preset must have operands of 12 bits, not 10 (ulx3s)"),
        (TINY, dict(dim=64), "--tokens must be at most 32 (preset tiny, heads of dimension 64), not 40"),
        (TINY, dict(dim=16, heads=33), "--heads must be from 1 to 32 (preset tiny), not 33"),
        (TINY, dict(dim=16, layers=0), "--layers must make 1 to 65536 heads in all, not 0"),
    ],
)
def test_bert_that_does_not_fit(config, fields, message):
    with pytest.raises(WorkloadError) as error:
        bert_workload(config, [40], **fields)
    assert str(error.value) == message
