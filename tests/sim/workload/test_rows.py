import csv

import pytest

from hdl.spec.config import PRESETS
from sim.workload.generation import csv_workload
from sim.workload.rows import COLUMNS, read_csv
from sim.workload.workload import WorkloadError
from tests.bench.workload_rows import COMMENT, write

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


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


def test_a_file_of_a_spreadsheet(tmp_path):
    """A byte order mark, lines that end as on Windows, and fields in quotes."""
    path = write(tmp_path / "a.csv", [{}])
    plain = path.read_text()
    quoted = "\r\n".join(",".join(f'"{field}"' for field in line.split(",")) for line in plain.splitlines())
    path.write_bytes(b"\xef\xbb\xbf" + quoted.encode())
    assert read_csv(path, TINY) == read_csv(write(tmp_path / "b.csv", [{}]), TINY)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('"1', '2: a quote (") must be closed, not open up to the end of the file'),
        ('"1"1', '2: a closing quote (") must end its field, not be followed by more of it'),
        ('1"', "2: column iteration_id: must be an integer of at least 0, not '1\"'"),
        ("9" * 200_000, f"2: column iteration_id: must be an integer of at least 0, not '{'9' * 100}"),
    ],
    ids=["open", "text after", "inside", "long"],
)
def test_stray_quotes_and_long_fields(tmp_path, field, message):
    before = csv.field_size_limit()
    path = write(tmp_path / "a.csv", [dict(iteration_id="FIELD"), dict(head_id=1)])
    path.write_text(path.read_text().replace("FIELD", field))
    with pytest.raises(WorkloadError) as error:
        read_csv(path, TINY)
    assert str(error.value).startswith(f"{path}:{message}")
    assert len(str(error.value)) < len(str(path)) + 300 and csv.field_size_limit() == before
