import json

import pytest

from golden.host.cache import source_digest
from sim.bench.record import Record
from spatten import cli
from spatten.commands import bench
from spatten.commands.bench import bench_command


def record(**changes):
    fields = {
        "name": "a.b",
        "value": 0.5,
        "unit": "fraction",
        "better": "higher",
        "goal": 0.9,
        "preset": "tiny",
        "memory": "ideal",
        "command": "spatten bench fake",
    }
    return Record(**{**fields, **changes})


def test_writes_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "BENCH_DIR", tmp_path / "bench")
    fakes = {"fake": lambda: iter([record(), record(name="c", goal=None)])}
    # It is run only if it is named.
    fakes["fpga"] = lambda: pytest.fail("run")
    monkeypatch.setattr(bench, "BENCHES", fakes)
    bench_command([])
    written = json.loads((tmp_path / "bench" / "fake.json").read_text())
    keys = {"name", "value", "unit", "better", "goal", "met", "preset", "memory", "command", "revision", "hardware"}
    assert [set(item) for item in written] == [keys, keys]
    assert [item["met"] for item in written] == [False, None]
    assert {item["hardware"] for item in written} == {source_digest("hdl/spatten.py")[:12]}
    assert "a.b" in capsys.readouterr().out


def test_a_bench_that_fails_keeps_its_records(monkeypatch, tmp_path):
    def failing():
        yield record()
        raise RuntimeError("no more")

    monkeypatch.setattr(bench, "BENCH_DIR", tmp_path)
    monkeypatch.setattr(bench, "BENCHES", {"fake": failing})
    with pytest.raises(RuntimeError, match="no more"):
        bench_command(["fake"])
    assert [item["name"] for item in json.loads((tmp_path / "fake.json").read_text())] == [record().name]


def test_records_that_cannot_be_written_are_told_before_the_bench(monkeypatch, tmp_path):
    (tmp_path / "build").write_text("")
    monkeypatch.setattr(bench, "BENCH_DIR", tmp_path / "build" / "bench")
    monkeypatch.setattr(bench, "BENCHES", {"fake": lambda: pytest.fail("run")})
    with pytest.raises(ValueError, match=r"^the records must be a writable file, not '.*fake.json': Not a directory$"):
        bench_command(["fake"])


def test_unknown_name():
    with pytest.raises(ValueError, match=r"NAME must be one of core, .*, verification, not 'speed'"):
        bench_command(["speed"])


def test_failures_are_one_line(monkeypatch, tmp_path, capsys):
    """What the work gave is told on stderr with status 1; what the user asked for with status 2."""

    def failing():
        yield record()
        raise RuntimeError("outputs differ from golden")

    def asking():
        yield record()
        raise ValueError("SPATTEN_DATA must name a folder, not ''")

    monkeypatch.setattr(bench, "BENCH_DIR", tmp_path)
    for made, status, line in ((failing, 1, "outputs differ from golden"), (asking, 2, "SPATTEN_DATA must name")):
        monkeypatch.setattr(bench, "BENCHES", {"fake": made})
        assert cli.main(["bench", "fake"]) == status
        wrong = capsys.readouterr().err
        assert wrong.startswith(f"error: {line}") and wrong.count("\n") == 1
