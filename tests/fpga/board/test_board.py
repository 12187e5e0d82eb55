"""Simulated boards on a pseudo-terminal: a model's attention on them, hosts that come and go, the command line."""

import dataclasses
import io
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from fpga.board.simulated_board import BoardModel, BoardServer, simulated_settings
from fpga.host.engine import FpgaEngine
from fpga.host.host import Host, HostError
from golden.layers.job import run_job
from hdl.spec.config import PRESETS
from sim.common.mismatch import compare
from sim.common.settings import Settings
from sim.engine import verilator
from sim.engine.engine import EngineError
from sim.engine.registry import make_engine
from sim.run.request import RunRequest
from sim.run.run import run_command
from spatten.cli import main
from spatten.engines import register_boards
from tests.bench.jobs import random_jobs
from tests.bench.tiny_models import save_tiny_bert

register_boards()  # as the command line does

TINY = PRESETS["tiny"]
ONE_CHANNEL = dataclasses.replace(PRESETS["ulx3s-d32"], name="d32-sdram", address_width=16)
SLOW = {"timeout": 10.0}
"""Of a host: the machine may be busy."""

needs_verilator = pytest.mark.skipif(not verilator.available(), reason="the simulated board needs Verilator")


class Board:
    """A board that is served by a thread until it is unplugged."""

    def __init__(self, settings):
        self.model = BoardModel(settings)
        self.server = BoardServer(self.model)
        self.path = self.server.path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.server.serve, args=(self._stop.is_set,))
        self._thread.start()

    def unplug(self):
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self.server.close()


@pytest.fixture
def board():
    served = Board(simulated_settings(TINY))
    yield served
    served.unplug()


@needs_verilator
def test_model_on_a_board(board, tmp_path):
    """spatten run with a small random encoder, tokens and heads pruned: every value is golden's."""
    stream = io.StringIO()
    request = RunRequest(
        model=str(save_tiny_bert(tmp_path)),
        text="a b c d e",
        engine="fpga",
        port=board.path,
        baud=115_200,
        settings=Settings(token_keep="1,0.6", head_keep="1,0.5"),
        json_path=tmp_path / "metrics.json",
    )
    status = run_command(
        request,
        console=Console(file=stream, width=120),
        engine_factory=lambda name, config, **options: make_engine(name, config, **options, **SLOW),
    )
    printed = stream.getvalue()
    assert status == 0, printed
    assert "0 mismatches" in printed and f"fpga, port {board.path}" in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["values_compared"] > 500 and metrics["mismatches"] == 0
    assert metrics["memory"] == "board" and metrics["memory_latency"] is None and metrics["seed"] is None
    assert metrics["cycles"] > 1000 and metrics["bytes_read"]["total"] > 0
    assert board.model.bad_bytes == 0 and not board.model.error


@needs_verilator
def test_hosts_come_and_go(board):
    """The memory outlives a host that goes in the middle of a job; an unplugged board ends the run in a clear error."""
    jobs = random_jobs(TINY, random.Random(4), 4, max_keys=12, queries=3)
    want = [run_job(job, TINY) for job in jobs]
    with Host(board.path, **SLOW) as host:
        host.connect(TINY)
        host.write(1, 4000, bytes(range(64)))
        items = [bytes(host.board.items["job"])] * 3
        host.push("job", items)
    with FpgaEngine(TINY, port=board.path, **SLOW) as engine:
        assert engine.host.read(1, 4000, 8) == bytes(range(64))
        assert compare(jobs, engine.run(jobs).results, want).equal
        threading.Timer(0.5, board.unplug).start()
        with pytest.raises(EngineError, match=f"{board.path}: the port went away while "):
            for _ in range(1000):
                engine.run(jobs)
    board.unplug()
    again = Board(simulated_settings(TINY))
    try:
        with FpgaEngine(TINY, port=again.path, **SLOW) as engine:
            assert compare(jobs, engine.run(jobs).results, want).equal
    finally:
        again.unplug()


@needs_verilator
def test_idle_boards_cost_nothing(board):
    with Host(board.path, **SLOW) as host:
        host.connect(TINY)
    time.sleep(0.2)
    cycle, used = board.model.cycle, time.process_time()
    time.sleep(1.0)
    assert board.model.cycle == cycle and time.process_time() - used < 0.3
    assert board.model.idle and not board.model.busy


@needs_verilator
def test_sdram():
    """Core and SDRAM controller together, on a chip that checks its timing."""
    jobs = random_jobs(ONE_CHANNEL, random.Random(6), 3, max_keys=24, queries=4)
    served = Board(simulated_settings(ONE_CHANNEL, memory="sdram"))
    try:
        with FpgaEngine(ONE_CHANNEL, port=served.path, **SLOW) as engine:
            assert engine.identity.window_words == 65_536
            run = engine.run(jobs)
            data = random.Random(0).randbytes(8 * 300)
            engine.host.write(0, 65_236, data)
            assert engine.host.read(0, 65_236, 300) == data
        assert compare(jobs, run.results, [run_job(job, ONE_CHANNEL) for job in jobs]).equal
        assert served.model.violation == 0
    finally:
        served.unplug()


# The command line ----------------------------------------------------------------------------------------------


@needs_verilator
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_command(tmp_path, number, capsys):
    link = tmp_path / "board"
    link.symlink_to("/no/such/terminal")  # left by one that was killed
    command = [sys.executable, "-m", "spatten", "board", "--simulate", "--preset", "tiny", "--link", str(link)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 600)[0]
            assert process.stdout.readline() == f"{link}\n"
            assert process.stdout.readline() == (
                "preset tiny, memory block, 4096 words of 64 bits in each of 2 channels, 90 MHz, 22500000 baud\n"
            )
            assert os.readlink(link).startswith("/dev/")
            assert main(["board", "--port", str(link)]) == 0
            assert "protocol 1, preset tiny (digest " in capsys.readouterr().out
        finally:
            process.send_signal(number)
        assert process.wait(timeout=60) == 0
    assert not link.is_symlink()
    with pytest.raises(HostError, match="port must be a serial port that can be opened"):
        Host(str(link))


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["board"], "--simulate or --port must be given, and not both"),
        (["board", "--simulate", "--port", "x"], "--simulate or --port must be given, and not both"),
        (
            ["board", "--port", "/no/such"],
            "--port must be a serial port that can be opened, not '/no/such': No such file",
        ),
        (["board", "--port", "x", "--preset", "tiny"], "--preset must come with --simulate only"),
        (["board", "--port", "x", "--baud", "0"], "--baud must be at least 1, not 0"),
        (["board", "--simulate", "--preset", "big"], "--preset must be one of tiny, "),
        (["board", "--simulate", "--memory", "hbm2"], "--memory must be one of block, sdram, not 'hbm2'"),
        (["board", "--simulate", "--memory", "sdram"], "--memory must be block for a core of 2 channels"),
        (["board", "--simulate", "--baud", "90000000"], "--baud must be from 1374 to 22500000, not 90000000"),
        (["board", "--simulate", "--link", "/no/such/folder/x"], "--link must be in a folder that exists, not"),
        (["board", "--simulate", "--link", __file__], "--link must be a new name or a symbolic link, not the file"),
    ],
)
def test_wrong_arguments(arguments, text, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {text}") and error.count("\n") == 1


@pytest.mark.parametrize(
    "options, text",
    [
        ({"engine": "fpga"}, "--port must name the board's serial port with --engine fpga; it is missing"),
        ({"engine": "pysim", "port": "x"}, "--port needs --engine fpga, not pysim"),
        ({"engine": "golden", "baud": 9600}, "--baud needs --engine fpga, not golden"),
        ({"port": "x", "baud": 0}, "--baud must be at least 1, not 0"),
        ({"port": "x", "memory": "hbm2"}, "--memory needs a simulated engine, not fpga"),
        ({"port": "x", "memory_latency": 3}, "--memory-latency needs a simulated engine, not fpga"),
        ({"port": "x", "memory_stall": 0.5}, "--memory-stall needs a simulated engine, not fpga"),
        ({"port": "x", "seed": 3}, "--seed needs a simulated engine, not fpga"),
        ({"port": "x", "max_cycles": 3}, "--max-cycles needs a simulated engine, not fpga"),
        (
            {"port": "x", "trace": Path("wave.vcd")},
            "--trace needs an engine with waveforms, verilator, pysim, axi, not fpga",
        ),
        ({"port": "/no/such"}, "--port must be a serial port that can be opened, not '/no/such': No such file"),
    ],
)
def test_wrong_run_options(options, text, tmp_path):
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    fields = {"engine": "fpga", "json_path": tmp_path / "metrics.json"} | options
    request = RunRequest(model=str(save_tiny_bert(tmp_path)), text="a b", **fields)
    assert run_command(request, errors=console) == 2
    assert stream.getvalue().startswith(f"error: {text}") and stream.getvalue().count("\n") == 1
