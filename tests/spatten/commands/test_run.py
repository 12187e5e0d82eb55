"""What ``spatten run`` tells of errors, from the command line on."""

import pytest

from spatten import cli
from tests.bench.tiny_models import save_tiny_bert


@pytest.fixture
def model(tmp_path, monkeypatch, capsys):
    """A small encoder in the current folder; what its writing told is forgotten."""
    monkeypatch.chdir(tmp_path)
    path = str(save_tiny_bert(tmp_path))
    capsys.readouterr()
    return path


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--engine", "asic"], "--engine must be one of auto, verilator, pysim, axi, fpga, golden, not 'asic'"),
        (["--text", ""], "--text must not be empty"),
        (["--memory", "ddr4"], "--memory must be one of ideal, hbm2, not 'ddr4'"),
        (["--token-keep", "2"], "--token-keep must be in (0, 1], not 2.0"),
        (["--port", "x", "--engine", "golden"], "--port needs --engine fpga, not golden"),
        (["--html", "/"], "--html must be a file, not the folder '/'"),
    ],
)
def test_errors_are_one_line_on_stderr(model, options, line, capsys):
    assert cli.main(["run", model, *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"error: {line}\n"


def test_a_model_that_is_not_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert cli.main(["run", "empty"]) == 2
    captured = capsys.readouterr()
    assert (
        captured.out == ""
        and captured.err.startswith("error: model folder 'empty' has no config.json")
        and captured.err.count("\n") == 1
    )


def test_a_run(model, capsys, tmp_path):
    assert cli.main(["run", model, "--text", "a b", "--engine", "golden"]) == 0
    captured = capsys.readouterr()
    assert "metrics: build/sim/metrics.json" in captured.out and captured.err == ""
    assert (tmp_path / "build" / "sim" / "metrics.json").is_file()
