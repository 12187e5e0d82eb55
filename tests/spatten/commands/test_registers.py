from hdl.registers.outputs import ROOT, outputs
from hdl.spec.register_map import MAP
from spatten import cli


def test_files(tmp_path, capsys):
    """What is committed, in any folder."""
    assert cli.main(["registers", "--output", str(tmp_path / "new")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(outputs(MAP))
    for name in outputs(MAP):
        found = tmp_path / "new" / (ROOT / name).name
        assert found.read_text() == (ROOT / name).read_text()


def test_output_must_be_a_folder(tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["registers", "-o", str(file)]) == 2
    assert capsys.readouterr().err == f"error: --output must be a folder, not the file {str(file)!r}\n"


def test_update_needs_a_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hdl.registers.outputs.ROOT", tmp_path)
    assert cli.main(["registers", "--update"]) == 2
    assert capsys.readouterr().err == "error: --update must be used in a checkout, not in an installed copy\n"


def test_update(tmp_path, monkeypatch):
    """The files of a checkout are made anew."""
    monkeypatch.setattr("hdl.registers.outputs.ROOT", tmp_path)
    for name in outputs(MAP):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("stale")
    assert cli.main(["registers", "--update"]) == 0
    for name in outputs(MAP):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()
