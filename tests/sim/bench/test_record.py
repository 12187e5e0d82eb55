import json
import sys

import pytest

from sim.bench import record as records
from sim.bench.record import Record, json_of
from tests.bench.tiny_models import save_tiny_bert


def record(**changes):
    fields = dict(
        name="a.b",
        value=0.5,
        unit="fraction",
        better="higher",
        goal=0.9,
        preset="tiny",
        memory="ideal",
        command="spatten bench fake",
    )
    return Record(**{**fields, **changes})


def test_met():
    assert not record().met
    assert record(value=0.9).met
    assert record(better="lower").met
    assert not record(better="lower", value=1.0).met
    assert record(goal=None).met is None


def test_json_of_runs_the_command_line(tmp_path):
    """In a process of its own, in any folder."""
    model = str(save_tiny_bert(tmp_path))
    figures, command = json_of(["run", model, "--text", "a b", "--engine", "golden"])
    assert command == f"spatten run {model} --text 'a b' --engine golden"
    assert figures["engine"] == "golden" and figures["rows"] == 2 * 2 * 4


def test_json_of_tells_what_failed(capfd):
    with pytest.raises(RuntimeError, match=r"^spatten run nowhere --preset huge ended with exit status 2$"):
        json_of(["run", "nowhere", "--preset", "huge"])
    assert "--preset must be one of" in capfd.readouterr().err


def test_json_of_takes_what_a_failed_run_wrote(monkeypatch):
    """A run whose values differ from golden writes its metrics and ends with 1: the bench tells the number."""
    script = "import sys; open(sys.argv[-1], 'w').write('{\"mismatches\": 3}'); sys.exit(1)"
    run = records.subprocess.run
    monkeypatch.setattr(
        records.subprocess,
        "run",
        lambda command, **options: run([sys.executable, "-c", script, *command[3:]], **options),
    )
    assert json_of(["run"])[0] == json.loads('{"mismatches": 3}')
