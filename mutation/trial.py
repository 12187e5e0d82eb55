"""One module of the hardware: its tests, with each of its mutants in turn.

Runs in a process of its own, for the module is loaded with all its mutants. The tests run once without any; after
that each mutant has a fork of the process, in which compiled blocks need no more than a reset.
"""

from __future__ import annotations

import functools
import gc
import importlib.abc
import importlib.machinery
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from mutation.mutants import Mutant, mutated
from mutation.record import KILLED, SURVIVED, TIMED_OUT
from mutation.switches import SWITCHES

__all__ = ["Trial"]

Say = Callable[[Mutant, str, str, float], None]
"""Takes (mutant, outcome, the test that noticed it, seconds of processor time)."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Loads one module with its mutants."""

    def __init__(self, path: Path):
        self.path, self.name = path, ".".join(path.with_suffix("").parts)
        tree, self.mutants = mutated(path)
        self.code = compile(tree, str(path), "exec")

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=str(self.path))

    def get_filename(self, fullname):
        return str(self.path)

    def get_data(self, path):
        return Path(path).read_bytes()

    def get_code(self, fullname):
        return self.code


class Trial:
    """A plugin of pytest in the place of its loop. After it ``error`` is empty, or says why there is no result."""

    def __init__(self, path: Path, *, known: set[int], most: int | None, seed: int, until: float, say: Say):
        self.finder = _Finder(path)
        assert self.finder.name not in sys.modules, f"{self.finder.name} is loaded without its mutants"
        sys.meta_path.insert(0, self.finder)
        self.known, self.most, self.seed, self.until, self.say = known, most, seed, until, say
        self.error, self.mutants = "no test was collected", 0

    def run(self, tests: Sequence[Path]) -> None:
        options = ["-q", "-p", "no:cacheprovider", "--hypothesis-profile", "mutation"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # the packages are loaded already
        _prepare()
        status = pytest.main([*options, *map(str, tests)], plugins=[self])
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not self.error:
            self.error = f"pytest ended with {status!r}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self.error = self._loop(list(session.items))
        return True

    def _loop(self, items: list[pytest.Item]) -> str:
        seconds = {}
        for item in items:
            begin = time.process_time()
            if not _passes(item):
                return f"{item.nodeid} fails without a mutant"
            seconds[item] = time.process_time() - begin
        if not SWITCHES:
            return ""
        gc.collect()
        gc.freeze()
        order = _Order(seconds)
        limit = 2 * sum(seconds.values()) + 5
        outcome, by, _ = _fork(None, order.items(), limit)
        if outcome != SURVIVED:
            return f"{by} fails the second time" if by else "tests take longer the second time"
        mutants = [mutant for mutant in self.finder.mutants if mutant.number in SWITCHES]
        self.mutants = len(mutants)
        random.Random(self.seed).shuffle(mutants)
        for mutant in mutants[: self.most]:
            if mutant.number in self.known:
                continue
            if time.monotonic() > self.until:
                break
            outcome, by, used = _fork(mutant.number, order.items(), limit)
            order.noticed(by)
            self.say(mutant, outcome, by, used)
        return ""


class _Order:
    """Tests, those first that notice most for their time."""

    def __init__(self, seconds: dict[pytest.Item, float]):
        self.seconds, self.kills = seconds, dict.fromkeys(seconds, 0)

    def items(self) -> list[pytest.Item]:
        return sorted(self.seconds, key=lambda item: (self.seconds[item] + 0.02) / (self.kills[item] + 1))

    def noticed(self, name: str) -> None:
        for item in self.kills:
            self.kills[item] += item.nodeid == name


def _passes(item: pytest.Item) -> bool:
    return all(report.passed or report.skipped for report in runtestprotocol(item, log=False, nextitem=None))


def _fork(number: int | None, items: list[pytest.Item], limit: float) -> tuple[str, str, float]:
    """(outcome, the test that failed, seconds) with this mutant, or with none."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _child(number, items, limit, write)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        said = pipe.read()
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if said.startswith("!"):
        return KILLED, said[1:], seconds
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and said == ".":
        return SURVIVED, "", seconds
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return TIMED_OUT, "", seconds
    raise RuntimeError(f"mutant {number}: the process ended with status {status}")


def _child(number: int | None, items: list[pytest.Item], limit: float, write: int) -> None:
    """Does not return."""
    status = 3
    try:
        if number is not None:
            SWITCHES[number]._init = 1
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 60))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        said = next((f"!{item.nodeid}" for item in items if not _passes(item)), ".")
        os.write(write, said.encode())
        status = 0
    finally:
        os._exit(status)


def _prepare() -> None:
    """Blocks stay compiled; Hypothesis neither shrinks nor remembers what fails."""
    from hypothesis import Phase, settings

    from tests.bench import simulation

    simulation.made = functools.lru_cache(maxsize=None)(simulation.made.__wrapped__)
    kept = [Phase.explicit, Phase.generate]
    settings.register_profile("mutation", derandomize=True, deadline=None, database=None, phases=kept)
