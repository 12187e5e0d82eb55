import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fpga.build import synth
from golden.models import download as models
from hdl import verilog as hdl_verilog
from hdl.spec.config import PRESETS
from sim.common.settings import Settings
from sim.engine import lint
from sim.engine.registry import AUTO, BOARD, GOLDEN, engine_names
from sim.run.request import RunRequest
from spatten import cli
from spatten.commands import bench, doctor
from spatten.commands.preset import load_config
from spatten.engines import register_boards
from tests.bench.standin import StandIn


@pytest.fixture(autouse=True)
def stand_in(monkeypatch, tmp_path):
    monkeypatch.setattr(hdl_verilog, "top_of", lambda config, kind="core": StandIn(config))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["verilog", "--preset", "huge"], f"--preset must be one of {', '.join(PRESETS)} or a .json"),
        (["verilog", "--preset", "a.json"], "--preset file 'a.json' does not exist"),
        (["verilog", "--preset", "bad.json"], "--preset bad.json: lanes must be a power of two, not 3"),
        (["verilog", "-o", "."], "--output must be a file, not the folder '.'"),
        (["verilog", "-o", "bad.json/x"], "--output must be a writable file, not 'bad.json/x'"),
        (["verilog", "--colour"], "No such option: --colour"),
        (["verilgo"], "No such command 'verilgo'. Did you mean 'verilog'"),
        (["synth", "--preset", "tiny", "--block", "Nothing"], "--block must be one of "),
        (["synth", "--preset", "tiny", "--block", "StreamQueue"], "--block must be a block that the configuration"),
        (["run", "--seed", "x"], "'--seed'"),
        (["run", "--preset", "huge"], "--preset must be one of"),
        (["run", "--generate", "many"], "'--generate'"),
        (["bench", "nothing"], "NAME must be one of core"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(arguments, line, capsys, tmp_path):
    (tmp_path / "bad.json").write_text('{"lanes": 3}')
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and line in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""


def test_wrong_value_is_named(capsys):
    assert cli.main(["run", "--seed", "x"]) == 2
    assert capsys.readouterr().err.strip().endswith("not 'x'")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"]])
def test_help(arguments, capsys):
    assert cli.main(arguments) == 0
    assert "Usage: spatten" in capsys.readouterr().out


def test_verilog(capsys, tmp_path):
    assert cli.main(["verilog", "-o", "sub/top.v"]) == 0
    assert (tmp_path / "sub" / "top.v").read_text().startswith("// spatten:")
    header = (tmp_path / "sub" / "top_pkg.vh").read_text()
    assert "localparam SPATTEN_JOB_DIM_OFFSET = 16;" in header
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["sub/top.v", "sub/top_pkg.vh"]
    assert cli.main(["verilog"]) == 0 and (tmp_path / "build" / "tiny.v").is_file()
    assert cli.main(["verilog", "--top", "axi"]) == 0
    assert (tmp_path / "build" / "tiny_axi.v").read_text().startswith("// spatten_axi:")
    assert "SPATTEN_AXI_CONFIG_LANES = 2;" in (tmp_path / "build" / "tiny_axi_pkg.vh").read_text()
    assert cli.main(["verilog", "--top", "pcie"]) == 2
    assert cli.main(["verilog", "-o", os.devnull]) == 0
    assert not Path(os.devnull).with_name("null_pkg.vh").exists()


def test_verilog_split(capsys, tmp_path):
    assert cli.main(["verilog", "--split"]) == 0
    assert {path.name for path in (tmp_path / "build" / "tiny").iterdir()} == {
        "spatten.v", "spatten_pkg.vh", "spatten.f"
    }  # fmt: skip
    assert (tmp_path / "build" / "tiny" / "spatten.f").read_text() == "spatten.v\n"
    assert capsys.readouterr().out.startswith("build/tiny/spatten.v: ")
    (tmp_path / "file").write_text("")
    assert cli.main(["verilog", "--split", "-o", "file"]) == 2
    assert capsys.readouterr().err == "error: --output must be a folder with --split, not the file 'file'\n"


def test_run_passes_its_options(monkeypatch):
    seen = []
    monkeypatch.setitem(
        sys.modules, "sim.run.run", SimpleNamespace(run_command=lambda request: seen.append(request) or 1)
    )
    assert cli.main(["run", "--text", "it's", "--engine", "golden", "--layers", "2", "--json", "m.json"]) == 1
    assert seen.pop() == RunRequest(text="it's", engine="golden", layers=2, json_path=Path("m.json"))
    changes = ["--token-keep", "0.8:0.4", "--scope", "head", "--pin-last", "3", "--split", "6+4", "--value-keep", "0.5"]
    command = ["run", "smollm2", "--generate", "4", "--algorithm", "paper-gpt2", "--html", "p.html", *changes]
    assert cli.main(command) == 1
    settings = Settings(token_keep="0.8:0.4", scope="head", pin_last=3, split="6+4", value_keep=0.5)
    named = {"model": "smollm2", "generate": 4, "algorithm": "paper-gpt2", "html_path": Path("p.html")}
    assert seen.pop() == RunRequest(**named, settings=settings)
    assert cli.main(["run"]) == 1 and seen.pop() == RunRequest(), "the defaults stand in the request alone"


def test_run_tells_every_engine(capsys):
    register_boards()
    assert cli.main(["run", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(name in told for name in (AUTO, *engine_names(), GOLDEN)) and BOARD in engine_names()


def test_bench_passes_the_names(monkeypatch):
    calls = []
    monkeypatch.setattr(bench, "bench_command", calls.append)
    assert cli.main(["bench", "core"]) == 0
    assert cli.main(["bench"]) == 0
    assert calls == [["core"], []]


def test_synth_table(monkeypatch, capsys):
    usage = {"LUT": 90_000, "FF": 10, "DSP": 1, "BRAM": 2}
    report = {"usage": usage, "limits": synth.LIMITS, "fits": False}
    monkeypatch.setattr(synth, "synthesize", lambda *_, **__: report)
    assert cli.main(["synth"]) == 1
    assert "does not fit: LUT: 90,000 needed, the LFE5U-85F has 83,640" in capsys.readouterr().out
    report.update(usage=dict(usage, LUT=5), fits=True)
    assert cli.main(["synth"]) == 0


def test_doctor_status(monkeypatch, capsys):
    checks = [doctor.Check("python", True, "3.11", ""), doctor.Check("g++", False, "not found", "install it")]
    monkeypatch.setattr(doctor, "check_all", lambda: iter(checks))
    assert cli.main(["doctor"]) == 1
    assert "g++: install it" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "check_all", lambda: iter(checks[:1]))
    assert cli.main(["doctor"]) == 0


def test_models(monkeypatch, capsys, tmp_path):
    for name in ("minilm", "smollm2"):
        monkeypatch.setattr(models, f"get_{name}", lambda name=name: tmp_path / name)
    assert cli.main(["models"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "minilm"), str(tmp_path / "smollm2")]
    assert cli.main(["models", "minilm"]) == 0 and capsys.readouterr().out.split() == [str(tmp_path / "minilm")]
    assert cli.main(["models", "gpt5"]) == 2
    assert capsys.readouterr().err == "error: NAME must be one of minilm, smollm2, not 'gpt5'\n"

    def fail():
        raise models.ModelError("no network")

    monkeypatch.setattr(models, "get_minilm", fail)
    assert cli.main(["models"]) == 1 and capsys.readouterr().err == "error: no network\n"


def test_lint_status(monkeypatch, capsys):
    monkeypatch.setattr(lint, "lint_verilog", lambda config, kind: [f"{config.name}.v: bad"])
    assert cli.main(["lint-verilog"]) == 1
    assert capsys.readouterr().out == f"tiny.v: bad\ntiny: 1 findings of {', '.join(lint.linters())}\n"


def test_preset_file(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"name": "mine", "max_tokens": 512}))
    assert load_config("mine.json").max_tokens == 512
