"""Compares what the machine gave with what it must give, and counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from attack.oracle import Expected
from golden.layers.cascade_state import Selection
from hdl.spec.config import Config
from hdl.spec.payloads import job_output, job_probs, job_status
from sim.common.mismatch import compare
from sim.engine.stream_engine import RawRun
from sim.transport.collect import ResultError, collect, collect_selections
from sim.transport.words import Unpacker

__all__ = ["Findings", "judge"]


@dataclasses.dataclass(kw_only=True)
class Findings:
    """Counts of a batch."""

    commands: int = 0
    """jobs and layers"""
    rows: int = 0
    """rows of queries whose outputs, probabilities, flags and sums were compared"""
    values: int = 0
    """values compared; survivors and importance, too"""
    faults: int = 0
    """commands that had to be refused, and resets in the middle of a run"""
    mismatches: int = 0
    """values, codes, and results for nobody or missing"""
    hangs: int = 0
    cycles: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    """the first of them, a line each"""

    def add(self, other: Findings) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def note(self, problem: str, count: int = 1) -> None:
        self.mismatches += count
        self.problems = [*self.problems, problem][:5]


def judge(expected: Sequence[Expected], raw: RawRun, config: Config, *, layers: bool) -> Findings:
    """expected: by job id. layers: the run was one of layers, not of jobs."""
    found = Findings(commands=len(expected))
    codes = _codes(expected, raw, config, found)
    found.faults = sum(each.code != 0 for each in expected)
    if found.mismatches:
        return found
    failed = np.array(codes) != 0
    jobs = [job for each in expected for job in each.jobs]
    results = [result for each in expected for result in each.results]
    owners = [(number, job.head) for number, each in enumerate(expected) for job in each.jobs]
    out, prob = (
        # A layer may fail after jobs of its were done.
        words[~failed[Unpacker(layout, words)["job_id"]]] if layers and len(words) else words
        for layout, words in ((job_output(config), raw.out), (job_probs(config), raw.prob))
    )
    try:
        got = collect(jobs, owners, [0] * len(jobs), out, prob, config)
        report = compare(jobs, got, results)
        selections = _selections(expected, raw, config) if layers else []
    except (ResultError, ValueError, IndexError) as error:
        found.note(str(error))
        return found
    found.rows = sum(job.rows for job in jobs)
    found.values = report.compared
    if report.mismatches:
        found.note(str(report), report.mismatches)
    for each, selection in zip(expected if layers else (), selections, strict=True):
        _compare_selection(each, selection, found)
    return found


def _codes(expected: Sequence[Expected], raw: RawRun, config: Config, found: Findings) -> list[int]:
    """Codes in the order of the commands; each must be there once, and be the one that the documents promise."""
    items = Unpacker(job_status(config), raw.status)
    numbers, codes = items["job_id"].tolist(), items["code"].tolist()
    if sorted(numbers) != list(range(len(expected))):
        found.note(f"statuses came for {sorted(numbers)[:8]}…, expected one for each of {len(expected)} commands")
        return codes
    answers = dict(zip(numbers, codes, strict=True))
    for number, each in enumerate(expected):
        if answers[number] != each.code:
            found.note(f"command {number} was answered with code {answers[number]}, expected {each.code}")
    return [answers[number] for number in range(len(expected))]


def _selections(expected: Sequence[Expected], raw: RawRun, config: Config) -> list[Selection | None]:
    layers = [each.layer for each in expected]
    right = [number for number, layer in enumerate(layers) if layer is not None]
    place = {number: index for index, number in enumerate(right)}
    words = raw.survivor.copy()
    if len(words):
        # collect_selections numbers layers without gaps; the number of a layer is in the lowest bits of an item.
        numbers = (words[:, 0] & 0xFFFF).tolist()
        if set(numbers) - set(place):
            raise ResultError(f"survivors came of layer {min(set(numbers) - set(place))}, which was refused")
        words[:, 0] = words[:, 0] & 0xFFFF0000 | np.array([place[number] for number in numbers], dtype="<u4")
    found = collect_selections([layers[number] for number in right], [0] * len(right), words, config)  # type: ignore[misc]
    mine = dict(zip(right, found, strict=True))
    return [mine.get(number) for number in range(len(expected))]


def _compare_selection(each: Expected, got: Selection | None, found: Findings) -> None:
    want = each.selection
    if want is None or got is None:
        if want is not got:
            found.note(f"{each.layer.name if each.layer else 'a layer'} has a selection on one side only")
        return
    pairs = {
        name: (torch.as_tensor(getattr(got, name)), torch.as_tensor(getattr(want, name)))
        for name in ("ids", "importance", "keep", "head_ids", "head_importance", "head_keep")
    }
    for name, (mine, reference) in pairs.items():
        found.values += reference.numel()
        wrong = int((mine != reference).sum()) if mine.shape == reference.shape else reference.numel()
        if wrong:
            found.note(f"{name} of the selection of {each.layer.name if each.layer else '?'} differs", wrong)
