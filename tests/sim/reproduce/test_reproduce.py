import csv
import dataclasses
import io
import logging
import re

import pytest
import torch
from distributed import Client, LocalCluster

from hdl.spec.config import PRESETS
from sim.reproduce import lab as labs
from sim.reproduce import published, timing
from sim.reproduce.cases import bert_case, generation_case, rows_csv, steps_of, synthetic_rows
from sim.reproduce.entries import BERT_TOKENS
from sim.reproduce.figures import Entry, Figure, figure_png, page_of, table_csv
from sim.reproduce.lab import Lab, Point
from sim.reproduce.reproduce import FIGURES
from sim.reproduce.torch_timing import KERNELS, Timing, _matmul, devices, time_generation, time_summarization
from sim.workload.rows import read_csv
from sim.workload.workload import Workload
from spatten import cli

PAPER = PRESETS["paper"]


@pytest.fixture(scope="module")
def rows():
    return synthetic_rows(steps=1)


@pytest.fixture(scope="module")
def lab(rows):
    lab = Lab(rows=rows, workload="one token", runs=1, progress=lambda text: None)
    lab._timings["gpt2", 0] = [timed("matmul", 2e-3)]
    for tokens in BERT_TOKENS:
        lab._timings["bert", tokens] = [timed("matmul", 5e-3)]
    return lab


@pytest.fixture(autouse=True)
def one_token(rows, monkeypatch):
    monkeypatch.setattr(timing, "synthetic_rows", lambda: rows)


def timed(kernel, seconds):
    return Timing(device="cpu", kernel=kernel, seconds=seconds, least=seconds, most=seconds, runs=1, threads=1)


# Cases ---------------------------------------------------------------------------------------------------------


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


# Figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_where_each_number_comes_from(name, lab):
    figure = FIGURES[name](lab)
    assert figure.name == name
    kinds = {entry.kind for entry in figure.entries}
    assert "modelled" in kinds and (name in ("fig19b", "timing") or "quoted" in kinds)
    assert all(entry.value > 0 and entry.source for entry in figure.entries)
    assert all("paper" in entry.source for entry in figure.entries if entry.kind == "quoted")
    table = list(csv.DictReader(io.StringIO(table_csv(figure))))
    assert len(table) == len(figure.entries) and list(table[0]) == [
        "figure", "series", "x", "value", "unit", "kind", "source"
    ]  # fmt: skip
    assert figure_png(figure).startswith(b"\x89PNG")


def test_published_numbers_stand_in_the_figures(lab):
    def quoted(name, unit):
        return [entry.value for entry in FIGURES[name](lab).entries if (entry.kind, entry.unit) == ("quoted", unit)]

    assert quoted("fig19a", "GFLOPS") == [168, 299, 485, 653, 776, 771]
    assert quoted("table3", "effective GOP/s") == [120, 221, 360]
    assert quoted("fig18", "GFLOPS") == [430, 1610]
    assert quoted("fig20", "× dense") == [1, 3.4, pytest.approx(9.52)]


def test_roofline_bounds_what_is_modelled(lab):
    for entry in FIGURES["fig18"](lab).entries:
        if entry.kind == "modelled":
            assert entry.value < min(2048, 512 * entry.x)


def test_speed_up_is_over_the_first_step(lab):
    entries = [entry for entry in FIGURES["fig20"](lab).entries if entry.series == "this machine"]
    ratios = [entry.value for entry in entries if entry.unit == "× dense"]
    cycles = [entry.value for entry in entries if entry.unit == "cycles"]
    assert ratios == [cycles[0] / count for count in cycles] and ratios == sorted(ratios) and ratios[-1] > 3


def test_one_token_is_not_compared_with_the_timing_of_all(lab):
    figure = FIGURES["fig20"](lab)
    assert not any(entry.unit == "× PyTorch" for entry in figure.entries)
    assert any("no timing of PyTorch fits" in note for note in figure.notes)


def test_the_board_has_times_if_its_clock_is_known(lab):
    board = dataclasses.replace(lab, fpga_mhz=50.0)
    board._timings.update(lab._timings)
    places = {entry.x for entry in FIGURES["timing"](board).entries}
    assert "preset ulx3s, 50 MHz, dense" in places
    assert not any("ulx3s" in str(entry.x) for entry in FIGURES["timing"](lab).entries)


def test_a_cluster_gives_what_one_process_gives(rows):
    points = [Point(generation_case("rows", rows, PAPER).shapes, PAPER, parallelism) for parallelism in (8, 16)]
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, **quiet) as cluster,
        Client(cluster) as client,
    ):
        found = Lab(rows=rows, workload="one token", client=client).predict(points)
    assert found == Lab(rows=rows, workload="one token").predict(points)


def test_an_entry_must_be_of_a_kind():
    with pytest.raises(ValueError, match="kind must be one of measured, modelled, calculated, quoted, not 'guessed'"):
        Entry(series="a", x=1, value=1.0, unit="x", kind="guessed", source="s")
    with pytest.raises(ValueError, match="value of 'a' at 1 must be finite, not nan"):
        Entry(series="a", x=1, value=float("nan"), unit="x", kind="quoted", source="s")


def test_a_figure_must_have_something_to_draw():
    entry = Entry(series="a", x=1, value=1.0, unit="x", kind="quoted", source="s")
    fields = {"name": "f", "title": "t", "x_label": "x", "y_label": "y", "entries": [entry]}
    with pytest.raises(ValueError, match="entries of f must have one in 'y', not none"):
        Figure(style="bars", drawn_unit="y", **fields)
    with pytest.raises(ValueError, match="style must be one of roofline, lines, bars, not 'pie'"):
        Figure(style="pie", drawn_unit="x", **fields)


def test_page_loads_nothing(lab):
    figure = FIGURES["table3"](lab)
    page = page_of([figure], [figure_png(figure)], {"Workload": "<one token>"})
    assert "&lt;one token&gt;" in page and "paper, Table III" in page and 'class="quoted"' in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "<script" not in page


# Measured ------------------------------------------------------------------------------------------------------


def test_measured_points_join_the_modelled_ones(rows, monkeypatch):
    asked = []

    class Run:
        gflops, gflops_dense_equivalent, cycles, preset, memory, rows_checked = 900.0, 240.0, 1000, "paper", "ideal", 7
        bytes = {"read": 400_000}  # noqa: RUF012

    lab = Lab(rows=rows, workload="one token", engine="verilator", progress=lambda text: None)
    monkeypatch.setattr(lab, "_run", lambda workload, config: asked.append((workload.name, config.name)) or Run())
    monkeypatch.setattr(labs, "csv_workload", lambda path, config: Workload(name="", jobs=[], tokens=[]))
    figures = {name: FIGURES[name](lab) for name in ("fig18", "fig19a", "fig19b", "fig20", "table3")}
    for figure in figures.values():
        measured = [entry for entry in figure.entries if entry.kind == "measured"]
        assert measured and all("7 rows compared with golden" in entry.source for entry in measured)
    assert [entry.value for entry in figures["table3"].entries if entry.kind == "measured"] == [240.0]
    place = next(entry.x for entry in figures["fig18"].entries if entry.kind == "measured")
    assert place == 900 * 1000 / 400_000
    assert ("one token: dense", "paper") in asked and ("BERT-base, 128 tokens", "eighth") in asked


# PyTorch -------------------------------------------------------------------------------------------------------


def test_kernels_compute_the_same():
    query, key, value = torch.randn(3, 1, 2, 5, 16, generator=torch.Generator().manual_seed(0))
    expected = KERNELS["scaled_dot_product_attention"](query, key, value)
    assert torch.allclose(_matmul(query, key, value), expected, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_timings_are_medians(kernel):
    few = {"layers": 1, "heads": 2, "dim": 16, "runs": 3}
    for found in (
        time_summarization("cpu", kernel, tokens=8, **few),
        time_generation("cpu", kernel, prompt=6, steps=2, **few),
    ):
        assert 0 < found.least <= found.seconds <= found.most and found.runs == 3
        assert f"{kernel}, " in found.source and "median of 3 runs" in found.source
    with pytest.raises(ValueError, match="runs must be at least 1, not 0"):
        time_summarization("cpu", kernel, tokens=8, runs=0)


def test_devices_begin_with_the_cpu():
    assert devices()[0] == "cpu"


# Command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fig21"], "NAME must be one of fig18, fig19a, fig19b, fig20, table3, timing, all; not 'fig21'"),
        (["--engine", "pysim"], "--engine must be one of model, verilator, not 'pysim'"),
        (["--runs", "0"], "--runs must be at least 1, not 0"),
        (["--workers", "0"], "--workers must be at least 1, not 0"),
        (["--fpga-mhz", "-1"], "--fpga-mhz must be above 0 and at most 10000, not -1"),
        (["--workload", "none.csv"], "FILE 'none.csv' cannot be read"),
        (["--out", "file"], "--out must be a folder that can be made, not 'file'"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(arguments, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert cli.main(["reproduce", "fig18", *arguments] if arguments[0] != "fig21" else ["reproduce", *arguments]) == 2
    captured = capsys.readouterr()
    assert line in captured.err and captured.err.count("\n") == 1


def test_command_writes_tables_images_and_a_page(rows, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("SPATTEN_DATA", raising=False)
    path = tmp_path / "rows.csv"
    path.write_text(rows_csv(rows))
    out = tmp_path / "out"
    assert cli.main(["reproduce", "fig18", "fig20", "--workload", str(path), "--out", str(out), "--workers", "1"]) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "fig18.csv", "fig18.png", "fig20.csv", "fig20.png", "index.html"
    ]  # fmt: skip
    assert "GPT-2 (rows.csv), 142 rows" in (out / "index.html").read_text()
    assert capsys.readouterr().out.count("\n") == 5


def test_folder_of_data_gives_the_workload(rows, tmp_path, monkeypatch):
    file = tmp_path / labs.WORKLOAD
    file.parent.mkdir()
    file.write_text(rows_csv(rows))
    monkeypatch.setenv("SPATTEN_DATA", str(tmp_path))
    assert Lab.open(None).rows == rows
    monkeypatch.delenv("SPATTEN_DATA")
    assert Lab.open(None).workload.startswith("synthetic")


def test_quoted_numbers_name_their_place():
    values = [published.BERT_GFLOPS, published.GPT2_GFLOPS, published.BUFFER_KB]
    values += [*published.TOPK_GFLOPS.values(), *published.BREAKDOWN.values(), *published.TABLE3.values()]
    assert all(re.match(r"paper, (Fig\.|Table) ", quoted.source) for quoted in values)
