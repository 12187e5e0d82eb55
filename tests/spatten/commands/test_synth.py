import json

import pytest
from typer.testing import CliRunner

from fpga.build import synth
from spatten.cli import app


@pytest.mark.parametrize(("used", "status"), [(4, 0), (90_000, 1)])
def test_report_as_json(monkeypatch, tmp_path, used, status):
    """Whether it fits or not."""
    report = {"usage": synth.LIMITS | {"LUT": used}, "limits": synth.LIMITS, "fits": status == 0}
    monkeypatch.setattr(synth, "synthesize", lambda config, block, seeds: report | {"block": block})
    path = tmp_path / "found.json"
    done = CliRunner().invoke(app, ["synth", "--block", "RowMax", "--json", str(path)])
    assert done.exit_code == status
    assert json.loads(path.read_text()) == report | {"block": "RowMax"}
