import pytest

from sim.reproduce.cases import rows_csv, synthetic_rows
from spatten import cli


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fig21"], "NAME must be one of fig13, fig18, fig19a, fig19b, fig20, table3, timing, all; not 'fig21'"),
        (["--engine", "pysim"], "--engine must be one of model, verilator, not 'pysim'"),
        (["--runs", "0"], "--runs must be at least 1, not 0"),
        (["--workers", "0"], "--workers must be at least 1, not 0"),
        (["--fpga-mhz", "-1"], "--fpga-mhz must be above 0 and at most 10000, not -1"),
        (["--workload", "none.csv"], "FILE 'none.csv' cannot be read"),
        (["--silicon", "file"], "--silicon must be records of spatten bench silicon, not 'file'"),
        (["--out", "file"], "--out must be a folder that can be made, not 'file'"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(arguments, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert cli.main(["reproduce", "fig18", *arguments] if arguments[0] != "fig21" else ["reproduce", *arguments]) == 2
    captured = capsys.readouterr()
    assert line in captured.err and captured.err.count("\n") == 1


def test_command_writes_tables_images_and_a_page(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("SPATTEN_DATA", raising=False)
    path = tmp_path / "rows.csv"
    path.write_text(rows_csv(synthetic_rows(steps=1)))
    out = tmp_path / "out"
    assert cli.main(["reproduce", "fig18", "fig20", "--workload", str(path), "--out", str(out), "--workers", "1"]) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "fig18.csv", "fig18.png", "fig20.csv", "fig20.png", "index.html"
    ]  # fmt: skip
    assert "GPT-2 (rows.csv), 142 rows" in (out / "index.html").read_text()
    assert capsys.readouterr().out.count("\n") == 5
