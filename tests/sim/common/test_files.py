import pytest

from sim.common import files


def test_write_text_replaces_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "sub" / "a.txt"
    files.write_text(path, "one\r\n")
    assert path.read_bytes() == b"one\r\n" and path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "\udcff")
    files.write_text(path, "\udcff", errors="replace")

    def fail(*_):
        raise OSError("disk is full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        files.write_text(path, "two")
    assert path.read_text() == "?" and list(path.parent.iterdir()) == [path]


def test_writable(tmp_path):
    files.check_writable("--json", tmp_path / "new" / "a.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="--json must be a file, not the folder"):
        files.check_writable("--json", tmp_path)
    files.check_writable("--plot", tmp_path, prefix=True)
    (tmp_path / "plain").write_text("")
    with pytest.raises(ValueError, match=r"--json must be a writable file, not .*Not a directory"):
        files.check_writable("--json", tmp_path / "plain" / "a.json")
