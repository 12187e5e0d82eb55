"""What every command says of what it cannot do: one line on stderr, exit status 2, no traceback; and of Ctrl-C."""

import functools
import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from fpga.board import simulated_board
from hdl import verilog as hdl_verilog
from sim.common.errors import Interrupted
from sim.engine import verilator
from spatten import cli
from tests.bench.standin import StandIn

WITH_PRESET = (
    "asic --liberty text", "baselines topk", "bitstream", "board --simulate", "chat", "eval ppl none --text text",
    "eval sts none --pairs text", "lint-verilog", "netlist", "run", "synth", "verilog", "workload rows.csv",
)  # fmt: skip
BAD_PRESETS = {
    "huge": "must be one of",
    "none.json": "does not exist",
    "folder.json": "folder.json",
    "binary.json": "binary.json",
    "list.json": "list.json",
    "binary": "must be one of",
}

OTHERS = {
    "asic": "Missing option '--liberty'",
    "asic --liberty none": "--liberty none: No such file",
    "asic --liberty folder": "--liberty folder: Is a directory",
    "asic --liberty binary": "--liberty binary",
    "asic --liberty text": "--liberty text",
    "workload --shape long": "--preset must be one whose jobs can be chained, not paper (chain_rows 0)",
    "workload --shape long --preset paper-32k --rows 100": "--rows must be from 1 to 64, not 100",
    "energy none.json": "RUN 'none.json' cannot be read: No such file",
    "rivals": "--model or --workload must be given, not none",
    "texts build/texts --size 0": "--size must be at least 1, not 0",
    "texts text": "FOLDER must be a writable file, not 'text/first/prose.txt': Not a directory",
    "verilog -o folder": "--output must be a file, not the folder 'folder'",
    "verilog -o text/x.v": "--output must be a writable file, not 'text/x.v': Not a directory",
    "registers -o text": "--output must be a folder, not the file 'text'",
    "bitstream -o text": "--output must be a folder, not the file 'text'",
    "bitstream -o text/x": "--output must be a writable folder, not 'text/x': Not a directory",
    "bitstream --board nothing": "--board must be one of",
    "bitstream --freq 0": "--freq must be from 1 to 400 MHz, not 0",
    "fpga program none.bit": "FILE.bit must be a bitstream (.bit), not 'none.bit'",
    "fpga program folder": "FILE.bit must be a bitstream (.bit), not 'folder'",
    "fpga program binary": "FILE.bit must be a bitstream (.bit), not 'binary'",
    "fpga nothing": "No such command 'nothing'",
    "board": "--simulate or --port must be given, and not both",
    "board --port none": "--port must be a serial port that can be opened, not 'none': No such file",
    "board --port folder": "--port must be a serial port that can be opened, not 'folder': Is a directory",
    "board --port binary": "--port must be a serial port that can be opened, not 'binary'",
    "run --text @none": "--text file 'none' cannot be read: No such file",
    "run --text @folder": "--text file 'folder' cannot be read: Is a directory",
    "run --text @binary": "--text file 'binary' cannot be read: it is not UTF-8 text",
    "run --algorithm none": "--algorithm must be one of",
    "run --algorithm none.json": "--algorithm file 'none.json' cannot be read: No such file",
    "run --algorithm folder.json": "--algorithm file 'folder.json' cannot be read: Is a directory",
    "run --algorithm binary.json": "--algorithm file 'binary.json'",
    "run --json folder": "--json",
    "run --json text/x.json": "--json",
    "run --html text/x.html": "--html",
    "run --engine abacus": "--engine must be one of",
    "run --json x --html x": "--html must be another file than that of --json, not 'x'",
    "run --json text --text @text": "--json must be another file than that of --text, not 'text'",
    "chat --max-new-tokens 0": "--max-new-tokens must be at least 1, not 0",
    "chat --html folder": "--html must be a file, not the folder 'folder'",
    "chat --html text --algorithm text": "--html must be another file than that of --algorithm, not 'text'",
    "chat --engine abacus": "--engine must be one of",
    "chat ../none": "model folder '../none' does not exist",
    "run --layers 0": "--layers must be at least 1, not 0",
    "run ../none": "model folder '../none' does not exist",
    "run none/of/this": "model folder 'none/of/this' does not exist",
    "run text": "model 'text' must be a folder, a .gguf file or a name, not another file",
    "netlist --text @none": "--text file 'none' cannot be read: No such file",
    "eval ppl none --text none": "--text file 'none' cannot be read: No such file",
    "eval ppl none --text folder": "--text file 'folder' cannot be read: Is a directory",
    "eval ppl none --text binary": "--text file 'binary' cannot be read: it is not UTF-8 text",
    "eval ppl none --text text --algorithm binary.json": "binary.json",
    "eval ppl none --text text --json text/x": "--json must be a writable file, not 'text/x': Not a directory",
    "eval ppl none --text text --json text": "--json must be another file than that of --text, not 'text'",
    "eval sts none --pairs text --json x --csv x": "--csv must be another file than that of --json, not 'x'",
    "eval sts none --pairs text --vary value_bits=8,12 --csv x.png --plot x": "--plot (*.png) must be another",
    "eval sts none --pairs none": "--pairs file 'none' cannot be read: No such file",
    "eval sts none --pairs binary": "--pairs file 'binary' cannot be read: it is not UTF-8 text",
    "eval sts none --pairs text --sweep folder": "--sweep",
    "eval": "a command must follow 'eval'; it is missing",
    "workload none.csv": "FILE 'none.csv' cannot be read: No such file",
    "workload rows.csv --json rows.csv": "--json must be another file than that of FILE, not 'rows.csv'",
    "workload rows.csv --json x --ramulator x": "--ramulator must be another file than that of --json, not 'x'",
    "workload folder": "FILE 'folder' cannot be read: Is a directory",
    "workload binary": "FILE 'binary' cannot be read: it is not UTF-8 text",
    "reproduce --out text": "--out must be a folder that can be made, not 'text': File exists",
    "reproduce --out text/x": "--out must be a folder that can be made, not 'text/x': Not a directory",
    "reproduce fig19a --workload binary": "binary",
    "reproduce nothing": "NAME must be one of",
    "bench nothing": "NAME must be one of",
    "models nothing": "NAME must be one of minilm, smollm2, not 'nothing'",
    "baselines nothing": "BLOCK must be one of",
    "synth --seeds 0": "--seeds must be at least 1, not 0",
    "doctor more": "unexpected extra argument",
}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "text").write_text("a text")
    (tmp_path / "rows.csv").write_text("")
    (tmp_path / "list.json").write_text("[1]")
    for name in ("binary", "binary.json"):
        (tmp_path / name).write_bytes(bytes(range(128, 256)) * 8)
    monkeypatch.setattr(hdl_verilog, "top_of", lambda config, kind="core": StandIn(config))
    monkeypatch.setattr(simulated_board, "BoardModel", lambda *_: pytest.fail("the board is made"))


def told(arguments, capsys):
    """The line of a command that must fail."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and captured.err.endswith("\n")
    assert "Traceback" not in captured.err + captured.out
    return captured.err


@pytest.mark.parametrize("preset", BAD_PRESETS)
@pytest.mark.parametrize("command", WITH_PRESET)
def test_presets(command, preset, capsys):
    line = told([*command.split(), "--preset", preset], capsys)
    assert "--preset" in line and BAD_PRESETS[preset] in line and preset in line


@pytest.mark.parametrize("command", OTHERS)
def test_other_inputs(command, capsys):
    assert OTHERS[command] in told(command.split(), capsys)


TOOLS = {
    "lint-verilog": "g++ must be installed for the Verilog lint; see spatten doctor",
    "board --simulate": "--simulate: g++ must be installed for a simulated board; see spatten doctor",
    "workload --shape bert --tokens 16 --layers 1 --heads 1": "g++ must be installed for the verilator engine; see",
}


@pytest.mark.parametrize("command", TOOLS)
def test_missing_tools(command, capsys, monkeypatch):
    monkeypatch.setattr(verilator, "missing_tools", lambda: ("g++",))
    monkeypatch.setattr(simulated_board, "BoardModel", simulated_board.build)
    assert TOOLS[command] in told(command.split(), capsys)


@pytest.mark.parametrize("kind", [NotADirectoryError, PermissionError, OSError])
def test_files_that_the_machine_does_not_let_us_have(kind, capsys, monkeypatch, tmp_path):
    """Such as a cache where ``build`` is a file, or a disk that is full."""

    def fail(*_, **__):
        raise kind(20, "Not a directory", str(tmp_path / "cache" / "verilator"))

    monkeypatch.setattr(hdl_verilog, "to_verilog", fail)
    assert f"{str(tmp_path / 'cache' / 'verilator')!r} cannot be used: Not a directory\n" in told(["verilog"], capsys)
    monkeypatch.setenv("SPATTEN_CACHE", str(tmp_path / "cache"))
    assert told(["verilog"], capsys).endswith("Not a directory; SPATTEN_CACHE may name another folder\n")


def commands(group, prefix=()):
    """Every command of the command line, with its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


ALL = dict(commands(typer.main.get_command(cli.app)))


def test_every_command_is_tried_here():
    tried = {command.split()[0] for command in (*WITH_PRESET, *OTHERS)}
    assert {words[0] for words in ALL} <= tried | {"results"}  # tests/spatten/commands/test_results.py


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(words, option, capsys):
    assert cli.main([*words, option]) == 0
    captured = capsys.readouterr()
    assert f"Usage: spatten {' '.join(words)}" in captured.out and captured.err == ""


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_unknown_option(words, capsys):
    assert "No such option: --colour" in told([*words, "--colour"], capsys)


def interrupting(command):
    """The same command, that Ctrl-C stops as soon as it begins."""

    def callback(**_):
        raise KeyboardInterrupt

    changed = functools.partial(callback)
    command.callback = changed
    return command


def needed_words(parameter):
    """A required argument or option with a value."""
    return [*(option for option in parameter.opts[:1] if option.startswith("-")), "x"]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_interrupt(words, capsys, monkeypatch):
    group = typer.main.get_command(cli.app)
    command = dict(commands(group))[words]
    interrupting(command)
    monkeypatch.setattr(typer.main, "get_command", lambda app: group)
    needed = [word for parameter in command.params if parameter.required for word in needed_words(parameter)]
    assert cli.main([*words, *needed]) == 130
    captured = capsys.readouterr()
    assert captured.err.startswith("interrupted: ") and captured.err.count("\n") == 1 and captured.out == ""
    assert captured.err == f"interrupted: {cli.KEPT.get(words[0], 'nothing is kept')}\n"


def test_interrupt_with_its_own_words(capsys, monkeypatch):
    def stop(*_, **__):
        raise Interrupted("2 of 6 are finished")

    monkeypatch.setattr(hdl_verilog, "to_verilog", stop)
    assert cli.main(["verilog"]) == 130 and capsys.readouterr().err == "interrupted: 2 of 6 are finished\n"


def test_what_is_kept_is_of_commands():
    assert set(cli.KEPT) <= {words[0] for words in ALL}


def test_module_and_signal():
    """As a process: ``python -m spatten`` has the same manners, and a real Ctrl-C ends it."""
    command = [sys.executable, "-m", "spatten"]
    done = subprocess.run([*command, "verilog", "--preset", "none.json"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and done.stderr.startswith("error: ")
    # A process in the background ignores Ctrl-C until it is told not to.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from spatten.cli import main; print('begun', flush=True); sys.exit(main(['verilog']))"
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdout=-1, stderr=-1, env=os.environ) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (130, "", "interrupted: nothing is kept\n")
