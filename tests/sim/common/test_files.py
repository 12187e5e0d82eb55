from pathlib import Path

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


def test_read_text(tmp_path):
    """A byte order mark is no part of the text."""
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfthe text\n")
    assert files.read_text(tmp_path / "a.txt", "--text file") == "the text\n"
    (tmp_path / "b.txt").write_bytes(b"\xff\xfet\0")
    with pytest.raises(ValueError, match=r"^--text file '.*b.txt' cannot be read: it is not UTF-8 text$"):
        files.read_text(tmp_path / "b.txt", "--text file")
    with pytest.raises(ValueError, match=r"^--text file '.*none' cannot be read: No such file or directory$"):
        files.read_text(tmp_path / "none", "--text file")


def test_distinct(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two, link = (Path(name) for name in ("one", "two", "link"))
    files.check_distinct({"--json": one, "--html": two, "--trace": None}, {"--text": "one", "--preset": "none.json"})
    with pytest.raises(ValueError, match=r"^--html must be another file than that of --json, not 'one'$"):
        files.check_distinct({"--json": tmp_path / "one", "--html": one}, {})
    two.write_text("")
    link.symlink_to(two)
    with pytest.raises(ValueError, match=r"^--json must be another file than that of --text, not 'link'$"):
        files.check_distinct({"--json": link}, {"--text": "two"})
    files.check_distinct({"--json": Path("/dev/null"), "--html": Path("/dev/null")}, {})
