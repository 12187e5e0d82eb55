from hdl.spec.config import PRESETS
from sim.reproduce.cases import bert_case, generation_case, rows_csv, steps_of
from sim.workload.rows import read_csv

PAPER = PRESETS["paper"]


def test_synthetic_rows_follow_the_schedules(rows):
    layers = [[row for row in rows if row.layer == layer] for layer in range(12)]
    assert [len(layer) for layer in layers] == [12] * 10 + [11, 11]
    assert [layer[0].keys for layer in layers][:3] == [993, 993, 696] and layers[11][0].keys == 100
    assert all(row.values == -(-row.keys // 5) for row in rows)


def test_rows_are_read_back_as_they_are(rows, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(rows_csv(rows))
    assert read_csv(path, PAPER) == (rows, "")


def test_steps_put_on_one_technique_after_the_other(rows):
    steps = dict(steps_of(rows))
    assert list(steps)[0::4] == ["dense", "+ progressive quantization"] and len(steps) == 5
    assert steps["+ progressive quantization"] == rows
    dense = steps["dense"]
    assert len(dense) == 144 and {(row.keys, row.values, row.key_bits, row.flat) for row in dense} == {
        (993, 993, 12, False)
    }
    assert len(steps["+ head pruning"]) == len(rows)
    tokens, values = steps["+ token pruning"], steps["+ local value pruning"]
    assert [row.keys for row in tokens] == [row.values for row in tokens] == [row.keys for row in rows]
    assert [row.values for row in values] == [row.values for row in rows] and {row.key_bits for row in values} == {12}


def test_a_workload_with_all_heads_has_no_step_of_heads(rows):
    whole = [row for row in rows if row.layer < 10]
    assert "+ head pruning" not in dict(steps_of(whole))


def test_operations_are_counted_by_hand(rows):
    first = next(row for row in rows if row.layer == 2)
    case = generation_case("one row", [first], PAPER)
    assert case.operations == 2 * 64 * (696 + 140)
    assert case.dense_operations == 2 * 64 * (993 + 993)  # of one head: no other is known
    dense = bert_case("dense", 128, "dense", PAPER)
    assert dense.operations == dense.dense_operations == 12 * 12 * 4 * 64 * 128**2


def test_survivors_of_a_token_are_shared_and_nested(rows):
    shapes = generation_case("rows", rows, PAPER).shapes
    lists = {id(shape.ids): shape.ids for shape in shapes if shape.ids is not None}
    assert len(lists) == 10  # one for each layer that is pruned
    longest, shortest = max(lists.values(), key=len), min(lists.values(), key=len)
    assert set(shortest) < set(longest) and longest.max() < 993


def test_operands_are_not_wider_than_the_machine(rows):
    for shape in generation_case("rows", steps_of(rows)[0][1], PRESETS["ulx3s"]).shapes:
        assert max(shape.query_bits, shape.key_bits + shape.key_lsb_bits, shape.value_bits) == 10
