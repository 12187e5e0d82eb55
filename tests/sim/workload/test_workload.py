import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from golden.layers.job import run_job
from hdl.spec.config import PRESETS
from sim.common import files
from sim.engine import registry as engines
from sim.engine.engine import EngineError, RunResult
from sim.engine.timing import MemoryTiming
from sim.transport.memory import ImageError
from sim.workload.generation import csv_workload
from sim.workload.layout import layout_of
from sim.workload.rows import COLUMNS, read_csv
from sim.workload.run import run_workload
from sim.workload.shape import bert_workload, parse_lengths
from sim.workload.workload import WorkloadError
from spatten import cli

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]
ROW = dict(
    iteration_id=0,
    layer_id=0,
    head_id=0,
    embedding_length_D=32.0,
    sentence_length_L=40,
    key_fetch_num=40,
    quant_key_bit=6,
    quant_query_bit=12,
    auto_requant_thres=0.05,
    if_requant=False,
    auto_requant_incre=4,
    value_fetch_num=13,
    quant_value_bit=6,
    if_accumulate_importance=True,
    if_rescale_previous_importance=False,
    if_topk=False,
    topk=-1,
)
COMMENT = "configs/gpt2/some.yml" + "," * (len(COLUMNS) - 1)


def write(path, rows, *, columns=COLUMNS, end=()):
    lines = [",".join(columns), *(",".join(str((ROW | row)[name]) for name in columns) for row in rows), *end]
    path.write_text("\n".join(lines) + "\n")
    return path


def generation(iterations=2, heads=4):
    """Three layers that keep 40, 30 and 12 tokens; in the first step all."""
    for iteration in range(iterations):
        for layer, keys in enumerate((40, 30, 12)):
            keys = keys if iteration else 40 + iteration
            for head in range(heads):
                yield dict(
                    iteration_id=iteration,
                    layer_id=layer,
                    head_id=head,
                    sentence_length_L=40 + iteration,
                    key_fetch_num=keys,
                    value_fetch_num=keys // 3,
                    if_requant=keys > 20 and (head + layer + iteration) % 3 == 0,
                )


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "rows.csv", generation())


class GoldenEngine:
    """An engine that is the golden model; ``spoil(results)`` may change its results."""

    name = "golden"

    def __init__(self, config, *, timing=None, record_addresses=False, spoil=None):
        self.config, self.timing, self.spoil = config, timing or MemoryTiming(), spoil
        self.record_addresses = record_addresses

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, jobs, *, progress=None):
        results = [dataclasses.replace(run_job(job, self.config), score=None, exp=None) for job in jobs]
        if self.spoil is not None:
            self.spoil(results)
        if progress is not None:
            progress(len(jobs), 5000)
        words = ("query_words", "key_words", "key_lsb_words", "value_words")
        counters = dict.fromkeys((*words, "qk_stall_key"), 10) | {"topk_busy": 1250}
        addresses = [np.arange(20, dtype=np.uint32)] * self.config.num_channels
        return RunResult(
            results=results,
            statuses=[0] * len(jobs),
            finished=[5000] * len(jobs),
            cycles=5000,
            counters=counters,
            words_read=[20] * self.config.num_channels,
            memory=self.timing.mode,
            addresses=addresses if self.record_addresses else None,
        )


# Reading -------------------------------------------------------------------------------------------------------


def test_rows_of_a_file(tmp_path):
    selection = dict(if_topk=True, topk=20, head_id=1)
    path = write(tmp_path / "a.csv", [dict(if_requant=True), selection, dict(head_id=2)], end=[COMMENT])
    rows, comment = read_csv(path, TINY)
    assert comment == "configs/gpt2/some.yml" and [row.head for row in rows] == [0, 1, 2]
    assert [row.topk for row in rows] == [None, 20, None] and [row.flat for row in rows] == [True, False, False]
    row = rows[0]
    assert (row.line, row.dim, row.tokens, row.keys, row.values) == (2, 32, 40, 40, 13)
    assert (row.query_bits, row.key_bits, row.key_lsb_bits, row.value_bits, row.threshold) == (12, 6, 4, 6, 0.05)
    assert len(read_csv(path, TINY, limit=2)[0]) == 2


def test_columns_in_any_order(tmp_path):
    path = write(tmp_path / "a.csv", [{}], columns=COLUMNS[::-1])
    assert read_csv(path, TINY) == read_csv(write(tmp_path / "b.csv", [{}]), TINY)


def test_unquantized_rows_run_at_12_bits(tmp_path):
    static = dict.fromkeys(("quant_key_bit", "quant_query_bit", "quant_value_bit"), -1)
    row = static | dict(auto_requant_thres=-1, auto_requant_incre=-1)
    (read,), _ = read_csv(write(tmp_path / "a.csv", [row]), TINY)
    assert (read.query_bits, read.key_bits, read.key_lsb_bits, read.value_bits) == (12, 12, 0, 12)
    assert read.threshold is None
    narrow = row | dict(sentence_length_L=1000, embedding_length_D=64)
    with pytest.raises(WorkloadError, match=r"must be one of 4, 6, 8, 10 .* not -1 \(unquantized: 12 bits\)"):
        read_csv(write(tmp_path / "a.csv", [narrow]), PRESETS["ulx3s"])


def test_query_bits_of_the_user(tmp_path):
    path = write(tmp_path / "a.csv", [dict(quant_query_bit=16)])
    assert read_csv(path, TINY, query_bits=8)[0][0].query_bits == 8


def test_queries_wider_than_the_operands_are_told(tmp_path):
    path = write(tmp_path / "a.csv", [dict(quant_query_bit=16), dict(head_id=1)])
    first, second = read_csv(path, TINY)[0]
    assert (first.query_bits, first.file_query_bits, second.query_bits) == (12, 16, 12)
    workload = csv_workload(path, TINY)
    assert workload.facts["narrowed_queries"] == {"rows": 1, "from_bits": 16, "to_bits": 12}
    assert csv_workload(path, TINY, query_bits=8).facts["narrowed_queries"] is None


WRONG = {
    "iteration_id": (-1, "must be an integer of at least 0, not '-1'"),
    "layer_id": ("x", "must be an integer of at least 0, not 'x'"),
    "head_id": (32, "must be an integer from 0 to 31 (heads of preset tiny), not '32'"),
    "embedding_length_D": (40.0, "must be one of 16, 32, 48, 64 (preset tiny), not '40.0'"),
    "sentence_length_L": (65, "must be an integer from 1 to 64 (tokens of preset tiny), not '65'"),
    "key_fetch_num": (41, "must be an integer from 1 to 40 (sentence_length_L), not '41'"),
    "quant_key_bit": (10, "must be one of 4, 6, 8 (MSBs of preset tiny with auto_requant_incre 4), not 10"),
    "quant_query_bit": (7, "must be one of 4, 6, 8, 10, 12 (operands of preset tiny), not 7 bits"),
    "auto_requant_thres": (0, "must be -1, or above 0 and at most 0.9, not '0'"),
    "if_requant": ("true", "must be True or False, not 'true'"),
    "auto_requant_incre": (2, "must be 4 (bits of a K LSB plane), not '2'"),
    "value_fetch_num": (0, "must be an integer from 1 to 40 (key_fetch_num), not '0'"),
    "quant_value_bit": (0, "must be an integer of at least 1, not '0'"),
    "if_accumulate_importance": ("", "must be True or False, not ''"),
    "if_rescale_previous_importance": (1, "must be True or False, not '1'"),
    "if_topk": ("yes", "must be True or False, not 'yes'"),
    "topk": (5, "must be -1 where if_topk is False, not '5'"),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_wrong_value(tmp_path, column):
    value, message = WRONG[column]
    path = write(tmp_path / "a.csv", [{}, {"head_id": 1, column: value}])
    with pytest.raises(WorkloadError) as error:
        read_csv(path, TINY)
    assert str(error.value).startswith(f"{path}:3: column {column}: {message}")


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        (dict(key_fetch_num=-3), "key_fetch_num", "must be an integer from 1 to 40 (sentence_length_L), not '-3'"),
        (dict(key_fetch_num=10**12), "key_fetch_num", "must be an integer from 1 to 40"),
        (dict(embedding_length_D="nan"), "embedding_length_D", "must be one of 16, 32, 48, 64"),
        (dict(auto_requant_thres="nan"), "auto_requant_thres", "must be -1, or above 0"),
        (dict(auto_requant_thres="x"), "auto_requant_thres", "must be -1, or above 0"),
        (dict(auto_requant_thres=-1), "auto_requant_incre", "must be -1 as auto_requant_thres is, not '4'"),
        (dict(if_topk=True, topk=41), "topk", "must be an integer from 1 to 40 (sentence_length_L), not '41'"),
        (dict(if_topk=True), "topk", "must be an integer from 1 to 40 (sentence_length_L), not '-1'"),
        (
            dict(key_fetch_num=20, if_requant=True),
            "if_requant",
            "must be False, not True: a row of 20 keys has a probability of at least 1/20, not below 0.05",
        ),
        (
            dict(if_requant=True, auto_requant_thres=-1, auto_requant_incre=-1),
            "if_requant",
            "must be False where auto_requant_thres is -1, not True",
        ),
        (
            dict(embedding_length_D=64),
            "key_fetch_num",
            "must be at most 32 (keys of 64 elements in the K buffer of preset tiny), not 40",
        ),
    ],
)
def test_impossible_row(tmp_path, row, column, message):
    path = write(tmp_path / "a.csv", [row])
    with pytest.raises(WorkloadError) as error:
        read_csv(path, TINY)
    assert str(error.value).startswith(f"{path}:2: column {column}: {message}")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((*COLUMNS, "extra"), "1: column extra: unknown; known are iteration_id, "),
        (COLUMNS[:-1], "1: column topk: missing"),
        ((*COLUMNS, "topk"), "1: column topk: there must be one, not 2"),
    ],
)
def test_wrong_columns(tmp_path, columns, message):
    path = tmp_path / "a.csv"
    path.write_text(",".join(columns) + "\n")
    with pytest.raises(WorkloadError) as error:
        read_csv(path, TINY)
    assert str(error.value).startswith(f"{path}:{message}")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (["1,2"], ":3: 2 fields, not 17"),
        ([COMMENT, COMMENT], ":3: column embedding_length_D: "),
        ([COMMENT + ",x"], ":3: 18 fields, not 17"),
        ([COMMENT + "x"], ":3: column embedding_length_D: "),
        (["configs/a.yml"], ":3: 1 fields, not 17"),
        (["0,0,0" + COMMENT[len("configs/gpt2/some.yml") + 2 :]], ":3: column embedding_length_D: "),
    ],
)
def test_wrong_end(tmp_path, end, message):
    with pytest.raises(WorkloadError) as error:
        read_csv(write(tmp_path / "a.csv", [{}], end=end), TINY)
    assert message in str(error.value)


def test_head_that_stands_twice(tmp_path):
    with pytest.raises(WorkloadError, match=":4: column head_id: head 0 of layer 0 already stands in line 2"):
        read_csv(write(tmp_path / "a.csv", [{}, dict(head_id=1), {}]), TINY)


@pytest.mark.parametrize(("content", "why"), [(b"", "is empty"), (b"\xff\xfe", "is not UTF-8 text"), (None, "No such")])
def test_unreadable_file(tmp_path, content, why):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkloadError, match=f"FILE .*a.csv.*{why}"):
        read_csv(path, TINY)


def test_file_without_rows(tmp_path):
    with pytest.raises(WorkloadError, match="has no rows"):
        read_csv(write(tmp_path / "a.csv", [], end=[COMMENT]), TINY)


# Jobs ----------------------------------------------------------------------------------------------------------


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


# The run -------------------------------------------------------------------------------------------------------


def test_figures(file):
    work = csv_workload(file, TINY)
    result = run_workload(work, GoldenEngine(TINY))
    assert result.mismatches == 0 and result.first_mismatch is None and result.values_compared > 0
    assert (result.jobs, result.rows, result.flat_rows) == (24, 24, sum(work.flat))
    keys = 4 * (40 + 40 + 40) + 4 * (40 + 30 + 12)
    flat_keys = sum(job.num_keys for job, flat in zip(work.jobs, work.flat, strict=True) if flat)
    values = 4 * (13 + 13 + 13 + 13 + 10 + 4)
    # A key of 32 elements takes both lanes: a score a cycle.
    assert result.qk_limit_cycles == keys + flat_keys == result.utilization["qk"] * 5000
    bits = 32 * (12 * 24 + 6 * keys + 4 * flat_keys + 6 * values)
    assert result.memory_limit_cycles == bits / 128 and result.bytes["quantization"] == bits // 8
    assert result.limit_cycles == max(result.qk_limit_cycles, result.memory_limit_cycles)
    assert result.fraction_of_limit == result.limit_cycles / 5000
    assert result.gflops == 2 * 32 * (keys + values) / 5000
    tokens = 12 * 40 + 12 * 41
    assert result.gflops_dense_equivalent == 2 * 32 * 2 * tokens / 5000
    assert result.bytes["fp32_dense"] == 4 * 32 * (24 + 2 * tokens)
    assert result.bytes["token_pruning"] == 4 * 32 * (24 + 2 * keys)
    assert result.bytes["value_pruning"] == 4 * 32 * (24 + keys + values)
    assert result.bytes["read"] == 40 * 8 == sum(result.bytes_read.values())
    assert result.utilization["arrays"] == 32 * (keys + values) / (5000 * 64)
    assert (result.utilization["topk"], result.utilization["channels"]) == (0.25, 40 / 10000)
    assert result.stalls == {"qk_stall_key": 10} and result.deliverable_cycles is None
    assert result.to_json()["fraction_of_deliverable"] is None


def test_figures_of_a_summarization():
    work = bert_workload(TINY, [6], heads=2, layers=1, dim=16)
    result = run_workload(work, GoldenEngine(TINY))
    assert result.rows == result.rows_checked == 12 and result.qk_limit_cycles == 2 * 36 / 2
    assert result.memory_limit_cycles == 2 * 6 * 16 * 12 * 3 / 128
    assert result.gflops == result.gflops_dense_equivalent == 2 * 2 * 2 * 36 * 16 / 5000
    assert result.utilization["arrays"] == 2 * 2 * 36 * 16 / (5000 * 64)


@pytest.mark.parametrize(("rows", "check", "every"), [(24, 100, 1), (320, 100, 10), (320, 2, 2), (320, 1, 1)])
def test_sample(tmp_path, rows, check, every):
    """At least 32 rows, and the flat ones."""
    flat = {7, 13, rows - 1}
    many = [
        dict(iteration_id=index // 32, head_id=index % 32, key_fetch_num=30, if_requant=index in flat)
        for index in range(rows)
    ]
    work = csv_workload(write(tmp_path / "a.csv", many), TINY)
    result = run_workload(work, GoldenEngine(TINY), check=check)
    assert result.mismatches == 0 and result.rows_checked == len({*range(0, rows, every), *flat})


def test_wrong_output_is_found(file):
    def spoil(results):
        results[0].out[0, 3] += 1

    result = run_workload(csv_workload(file, TINY), GoldenEngine(TINY, spoil=spoil))
    assert (result.mismatches, result.value_mismatches, result.flat_mismatches) == (1, 1, 0)
    assert result.first_mismatch.startswith("out of line 2 (token 0, layer 0, head 0), query 0, element 3: got ")


def test_wrong_flag_of_any_row_is_found(file):
    work = csv_workload(file, TINY)
    index = work.flat.index(False)
    flat = [not value if place == index else value for place, value in enumerate(work.flat)]
    result = run_workload(dataclasses.replace(work, flat=flat), GoldenEngine(TINY))
    assert (result.value_mismatches, result.flat_mismatches, result.mismatches) == (0, 1, 1)
    assert result.first_mismatch.startswith(f"flat of line {index + 2} ")


def test_deliverable_cycles(file):
    engine = GoldenEngine(TINY, record_addresses=True, timing=MemoryTiming(latency=20))
    result = run_workload(csv_workload(file, TINY), engine)
    assert result.deliverable_cycles == 40 and result.fraction_of_deliverable == 40 / 5000


def test_on_the_rtl(tmp_path):
    """Eight rows, one of them flat, four in pairs, in the Amaranth simulator."""
    rows = [
        dict(layer_id=layer, head_id=head, key_fetch_num=keys, value_fetch_num=keys // 3, if_requant=flat)
        for layer, keys in enumerate((24, 10))
        for head, flat in enumerate((False, keys == 24, False, False))
    ]
    work = csv_workload(write(tmp_path / "a.csv", rows), TINY)
    assert sum(job.pair > 0 for job in work.jobs) == 4
    with engines.make_engine("pysim", TINY) as engine:
        result = run_workload(work, engine)
    assert result.mismatches == 0 and (result.flat_rows, result.rows_checked) == (1, 8)
    assert result.fraction_of_limit < 1 and result.bytes["read"] == sum(result.bytes_read.values())


# The command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = SimpleNamespace(spoil=None, error=None, options=None)

    def make_engine(name, config, **options):
        if made.error is not None:
            raise made.error
        made.options = dict(options, name=name)
        return GoldenEngine(config, spoil=made.spoil, **options)

    monkeypatch.setattr(engines, "make_engine", make_engine)
    return made


def test_command(command, file, capsys):
    assert cli.main(["workload", str(file), "--preset", "tiny", "--json", "sub/o.json", "--query-bits", "10"]) == 0
    figures = json.loads((file.parent / "sub" / "o.json").read_text())
    for name in ("cycles", "limit_cycles", "fraction_of_limit", "gflops", "bytes", "mismatches", "rows_checked"):
        assert name in figures
    assert figures["memory"] == "ideal" and figures["facts"]["query_bits"] == 10 and figures["seed"] == 0
    assert figures["deliverable_cycles"] is None
    text = " ".join(capsys.readouterr().out.split())
    assert "queries of all rows at 10 bits (--query-bits), not at those of the file" in text
    assert "4 rows in pairs of heads" in text and "GFLOPS" in text and "qk: key" in text
    assert command.options["name"] == "verilator" and not command.options["record_addresses"]


def test_command_in_hbm2_mode(command, file, capsys):
    trace = file.parent / "trace"
    arguments = ["--preset", "tiny", "--memory", "hbm2", "--limit", "3", "--ramulator", str(trace)]
    assert cli.main(["workload", str(file), *arguments]) == 0
    assert command.options["timing"].mode == "hbm2" and command.options["record_addresses"]
    assert trace.read_text().startswith("LD 0x") and "deliverable" in capsys.readouterr().out


def test_command_with_a_shape(command, capsys):
    shape = ["--shape", "bert", "--tokens", "4-9", "--sequences", "3", "--heads", "2", "--layers", "1", "--dim", "16"]
    assert cli.main(["workload", *shape, "--preset", "tiny", "--json", "o.json"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "3 sequences of" in text and "1 layers of 2 heads, D = 16" in text


def test_command_fails_on_mismatches(command, file, capsys):
    def spoil(results):
        results[0].probs[0, 0] ^= 1

    command.spoil = spoil
    assert cli.main(["workload", str(file), "--preset", "tiny", "--json", "o.json"]) == 1
    assert "first: probs of line 2" in " ".join(capsys.readouterr().out.split())
    assert json.loads((file.parent / "o.json").read_text())["mismatches"] == 1


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (EngineError("it is stuck"), 1, "error: it is stuck\n"),
        (ImageError("memory is full"), 2, "error: --preset tiny: memory is full\n"),
    ],
)
def test_command_when_the_engine_fails(command, file, capsys, error, status, message):
    command.error = error
    assert cli.main(["workload", str(file), "--preset", "tiny"]) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "FILE.csv or --shape must be given, not none of them"),
        (["rows.csv", "--shape", "bert"], "FILE.csv or --shape must be given, not both of them"),
        (["rows.csv", "--heads", "2"], "--heads must come with --shape only"),
        (["--shape", "bert", "--no-pair"], "--pair/--no-pair must come with FILE.csv only"),
        (["--shape", "bert", "--query-bits", "8"], "--query-bits must come with FILE.csv only"),
        (["--shape", "gpt"], "--shape must be bert, not 'gpt'"),
        (["rows.csv", "--limit", "0"], "--limit must be at least 1, not 0"),
        (["rows.csv", "--check", "0"], "--check must be at least 1, not 0"),
        (["rows.csv", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["rows.csv", "--memory", "x"], "--memory must be one of ideal, hbm2, not 'x'"),
        (["rows.csv", "--engine", "x"], "--engine must be one of verilator, pysim, not 'x'"),
        (["rows.csv", "--json", "/"], "--json must be a file, not the folder '/'"),
        (["rows.csv", "--preset", "x"], "--preset must be one of "),
        (["rows.csv", "--query-bits", "16"], "--query-bits must be one of 4, 6, 8, 10, 12 (preset tiny), not 16"),
        (["--shape", "bert", "--tokens", "4-9", "--sequences", "0"], "--sequences must be at least 1, not 0"),
        (["no.csv"], "FILE 'no.csv' cannot be read: No such file or directory"),
    ],
)
def test_command_refuses(command, file, capsys, arguments, message):
    preset = [] if "--preset" in arguments else ["--preset", "tiny"]
    assert cli.main(["workload", *arguments, *preset]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1 and command.options is None


# Files ---------------------------------------------------------------------------------------------------------


def test_write_text_replaces_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "sub" / "a.txt"
    files.write_text(path, "one\r\n")
    assert path.read_bytes() == b"one\r\n" and path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "\udcff")
    files.write_text(path, "\udcff", errors="replace")

    def fail(*_):
        raise OSError("disk is full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        files.write_text(path, "two")
    assert path.read_text() == "?" and list(path.parent.iterdir()) == [path]


def test_writable(tmp_path):
    files.check_writable("--json", tmp_path / "new" / "a.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="--json must be a file, not the folder"):
        files.check_writable("--json", tmp_path)
    files.check_writable("--plot", tmp_path, prefix=True)
    (tmp_path / "plain").write_text("")
    with pytest.raises(ValueError, match=r"--json must be a writable file, not .*Not a directory"):
        files.check_writable("--json", tmp_path / "plain" / "a.json")
