import csv
import dataclasses
import io

import pytest

from hdl.spec.config import PRESETS
from sim.reproduce import lab as labs
from sim.reproduce.figures import figure_png, table_csv
from sim.reproduce.lab import Lab
from sim.reproduce.reproduce import FIGURES
from sim.reproduce.silicon import Records
from sim.workload.workload import Workload

PAPER = PRESETS["paper"]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_where_each_number_comes_from(name, lab):
    figure = FIGURES[name](lab)
    assert figure.name == name
    kinds = {entry.kind for entry in figure.entries}
    assert ("modelled" in kinds or name == "fig13") and (name in ("fig19b", "timing") or "quoted" in kinds)
    assert all(entry.value > 0 and entry.source for entry in figure.entries)
    assert all("paper" in entry.source for entry in figure.entries if entry.kind == "quoted")
    table = list(csv.DictReader(io.StringIO(table_csv(figure))))
    assert len(table) == len(figure.entries) and list(table[0]) == [
        "figure", "series", "x", "value", "unit", "kind", "source"
    ]  # fmt: skip
    assert figure_png(figure).startswith(b"\x89PNG")


def test_area_and_power_are_of_the_records(lab):
    values = {"paper.area_mm2.qk": 3.5, "eighth.area_mm2.total": 2.5, "energy.per8.watts.dram": 0.25, "other.x": 1.0}
    records = Records(values, dict.fromkeys(values, "spatten bench silicon"))
    figure = FIGURES["fig13"](dataclasses.replace(lab, silicon=records))
    ours = {(entry.x, entry.value, entry.unit) for entry in figure.entries if entry.kind == "estimated"}
    assert ours == {
        ("qk, paper", 3.5, "mm² at 40 nm"),
        ("total, eighth", 2.5, "mm² at 40 nm"),
        ("dram, eighth, GPT-2", 0.25, "W at 1 GHz"),
    }
    assert any("No records" in note for note in FIGURES["fig13"](lab).notes)


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
