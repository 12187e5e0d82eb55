"""``python -m mutation``: wrong hardware, module by module, and whether the tests of the block notice it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

from mutation import table
from mutation.record import BUILD, Found, Kept
from mutation.targets import targets
from mutation.trial import Trial

SUMMARY = BUILD / "summary.json"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("-k", metavar="NAME", default="", help="only modules whose path holds this")
    parser.add_argument("--each", type=int, default=20, metavar="N", help="most mutants of a module, 0: all (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among a module's mutants (0)")
    parser.add_argument("--seconds", type=float, default=0, metavar="S", help="begin no mutant after this time")
    parser.add_argument(
        "--goal", type=float, default=0, metavar="P", help="percent that must be noticed, else an error"
    )
    parser.add_argument("--fresh", action="store_true", help="forget what is known of these modules")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/verification.md; tries nothing")
    arguments = parser.parse_args()
    if arguments.each < 0:
        parser.error(f"--each must not be negative, not {arguments.each}")
    if arguments.seconds < 0:
        parser.error(f"--seconds must not be negative, not {arguments.seconds:g}")
    if not 0 <= arguments.goal <= 100:
        parser.error(f"--goal must be between 0 and 100, not {arguments.goal:g}")
    if not any(arguments.k in str(path) for path, _ in targets()):
        parser.error(f"-k must be a part of the path of a module with hardware, not {arguments.k!r}")
    return arguments


def _load() -> None:
    """What all trials need is loaded once; each trial is a fork."""
    import hypothesis  # noqa: F401
    import torch  # noqa: F401

    import golden.layers.job  # noqa: F401


def _try(path: Path, tests: list[Path], arguments: argparse.Namespace, until: float) -> str:
    """Why there is no result, or nothing."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            os.write(write, _trial(path, tests, arguments, until).encode()[-2000:])
        except BaseException as error:
            os.write(write, repr(error).encode()[-2000:])
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def _trial(path: Path, tests: list[Path], arguments: argparse.Namespace, until: float) -> str:
    kept = Kept(path, tests)
    trial: Trial

    def say(mutant, outcome, test, seconds):
        if not said:
            kept.begin(trial.mutants, fresh=arguments.fresh)
            said.append(True)
        kept.add(Found(mutant, outcome, test, round(seconds, 2)))

    said: list[bool] = []
    known = set() if arguments.fresh else {found.mutant.number for found in kept.found}
    trial = Trial(path, known=known, most=arguments.each or None, seed=arguments.seed, until=until, say=say)
    # pytest's own lines belong to the control, not to the report.
    log = BUILD / "pytest.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    trial.run(tests)
    return trial.error


def _is_done(kept: Kept, arguments: argparse.Namespace) -> bool:
    most = min(arguments.each or kept.total, kept.total)
    return bool(kept.total) and len(kept.found) >= most and not arguments.fresh


def _summary() -> dict[str, object]:
    """Of all modules, for their texts of today."""
    kept = [Kept(path, tests) for path, tests in targets()]
    found = sum(len(each.counted()) for each in kept)
    survived = sum(len(each.survivors()) for each in kept)
    return {
        "modules": sum(bool(each.found) for each in kept),
        "mutants.total": found,
        "mutants.killed_share": (found - survived) / found if found else 0.0,
        "survivors": [
            {"module": str(each.path)} | dataclasses.asdict(one.mutant) for each in kept for one in each.survivors()
        ],
    }


def main() -> int:
    arguments = _arguments()
    if arguments.docs:
        table.put([Kept(path, tests) for path, tests in targets()])
        return 0
    until = time.monotonic() + arguments.seconds if arguments.seconds else float("inf")
    print(f"seed {arguments.seed}, at most {arguments.each or 'all'} mutants of a module", flush=True)
    _load()
    asked = [(path, tests) for path, tests in targets() if arguments.k in str(path)]
    wrong = []
    for path, tests in asked:
        if _is_done(Kept(path, tests), arguments):
            continue
        if time.monotonic() > until:
            break
        error = _try(path, tests, arguments, until)
        kept = Kept(path, tests)
        state = error or f"{len(kept.found)} of {kept.total} mutants tried, {len(kept.survivors())} not noticed"
        print(f"{path!s:44} {state}", flush=True)
        wrong += [str(path)] * bool(error)
    _write_summary()
    return _judge([Kept(path, tests) for path, tests in asked], wrong, arguments.goal)


def _write_summary() -> None:
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text(json.dumps(_summary(), indent=1) + "\n", encoding="utf-8")


def _judge(asked: list[Kept], wrong: list[str], goal: float) -> int:
    """Exit status; says what was not noticed of what was asked for."""
    tried = sum(len(kept.counted()) for kept in asked)
    survivors = [(kept.path, found.mutant) for kept in asked for found in kept.survivors()]
    for path, mutant in survivors:
        place = f"{path}:{mutant.line}:{mutant.column}"
        print(f"not noticed: {place}: {mutant.right}: {mutant.wrong}: {' '.join(mutant.text.split())[:90]}")
    share = 100 * (tried - len(survivors)) / tried if tried else 0.0
    print(f"{tried} mutants, {share:.2f} % noticed; of all modules in {SUMMARY}")
    if wrong:
        print(f"error: no result for {', '.join(wrong)}", file=sys.stderr)
    if share < goal:
        print(f"error: {goal:g} % of the mutants must be noticed, not {share:.2f} %", file=sys.stderr)
    return bool(wrong) or share < goal


if __name__ == "__main__":
    sys.exit(main())
