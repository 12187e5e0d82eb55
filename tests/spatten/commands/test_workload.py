import json
from types import SimpleNamespace

import pytest

from sim.engine import registry as engines
from sim.engine.engine import EngineError
from sim.transport.memory import ImageError
from spatten import cli
from tests.bench.workload_rows import GoldenEngine, generation, write


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "rows.csv", generation())


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
    text = " ".join(capsys.readouterr().out.split())
    assert trace.read_text().startswith("LD 0x") and "same order, same window" in text
    assert "same order, 256 in flight" in text and "peak less refresh, any order" in text


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
        (["rows.csv", "--heads", "2"], "--heads must come with --shape bert or --shape long only"),
        (["--shape", "bert", "--no-pair"], "--pair/--no-pair must come with FILE.csv only"),
        (["--shape", "bert", "--query-bits", "8"], "--query-bits must come with FILE.csv or --shape long only"),
        (["--shape", "gpt"], "--shape must be bert or long, not 'gpt'"),
        (["rows.csv", "--limit", "0"], "--limit must be at least 1, not 0"),
        (["rows.csv", "--check", "0"], "--check must be at least 1, not 0"),
        (["rows.csv", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["rows.csv", "--memory", "x"], "--memory must be one of ideal, hbm2, not 'x'"),
        (["rows.csv", "--engine", "x"], "--engine must be one of verilator, pysim, axi, not 'x'"),
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
