from types import SimpleNamespace

import pytest

from sim.bench import campaign


@pytest.fixture
def report(monkeypatch, tmp_path):
    """Of the campaign; beside it a file of tests, and an extra that is installed."""
    tests, path = tmp_path / "test_spatten_axi.py", tmp_path / "faults.json"
    tests.write_text("")
    monkeypatch.setattr(campaign, "TESTS", tests)
    monkeypatch.setattr(campaign, "REPORT", path)
    monkeypatch.setattr(campaign.importlib.util, "find_spec", lambda name: name)
    return path


def test_what_a_campaign_finds(monkeypatch, report):
    """Also when its test fails: what went wrong is a record that misses its goal."""

    def run(command, **options):
        assert command[-3:] == ["-m", "long", str(campaign.TESTS)]
        report.write_text('{"faults": 2100, "hangs": 0, "wrong": 1}')
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(campaign.subprocess, "run", run)
    found = {record.name: (record.value, record.met) for record in campaign.bench_campaign()}
    assert found == {
        "axi.cocotb.faults": (2100, True),
        "axi.cocotb.hangs": (0, True),
        "axi.cocotb.wrong": (1, False),
    }


def test_report_of_an_earlier_campaign(monkeypatch, report):
    report.write_text('{"faults": 2100, "hangs": 0, "wrong": 0}')
    monkeypatch.setattr(campaign.subprocess, "run", lambda command, **options: SimpleNamespace(returncode=2))
    with pytest.raises(RuntimeError, match=r"^test_spatten_axi\.py ended with exit status 2$"):
        list(campaign.bench_campaign())


def test_without_the_extra(monkeypatch, report):
    monkeypatch.setattr(campaign.importlib.util, "find_spec", lambda name: None)
    assert not list(campaign.bench_campaign())
