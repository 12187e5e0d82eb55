"""An engine in the place of the golden model: runs the layers of a session, and compares every value with golden."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from golden.layers.cascade_state import CascadeState, Selection, Survivors
from golden.layers.job import Job, JobOutputs, JobResult, run_jobs
from golden.layers.layer import Layer, Outcome
from golden.layers.layer_job import LayerJob, layer_jobs
from golden.layers.long_layer import chains, long_outcome
from golden.layers.reference import error_budget
from hdl.spec.config import Config
from sim.common.limits import chain_limits, limits
from sim.common.mismatch import Mismatch, Report, compare
from sim.common.stopwatch import Stopwatch
from sim.engine.engine import Engine, EngineError, LayerRun, RunResult
from sim.transport.memory import ImageError

__all__ = ["Accelerator", "Call", "SurvivorMismatch", "compare_selections"]


@dataclasses.dataclass(kw_only=True)
class Call:
    """What one call did on the engine, all sequences together."""

    name: str
    resumed: bool
    """went on with the survivors on chip"""
    cycles: int
    limit_cycles: float
    """cycles that no schedule can beat (:mod:`sim.common.limits`); a selection alone has none"""
    counters: dict[str, int]
    words_read: list[int]
    """memory words, by channel"""
    results: Report
    """outputs, Σ abs(out), flat flags and probabilities, compared with golden"""
    survivors: Report
    """ids, importance and fate of tokens and heads, compared with golden"""
    prob_error: float = 0.0
    """largest absolute error of a probability of the integer model against float64 with the same quantized operands"""
    out_error: float = 0.0
    """largest relative L2 error of an output row of the same"""

    @property
    def values_compared(self) -> int:
        return self.results.compared + self.survivors.compared

    @property
    def mismatches(self) -> int:
        return self.results.mismatches + self.survivors.mismatches

    @property
    def not_shown(self) -> set[str]:
        """What the engine does not show, so that it was not compared."""
        return self.results.hidden | self.survivors.hidden


class Accelerator:
    """Runs layers on an engine; :meth:`execute` is the ``execute`` of a :class:`golden.host.session.Session`.

    What it returns is what the hardware gave; of an engine that does not show flat rows, and the importance of what it
    prunes, these are the golden model's. compare: compare it with the golden model, which costs the golden model's
    time, too. progress: called now and then with (layer descriptors answered, cycles) of a call.
    """

    def __init__(
        self,
        engine: Engine,
        config: Config,
        *,
        compare: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ):
        self.engine, self.config, self.compare, self.progress = engine, config, compare, progress
        self.checking = Stopwatch()
        """the golden model beside the engine, and records of calls: what a host would not do"""
        self._calls: list[Call] = []
        self._survivors: tuple[Tensor, Tensor] | None = None
        """ids and importance that the last selection left on chip"""

    def take_calls(self) -> list[Call]:
        """Records of the calls since the last time."""
        calls, self._calls = self._calls, []
        return calls

    def execute(self, layer: Layer, config: Config) -> Outcome:
        """Results of a layer, or of a selection without queries; :class:`EngineError` if the engine fails."""
        if config != self.config:
            raise ValueError(f"config must be the engine's {self.config.name}, not {config.name}")
        if layer.in_chains(config):
            return self._execute_long(layer)
        if not layer.select:
            raise ValueError(f"{layer.name} must have a selection: importance comes with the survivors only")
        resume = self._on_chip(layer)
        # The first sequence may find its survivors on chip; each of the others brings its list.
        sequences = [layer_jobs(layer, index, config, resume=resume and index == 0) for index in range(len(layer.ids))]
        run = self._run([part for parts in sequences for part in parts], resume)
        with self.checking:
            golden = self._golden(layer, sequences) if self.compare or _hides(run) else None
            shown = _completed(run, golden) if _hides(run) else run
            call = self._call(layer, sequences, shown, resume)
            if self.compare and golden is not None:
                self._compare(call, sequences, run, golden)
        self._calls.append(call)
        return self._outcome(layer, sequences, shown)

    def _execute_long(self, layer: Layer) -> Outcome:
        """Results of a layer whose heads are chains of jobs; it selects nothing."""
        parts = chains(layer, self.config)
        jobs = [job for chain in parts for job in chain.jobs]
        out = torch.zeros_like(layer.query)
        if jobs:
            run = self._run_jobs(layer, jobs)
            results = iter(run.results)
            for chain in parts:
                last = [next(results) for _ in chain.jobs][-1]
                assert last is not None
                rows = slice(chain.chunk.start, chain.chunk.stop)
                out[chain.sequence, chain.kv_head, chain.places, rows] = last.out.unflatten(0, (len(chain.places), -1))
        return long_outcome(layer, out)

    def _run_jobs(self, layer: Layer, jobs: list[Job]) -> RunResult:
        """Runs the jobs of chains, and records the call."""
        self._survivors = None
        try:
            run = self.engine.run(jobs, progress=self.progress)
        except ImageError as error:
            raise EngineError(f"{layer.name}: {error}") from error
        with self.checking:
            call = Call(
                name=layer.name,
                resumed=False,
                cycles=run.cycles,
                limit_cycles=chain_limits(jobs, self.config).cycles,
                counters=run.counters,
                words_read=run.words_read,
                results=Report(),
                survivors=Report(),
            )
            if self.compare:
                call.results = compare(jobs, run.results, run_jobs(jobs, self.config))
        self._calls.append(call)
        return run

    def _on_chip(self, layer: Layer) -> bool:
        """Whether the first sequence's tokens and their importance are what the last selection left."""
        if self._survivors is None:
            return False
        ids, importance = self._survivors
        return torch.equal(ids, layer.ids[0]) and torch.equal(importance, layer.importance[0])

    def _run(self, parts: list[LayerJob], resume: bool) -> LayerRun:
        self._survivors = None
        try:
            run = self.engine.run_layers(parts, resume=resume, progress=self.progress)
        except ImageError as error:
            raise EngineError(f"{parts[-1].name}: {error}") from error
        last = run.selections[-1]
        assert last is not None
        survivors = last.survivors() if isinstance(last, Selection) else last
        self._survivors = survivors.ids, survivors.importance
        return run

    def _outcome(self, layer: Layer, sequences: list[list[LayerJob]], run: LayerRun) -> Outcome:
        """Results and survivors of all sequences in the tensors of the layer."""
        outcome = Outcome(
            out=torch.zeros_like(layer.query),
            flat=torch.zeros(layer.query.shape[:-1], dtype=torch.bool),
            importance=torch.zeros_like(layer.importance),
            keep=torch.zeros_like(layer.ids, dtype=torch.bool),
            head_importance=layer.head_importance.clone(),
            head_keep=layer.heads.clone(),
        )
        done = iter(zip(run.results, run.selections, strict=True))
        for index, parts in enumerate(sequences):
            answers = [next(done) for _ in parts]
            groups = layer.live_groups(index)
            # Parts without jobs bring a list, or are a selection only.
            results = [results for part, (results, _) in zip(parts, answers, strict=True) if part.jobs]
            for chunk, by_group in zip(layer.chunks(self.config), results, strict=True):
                rows = slice(chunk.start, chunk.stop)
                for (kv, places), result in zip(groups, by_group or [], strict=True):
                    assert isinstance(result, JobResult)
                    outcome.out[index, kv, places, rows] = result.out.unflatten(0, (len(places), -1))
                    outcome.flat[index, kv, places, rows] = result.flat.unflatten(0, (len(places), -1))
            _, selection = answers[-1]
            assert isinstance(selection, Selection)
            outcome.importance[index], outcome.keep[index] = selection.importance, selection.keep
            heads = parts[-1].head_ids
            outcome.head_importance[index, heads] = selection.head_importance
            outcome.head_keep[index, heads] = selection.head_keep
        return outcome

    # Records ---------------------------------------------------------------------------------------------------

    def _call(self, layer: Layer, sequences: list[list[LayerJob]], run: LayerRun, resume: bool) -> Call:
        """The record of a call, compared with nothing. run: with what golden had to add."""
        got = [result for results in run.results for result in results or [] if isinstance(result, JobResult)]
        return Call(
            name=layer.name,
            resumed=resume,
            cycles=run.cycles,
            limit_cycles=limits(_jobs(sequences), got, self.config).cycles,
            counters=run.counters,
            words_read=run.words_read,
            results=Report(),
            survivors=Report(),
        )

    def _compare(self, call: Call, sequences: list[list[LayerJob]], run: LayerRun, golden: _Golden) -> None:
        """What the engine gave, and nothing else, with golden."""
        jobs, want = _jobs(sequences), [result for results in golden.results for result in results]
        call.results = compare(jobs, [result for results in run.results for result in results or []], want)
        if "flat" in call.results.hidden:
            _compare_flat_rows(call, want)
        parts = [part for parts in sequences for part in parts]
        call.survivors = compare_selections(parts, run.selections, golden.selections)
        for job, result in zip(jobs, want, strict=True):
            budget = error_budget(job, self.config, result)
            call.prob_error = max(call.prob_error, budget.prob)
            call.out_error = max(call.out_error, budget.out)

    def _golden(self, layer: Layer, sequences: list[list[LayerJob]]) -> _Golden:
        """What the golden model makes of the same layer descriptors."""
        golden = _Golden([], [])
        for index, parts in enumerate(sequences):
            state = CascadeState()
            state.ids, state.importance = layer.ids[index].clone(), layer.importance[index].clone()
            for part in parts:
                done, selection = state.run(part, self.config)
                golden.results.append(done)
                golden.selections.append(selection)
        return golden


@dataclasses.dataclass(frozen=True)
class _Golden:
    """By layer descriptor."""

    results: list[list[JobResult]]
    selections: list[Selection | None]


def _jobs(sequences: list[list[LayerJob]]) -> list[Job]:
    return [job for parts in sequences for part in parts for job in part.jobs]


def _compare_flat_rows(call: Call, want: Sequence[JobResult]) -> None:
    """The count of flat rows, where their flags are not shown."""
    rows, report = sum(int(result.flat.sum()) for result in want), call.results
    _count(report, "flat", call.counters["flat_rows"], rows, f"{call.name} (rows of all heads)")


def _count(report: Report, stage: str, got: int, expected: int, owner: str) -> None:
    report.compared += 1
    if got != expected:
        report.mismatches += 1
        report.by_stage[stage] = report.by_stage.get(stage, 0) + 1
        found = SurvivorMismatch(job=0, head=owner, stage=stage, query=0, index=None, got=got, expected=expected)
        report.first = report.first or found


# Engines that do not show all ----------------------------------------------------------------------------------


def _hides(run: LayerRun) -> bool:
    results = [result for results in run.results for result in results or []]
    return not all(isinstance(result, JobResult) for result in results) or any(
        isinstance(selection, Survivors) for selection in run.selections
    )


def _completed(run: LayerRun, golden: _Golden | None) -> LayerRun:
    """The run with what the engine does not show as golden has it."""
    assert golden is not None
    results = [
        None if mine is None else [_whole_result(*pair) for pair in zip(mine, want, strict=True)]
        for mine, want in zip(run.results, golden.results, strict=True)
    ]
    selections = [
        _whole_selection(mine, want) if isinstance(mine, Survivors) and want is not None else mine
        for mine, want in zip(run.selections, golden.selections, strict=True)
    ]
    return dataclasses.replace(run, results=results, selections=selections)


def _whole_result(mine: JobOutputs, want: JobResult) -> JobResult:
    return mine if isinstance(mine, JobResult) else dataclasses.replace(want, out=mine.out)


def _whole_selection(mine: Survivors, want: Selection) -> Selection:
    """What survives as the engine tells it; the importance of the rest is golden's."""
    heads = torch.tensor(want.head_ids, dtype=torch.int64)
    keep, importance = _marked(want.ids, want.importance, mine.ids, mine.importance)
    survivors = torch.tensor(mine.head_ids, dtype=torch.int64)
    head_keep, head_importance = _marked(heads, want.head_importance, survivors, mine.head_importance)
    return dataclasses.replace(
        want, keep=keep, importance=importance, head_keep=head_keep, head_importance=head_importance
    )


def _marked(ids: Tensor, importance: Tensor, kept: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
    """(keep, importance) of ``ids``, ascending, of which ``kept`` survive with the importance ``told``."""
    keep, importance = torch.isin(ids, kept), importance.clone()
    importance[keep] = told[torch.isin(kept, ids)]
    return keep, importance


# Survivors -----------------------------------------------------------------------------------------------------


PRUNED = "importance of the pruned"
"""Name in :attr:`sim.common.mismatch.Report.hidden` of what an engine does not show that tells survivors only."""


class SurvivorMismatch(Mismatch):
    """A survivor item that differs; ``query`` is its position, ``head`` the selection."""

    def __str__(self) -> str:
        return f"{self.stage} of {self.head}, position {self.query}: got {self.got}, expected {self.expected}"


def compare_selections(
    layers: Sequence[LayerJob], got: Sequence[Selection | Survivors | None], expected: Sequence[Selection | None]
) -> Report:
    """Compare every item of selections with the golden model's; a layer that is None on both sides selects nothing.

    Of an engine that tells survivors only, these are compared, and ``hidden`` names the importance of the others.
    """
    report = Report()
    for index, (layer, mine, reference) in enumerate(zip(layers, got, expected, strict=True)):
        if mine is None and reference is None:
            continue
        if mine is None or reference is None:
            raise ValueError(f"{layer.name or f'layer {index}'} has a selection on one side only")
        if isinstance(mine, Survivors):
            reference = reference.survivors()
            report.hidden.add(PRUNED)
        for what in ("head", "token"):
            fields = zip(_fields(mine, what), _fields(reference, what), strict=True)
            for stage, (values, wanted) in zip(("id", "importance", "keep"), fields, strict=False):
                _compare_field(report, index, f"{layer.name} {what}s", stage, values, wanted)
    return report


def _fields(selection: Selection | Survivors, what: str) -> tuple[Tensor, ...]:
    """(ids, importance) of the heads or tokens of a selection; keep as well if those that go are among them."""
    keep = (selection.head_keep, selection.keep) if isinstance(selection, Selection) else ()
    if what == "head":
        ids = torch.tensor(selection.head_ids, dtype=torch.int64)
        return ids, selection.head_importance, *keep[:1]
    return selection.ids, selection.importance, *keep[1:]


def _compare_field(report: Report, index: int, owner: str, stage: str, values: Tensor, wanted: Tensor) -> None:
    report.compared += wanted.numel()
    if len(values) != len(wanted):
        count = max(len(values), len(wanted))
        values, wanted = (torch.nn.functional.pad(each, (0, count - len(each)), value=-1) for each in (values, wanted))
    where = (values != wanted).nonzero().flatten().tolist()
    if not where:
        return
    report.mismatches += len(where)
    report.by_stage[stage] = report.by_stage.get(stage, 0) + len(where)
    if report.first is None:
        place = where[0]
        report.first = SurvivorMismatch(
            job=index,
            head=owner,
            stage=stage,
            query=place,
            index=None,
            got=int(values[place]),
            expected=int(wanted[place]),
        )
