"""What is known of the mutants of a module, in ``build/mutation``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from mutation.equivalent import is_equivalent
from mutation.mutants import Mutant

__all__ = ["BUILD", "KILLED", "SURVIVED", "TIMED_OUT", "Found", "Kept"]

BUILD = Path("build/mutation")
KILLED, TIMED_OUT, SURVIVED = "killed", "timed out", "survived"
TOOL = ("mutants.py", "switches.py")


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of a mutant. test: the one that noticed it; seconds: of processor time."""

    mutant: Mutant
    outcome: str
    test: str
    seconds: float


class Kept:
    """Lines of JSON, one for each mutant, valid for one text of the module, of its tests with what they import of
    ``tests``, and of the kinds of mutants."""

    def __init__(self, path: Path, tests: Sequence[Path], build: Path = BUILD):
        self.path = path
        here = Path(__file__).parent
        texts = [file.read_bytes() for file in (path, *_with_imports(tests), *(here / name for name in TOOL))]
        self.key = hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]
        self.file = build / (".".join(path.with_suffix("").parts) + ".jsonl")
        self.total = 0
        """Mutants of the module."""
        self.found: list[Found] = []
        self._read()

    def _read(self) -> None:
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        records = [json.loads(line) for line in lines]
        if records and records[0].get("key") == self.key:
            self.total = records[0]["total"]
            self.found = [Found(Mutant(**record.pop("mutant")), **record) for record in records[1:]]

    def begin(self, total: int, *, fresh: bool = False) -> None:
        """Before the first mutant that is added."""
        if self.found and not fresh:
            return
        self.total, self.found = total, []
        self.file.parent.mkdir(parents=True, exist_ok=True)
        head = {"module": str(self.path), "key": self.key, "total": total}
        self.file.write_text(json.dumps(head) + "\n", encoding="utf-8")

    def add(self, found: Found) -> None:
        self.found.append(found)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(found)) + "\n")

    def counted(self) -> list[Found]:
        """Without those that no test can notice."""
        return [found for found in self.found if not is_equivalent(str(self.path), found.mutant)]

    def survivors(self) -> list[Found]:
        return [found for found in self.counted() if found.outcome == SURVIVED]


def _with_imports(tests: Sequence[Path]) -> list[Path]:
    """The tests, and the modules of ``tests`` that they import, directly or not."""
    found, waiting = set(), list(tests)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in re.findall(r"^from (tests[\w.]*) import", path.read_text(encoding="utf-8"), re.MULTILINE):
            module = Path(*name.split("."))
            waiting += [file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file()]
    return sorted(found)
