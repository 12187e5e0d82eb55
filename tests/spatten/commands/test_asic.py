"""``spatten asic`` on a small block."""

import json

import pytest

from sim.asic.timing import MISSING
from spatten import cli
from tests.bench.liberty import tiny_liberty


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setenv("SPATTEN_CACHE", str(tmp_path / "cache"))
    return str(tiny_liberty(tmp_path / "six.lib"))


def test_a_block(library, tmp_path, capsys):
    path = tmp_path / "asic.json"
    arguments = ["asic", "--liberty", library, "--block", "RowSegments", "--mhz", "500", "--json", str(path)]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "largest: logic of spatten" in out
    assert "Dennard" in out
    found = json.loads(path.read_text())
    assert found["block"] == "RowSegments"
    assert found["total"]["area_um2"] > 1000


def test_without_opensta_the_area_is_told(library, capsys, monkeypatch):
    monkeypatch.setattr("sim.asic.timing.shutil.which", lambda name: None)
    assert cli.main(["asic", "--liberty", library, "--block", "FlatnessCheck"]) == 0
    assert MISSING in capsys.readouterr().out
