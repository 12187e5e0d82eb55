"""Analytic model of the accelerator's cycles: jobs, loads and rows instead of registers (docs/model.md).

It follows each job through the resources that can hold it back: memory channels, pages of the buffers, Q×K, softmax,
top-k engines, prob×V. A stage is described by when it can begin, how long it is busy and how far it runs behind the
stage before it; latencies are those of the RTL classes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections import deque
from collections.abc import Sequence

import numpy as np

from golden.datapath.topk import quick_select_cycles
from golden.layers.job import Job, JobResult
from hdl.fetch.bitwidth_converter import BitwidthConverter
from hdl.fetch.crossbar import SliceCrossbar
from hdl.fetch.gather import Gather
from hdl.fetch.row_issuer import RowIssuer
from hdl.fetch.slice_assembler import SliceAssembler
from hdl.pruning.value_pruner import ValuePruner
from hdl.qk.adder_tree import adder_tree_latency
from hdl.softmax.exponential import Exponent, Exponential
from hdl.softmax.reciprocal import Reciprocal
from hdl.spec.config import Config
from sim.engine.timing import MemoryTiming

__all__ = ["Latencies", "Prediction", "Shape", "latencies", "predict", "shapes_of", "topk_cycles"]


# What goes in --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What the cycles of a job depend on: sizes of :class:`golden.layers.job.Job`, and how many rows turn out flat."""

    dim: int
    keys: int
    rows: int = 1
    """of all query heads"""
    group: int = 1
    causal: bool = False
    generation: bool = False
    query_bits: int = 12
    key_bits: int = 12
    key_lsb_bits: int = 0
    value_bits: int = 12
    value_keep: int
    flat_rows: int = 0
    ids: np.ndarray | None = None
    """rows of K and V, ascending; None: the first ``keys``. Jobs of a list share the array"""
    kept: np.ndarray | None = None
    """generation: positions whose V rows are fetched; None: random ones"""
    skew: int = 0
    pair: int = 0

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Keys that each row attends."""
        if not self.causal:
            return np.full(self.rows, self.keys)
        queries = self.rows // self.group
        return np.tile(np.arange(self.keys - queries + 1, self.keys + 1), self.group)

    @property
    def scores(self) -> int:
        """Of the first passes."""
        return int(self.lengths.sum())


def shapes_of(jobs: Sequence[Job], results: Sequence[JobResult]) -> list[Shape]:
    """Shapes of jobs whose flat rows and kept V rows are those of ``results`` (of golden: with their trace)."""
    lists: dict[int, np.ndarray] = {}
    shapes = []
    for job, result in zip(jobs, results, strict=True):
        if job.ids is not None and id(job.ids) not in lists:
            lists[id(job.ids)] = job.ids.numpy()
        kept = None
        if job.generation and result.keep is not None:
            kept = result.keep[0].nonzero().flatten().numpy()
        shapes.append(
            Shape(
                dim=job.dim,
                keys=job.num_keys,
                rows=job.rows,
                group=job.group,
                causal=job.causal,
                generation=job.generation,
                query_bits=job.query_bits,
                key_bits=job.key_bits,
                key_lsb_bits=job.key_lsb_bits,
                value_bits=job.value_bits,
                value_keep=job.value_keep,
                flat_rows=int(result.flat.sum()),
                ids=None if job.ids is None else lists[id(job.ids)],
                kept=kept,
                skew=job.skew,
                pair=job.pair,
            )
        )
    return shapes


# Latencies -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latencies:
    """Cycles between stages; a test holds them equal to the components' own."""

    score: int
    """a line's last beat to its scores"""
    exponential: int
    """a row's last scores to its first line of exponentials"""
    row_sum: int
    """a row's last exponentials to its sum (and flatness)"""
    prune: int
    """line of exponentials to its value line or keep mask"""
    gather: int
    """keep mask to the requests of its rows"""
    compact: int
    """value line of a gathered row, beyond ``prune``"""
    output: int
    """a row's last beat of prob×V to its first outputs"""
    fetch: int
    """a word's response to its slice in the buffer, which can be read"""


def latencies(config: Config) -> Latencies:
    levels = config.lanes.bit_length() - 1
    width = min(config.lane_width, config.norm_lanes)
    reducer = max(int(config.lanes > 1 or config.norm_lanes > min(width, 16)), -(-levels // 2))
    write = SliceAssembler.LATENCY + BitwidthConverter.LATENCY + SliceCrossbar.latency(config)
    return Latencies(
        score=8 + adder_tree_latency(config) + (config.max_beats > 1),
        exponential=5 + levels + Exponent.LATENCY + Exponential.LATENCY,
        row_sum=4 + -(-levels // 2) + Reciprocal.LATENCY,
        prune=ValuePruner.LATENCY,
        gather=Gather.LATENCY + RowIssuer.LATENCY,
        compact=5 + 2 * -(-levels // 2),
        output=5 + 9 + reducer + -(-(config.norm_lanes.bit_length() - 1) // 2),
        fetch=write + 1 + (config.num_channels > 4),
    )


_CHECK = 10
"""JobChecker: cycles a job (docs/controller.md)."""
_LOADER = 7
"""KeyLoader and ValueLoader: cycles from a job to its command."""
_COMMAND = 10
"""A load's command to its first word request (docs/fetcher.md)."""
_FLIGHT = 4
"""Cycles beyond the memory's latency from a word's request until another one may take its place in flight."""
_REQUEST = 6
"""A Q row's issue to its first word request."""
_ROWS_BEFORE = 2
"""Rows of loads that a channel has begun with when a Q row comes; read off runs of preset ``tiny``."""
_LSB_LOADS = 2
"""LSB loads in flight."""
_OFFER = 5
"""An LSB load's end to the second pass's query at Q×K."""
_TAP = 4
"""A score line to the top-k engine's input."""
_ENGINE_AHEAD = 1
"""Cycles of a row in a top-k engine in which it can take the next row."""
_ENGINE_SORT = 5
"""Cycles from a row's first line at a top-k engine to the pivots."""
_ENGINE_LINES = 9
"""Lines that wait in front of a top-k engine."""
_WAITING_LINES = 16
"""Lines of scores that wait at the output of Q×K."""
_RELEASE = 3
"""A region's last reading to its pages being free."""


def topk_cycles(keys: int, keep: int, parallelism: int) -> float:
    """Cycles of a quick-select engine from a row's first line to its threshold, for normal scores: a mean."""
    step = 1 << max(0, keys.bit_length() - 6)  # neighbouring lengths share a mean
    rounded = max(1, round(keys / step)) * step
    return _topk_mean(rounded, max(1, round(keep * rounded / keys)), parallelism)


@functools.lru_cache(maxsize=4096)
def _topk_mean(keys: int, keep: int, parallelism: int) -> float:
    rng = random.Random(keys * 4099 + keep)
    rows = [[round(rng.gauss(0, 1 << 20)) for _ in range(keys)] for _ in range(max(8, 4096 // keys))]
    return sum(quick_select_cycles(row, keep, parallelism) for row in rows) / len(rows)


# What comes out ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """Cycles of a run, and the work of each resource by the names of the counters (hdl/control/counters.py)."""

    cycles: float
    finished: list[float]
    """by job: its status"""
    work: dict[str, float]
    """qk_beats, pv_beats, topk_busy (all engines), query_words, key_words, key_lsb_words, value_words"""
    config: Config

    @property
    def utilization(self) -> dict[str, float]:
        """Share of the cycles that each resource works; the channels together."""
        words = sum(value for name, value in self.work.items() if name.endswith("_words"))
        return {
            "qk": self.work["qk_beats"] / self.cycles,
            "pv": self.work["pv_beats"] / self.cycles,
            "topk": self.work["topk_busy"] / (self.cycles * self.config.num_topk_engines),
            "channels": words / (self.cycles * self.config.num_channels),
        }

    @property
    def bound(self) -> str:
        """The busiest resource."""
        return max(self.utilization, key=lambda name: self.utilization[name])


def predict(
    shapes: Sequence[Shape],
    config: Config,
    timing: MemoryTiming | None = None,
    *,
    topk_parallelism: int | None = None,
    seed: int = 0,
) -> Prediction:
    """Cycles of jobs, given in this order as fast as they are taken, with an ideal memory.

    topk_parallelism: another one than ``config``'s, also one below ``lanes``, of which there is no RTL.
    seed: of the V rows that generation keeps, where a shape does not say them.
    """
    timing = timing or MemoryTiming()
    if timing.mode != "ideal" or timing.stall or timing.host_stall or timing.skew:
        raise ValueError("timing must be ideal, without stalls and skew: the model knows no other memory")
    if not shapes:
        raise ValueError("shapes must not be empty")
    return _Machine(config, timing, topk_parallelism or config.topk_parallelism, seed).run(shapes)


# Memory --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Demand:
    """What rows of a plane ask of the memory."""

    words: float
    """that any row touches; rows that are neighbours in a channel share one"""
    cycles: np.ndarray
    """of each channel: a slice a cycle, and ``period`` cycles a word"""


class _Planes:
    """Rows of packed planes in the channels."""

    def __init__(self, config: Config, period: float = 1.0):
        self.config, self.period = config, period
        channels = np.arange(config.num_channels)
        self._turns = (channels - channels[:, None]) % config.num_channels
        self._cache: dict[tuple, tuple[_Demand, object]] = {}

    def of_keys(self, shape: Shape, bits: int, slices: int) -> _Demand:
        """All rows that the job attends."""
        key = (id(shape.ids), shape.keys, shape.skew, bits, slices)
        if key not in self._cache:  # with the array, so that its identity is not given to another one
            ids = np.arange(shape.keys) if shape.ids is None else shape.ids
            self._cache[key] = self.of_rows(ids, shape.skew, bits, slices), shape.ids
        return self._cache[key][0]

    def of_rows(self, rows: np.ndarray, skew: int, bits: int, slices: int) -> _Demand:
        """Rows of so many bits and slices."""
        config = self.config
        place, channel = np.divmod(rows, config.num_channels)
        first, last = place * bits // config.channel_width, ((place + 1) * bits - 1) // config.channel_width
        touched = np.zeros((config.num_channels, int(last.max()) + 1), dtype=bool)
        for further in range(-(-bits // config.channel_width) + 1):
            touched[channel, np.minimum(first + further, last)] = True
        words = touched.sum(axis=1)
        cycles = np.maximum(words * self.period, np.bincount(channel, minlength=config.num_channels) * slices)
        return _Demand(float(words.sum()), cycles[self._turns[skew]].astype(float))

    def of_queries(self, shape: Shape) -> _Demand:
        """All Q rows of a job, which never share a word."""
        config, bits = self.config, shape.dim * shape.query_bits
        place, channel = np.divmod(np.arange(shape.rows), config.num_channels)
        words = ((place + 1) * bits - 1) // config.channel_width - place * bits // config.channel_width + 1
        cycles = np.bincount(channel, weights=words, minlength=config.num_channels) * self.period
        return _Demand(float(words.sum()), cycles[self._turns[shape.skew]])


@dataclasses.dataclass
class _Urgent:
    """Cycles of words that go before bulk loads from ``time`` on, as far as no bulk load was delayed by them yet."""

    time: float
    cycles: np.ndarray


class _Channels:
    """Channels, in which gathered V, LSBs and Q go before loads of K and V."""

    def __init__(self, config: Config):
        self.free = np.zeros(config.num_channels)
        """end of the last bulk load"""
        self.urgent_free = np.zeros(config.num_channels)
        self.urgent: deque[_Urgent] = deque()

    def load(self, start: float, cycles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last request of a bulk load in each channel."""
        begin = np.maximum(self.free, start)
        end = begin + cycles
        rest = deque()
        for item in self.urgent:
            if item.time >= end.max():
                rest.append(item)
                continue
            touched = (item.time < end) & (item.cycles > 0)
            late = np.where(item.time < begin, np.maximum(0, item.time + item.cycles - begin), item.cycles)
            end = end + np.where(touched, late, 0)
            item.cycles = np.where(touched, 0, item.cycles)
            if item.cycles.any():
                rest.append(item)
        self.urgent = rest
        self.free = np.where(cycles > 0, end, self.free)
        return begin, end

    def fetch(self, start: float, cycles: np.ndarray) -> float:
        """Last request of rows that go first."""
        end = np.maximum(self.urgent_free, start) + cycles
        self.urgent_free = np.where(cycles > 0, end, self.urgent_free)
        self.urgent.append(_Urgent(start, cycles))
        return float(np.max(np.where(cycles > 0, end, start)))


class _Pages:
    """Runs of pages, next fit, each page free from some time on."""

    def __init__(self, pages: int, page_slots: int):
        self.free = np.zeros(pages)
        self.page_slots = page_slots
        self._next = 0

    def take(self, slots: int, now: float) -> tuple[float, slice] | None:
        """When the region is there, and its pages, which are taken for an unknown time; None: never so far."""
        count = max(1, -(-slots // self.page_slots))
        if count > len(self.free):
            raise ValueError(f"a region of {slots} slices does not fit {len(self.free)} pages of {self.page_slots}")
        runs, covered = self.free, 1
        while covered < count:
            step = min(covered, count - covered)
            runs, covered = np.maximum(runs[:-step], runs[step:]), covered + step
        turn = min(self._next, len(runs) - 1)
        times = np.maximum(np.concatenate([runs[turn:], runs[:turn]]), now)
        best = int(times.argmin())
        time = float(times[best])
        if math.isinf(time):
            return None
        first = (best + turn) % len(runs)
        region = slice(first, first + count)
        self.free[region] = math.inf
        self._next = (first + count) % len(self.free)
        return time, region

    def give(self, region: slice, time: float) -> None:
        self.free[region] = time


# The machine ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class _InFlight:
    """A job between its context and its status; infinite: not known yet."""

    shape: Shape
    lines: float = 0.0
    """of all first passes"""
    command: float = 0.0
    """of the K load"""
    key_first: float = 0.0
    """when the first key and the last one can be read"""
    key_last: float = 0.0
    query: float = 0.0
    """when the first Q row is there"""
    region: slice | None = None
    partner: _InFlight | None = None
    """the other job of a pair; the first has the region of both"""
    value_last: float = 0.0
    value_region: slice | None = None
    begun: float = 0.0
    """Q×K takes its first row"""
    keys_final: float = math.inf
    lsb_last: float = 0.0
    """when the LSBs can be read; 0: they are not loaded"""
    done: float = math.inf
    """all results have left"""
    status: float = math.inf


@dataclasses.dataclass(eq=False)
class _Pass:
    """Rows of a job that go through Q×K, and through all behind it, one after the other."""

    job: _InFlight
    rows: int
    lines: float
    ready: float
    """when Q×K can begin"""
    last: float
    """when it has all that it needs to end"""
    second: bool


class _Machine:
    """All resources, each with the time from which it is free; passes are computed in the order of Q×K."""

    def __init__(self, config: Config, timing: MemoryTiming, parallelism: int, seed: int):
        self.config, self.latency, self.parallelism = config, timing.latency, parallelism
        self.delays = latencies(config)
        flight = timing.latency + _FLIGHT
        self.period = max(1.0, flight / config.outstanding, flight / timing.depth)
        """cycles of a channel for a word"""
        self.planes, self.channels = _Planes(config, self.period), _Channels(config)
        self.random = np.random.default_rng(seed)
        self.key_pages = _Pages(config.key_pages, config.key_page_slots)
        self.value_pages = _Pages(config.value_pages, config.value_page_slots)
        self.loads = {kind: deque([0.0] * config.loads) for kind in ("query", "key", "value")}
        self.loads["key_lsb"] = deque([0.0] * _LSB_LOADS)
        """end of the last loads of a kind, of which so many can be in flight"""
        self.decisions: deque[tuple[float, bool]] = deque()
        """when first passes of generation rows were decided, and whether they were flat"""
        self.banks = {"key": 0.0, "value": 0.0}
        self.engines = [0.0] * config.num_topk_engines
        self.loaded = [0.0] * config.num_topk_engines
        """when each engine has the last line of its row"""
        self.engine = 0
        self.checker = self.key_loader = self.value_loader = self.value_loaded = self.gathered = 0.0
        self.qk = self.softmax = self.pruner = self.pv = 0.0
        self.settled = 0.0
        """all rows of the summarization jobs so far are final"""
        self.shapes: Sequence[Shape] = []
        self.expected, self.loading = 0, 0.0
        """jobs whose loads Q rows have met, and the end of these loads"""
        self.jobs: list[_InFlight] = []
        self.answered = 0
        self.lists: list[tuple[np.ndarray | None, int]] = [(None, -1), (None, -1)]
        """contents and last user of both id lists, the current one behind"""
        self.pending: list[_Pass] = []
        """second passes, by the time at which they can begin"""
        self.work: dict[str, float] = dict.fromkeys(
            ("qk_beats", "pv_beats", "topk_busy", "query_words", "key_words", "key_lsb_words", "value_words"), 0.0
        )

    def run(self, shapes: Sequence[Shape]) -> Prediction:
        self.shapes = shapes
        for shape in shapes:
            job = _InFlight(shape)
            self._check(job)
            self._load_keys(job)
            if not shape.generation:
                self._load_values(job)
            self._load_queries(job)
            self.jobs.append(job)
            first = self._first_pass(job)
            while self.pending and self.pending[0].ready <= max(self.qk, first.ready):
                self._compute(self.pending.pop(0))
            self._compute(first)
        last = self._status(len(self.jobs) - 1)
        return Prediction(cycles=last, finished=[job.status for job in self.jobs], work=self.work, config=self.config)

    def _status(self, index: int) -> float:
        """Jobs are answered in order; the second passes that an answer waits for are computed now."""
        while self.answered <= index:
            job = self.jobs[self.answered]
            while math.isinf(job.done):
                self._compute(self.pending.pop(0))
            before = self.jobs[self.answered - 1].status if self.answered else 0.0
            job.status = max(job.done, before + 1)
            self.answered += 1
        return self.jobs[index].status

    # Intake ----------------------------------------------------------------------------------------------------

    def _check(self, job: _InFlight) -> None:
        """The checker reads the job and a new list, and waits for a context."""
        index, ids = len(self.jobs), job.shape.ids
        if ids is not None:
            if ids is not self.lists[1][0]:
                _, user = self.lists.pop(0)
                if user >= 0:
                    self.checker = max(self.checker, self._status(user))
                self.checker += self._list_cycles(ids)
                self.lists.append((ids, index))
            self.lists[1] = (ids, index)
        self.checker += _CHECK
        if index >= self.config.contexts:
            self.checker = max(self.checker, self._status(index - self.config.contexts) + 1)

    def _list_cycles(self, ids: np.ndarray) -> int:
        """Ids come ``lanes`` a beat; of a beat one a cycle goes to each channel's list."""
        channels = self.config.num_channels
        beats = [ids[first : first + self.config.lanes] for first in range(0, len(ids), self.config.lanes)]
        return sum(int(np.bincount(beat % channels).max()) for beat in beats)

    def _slots(self, shape: Shape, rows: int) -> int:
        repeat = self._packs(shape) * (self.config.scores_per_line(shape.dim) - 1)
        return (rows + repeat) * self.config.slices(shape.dim)

    def _packs(self, shape: Shape) -> bool:
        return not shape.causal and not shape.generation and self.config.packs(shape.dim, shape.keys)

    def _region(self, pages: _Pages, slots: int, now: float) -> tuple[float, slice]:
        while (found := pages.take(slots, now)) is None:
            self._compute(self.pending.pop(0))
        return found

    def _load_keys(self, job: _InFlight) -> None:
        shape, config = job.shape, self.config
        if shape.pair == 2:
            job.partner = first = self.jobs[-1]
            first.partner = job
            job.command = self.key_loader = max(self.key_loader + 3, self.checker)
            job.key_first, job.key_last = first.key_first, first.key_last
            return
        heads = 2 if shape.pair == 1 else 1
        slots = -(-self._slots(shape, shape.keys) // config.key_banks) * config.key_banks * heads
        begin = max(self.key_loader + _LOADER, self.checker + _LOADER)
        begin, job.region = self._region(self.key_pages, slots, begin)
        job.command = self.key_loader = max(begin, self.loads["key"].popleft())
        slices = config.slices(shape.dim) * heads
        demand = self.planes.of_keys(shape, shape.dim * heads * shape.key_bits, slices)
        job.key_first, job.key_last = self._bulk("key", job.command, demand, shape.keys * slices, config.key_banks)

    def _load_values(self, job: _InFlight) -> None:
        """Summarization: all V rows that the queries attend."""
        shape, config = job.shape, self.config
        # Older generation jobs have their regions first; gathers and loads do not mix.
        while any(again.job.shape.generation for again in self.pending):
            self._compute(self.pending.pop(0))
        begin = max(self.value_loader, job.command) + _LOADER
        begin, job.value_region = self._region(self.value_pages, self._slots(shape, shape.keys), begin)
        self.value_loader = max(begin, self.gathered, self.loads["value"].popleft())
        slices = config.slices(shape.dim)
        demand = self.planes.of_keys(shape, shape.dim * shape.value_bits, slices)
        _, job.value_last = self._bulk("value", self.value_loader, demand, shape.keys * slices, config.lanes)
        self.value_loaded = job.value_last

    def _bulk(self, kind: str, command: float, demand: _Demand, slices: int, banks: int) -> tuple[float, float]:
        """When the first and the last row of a load can be read: limited by the channels, and by the buffer's banks."""
        begin, end = self.channels.load(command + _COMMAND, demand.cycles)
        self.work[f"{kind}_words"] += demand.words
        delay, used = self.latency + self.delays.fetch, demand.cycles > 0
        first = float(begin[used].max()) + 1
        self.banks[kind] = max(self.banks[kind], first) + slices / banks
        last = max(float(end[used].max()), self.banks[kind])
        self.loads[kind].append(last + delay)
        return first + delay, last + delay

    def _urgent(self, kind: str, start: float, demand: _Demand) -> float:
        """Last request of rows that go before loads."""
        self.work[f"{kind}_words"] += demand.words
        return self.channels.fetch(start, demand.cycles)

    def _load_queries(self, job: _InFlight) -> None:
        """Q rows; all but the first are assumed to be there when Q×K wants them, but for the queue's round trip."""
        shape, config, index = job.shape, self.config, len(self.jobs)
        ask = max(job.command + 1, self.loads["query"].popleft())
        if shape.generation:
            while any(not again.job.shape.generation for again in self.pending):
                self._compute(self.pending.pop(0))
            ask = max(ask, self.settled)
            if index >= config.query_queue:
                ask = max(ask, self.jobs[index - config.query_queue].begun)
        else:
            ask = max(ask, self.value_loader + 1)
        self._urgent("query", ask + _REQUEST, self.planes.of_queries(shape))
        job.query = ask + self._query_trip(shape)
        self.loads["query"].append(job.query)

    def _query_trip(self, shape: Shape) -> float:
        words = -(-shape.dim * shape.query_bits // self.config.channel_width)
        return _REQUEST + words * self.period + self.latency + self.delays.fetch + 2

    def _expect_loads(self, job: _InFlight, begin: float) -> None:
        """Loads that come while Q×K is at work on a job: of as many jobs as have room beside it."""
        config, index = self.config, self.jobs.index(job)
        slots = max(1, self._slots(job.shape, job.shape.keys))
        room = min(config.contexts, config.key_slots // slots, config.value_slots // slots)
        for shape in self.shapes[self.expected : index + max(1, room)]:
            bits = shape.keys * shape.dim * (shape.key_bits + shape.value_bits * (not shape.generation))
            words = bits / (config.channel_width * config.num_channels)
            self.loading = max(self.loading, begin) + words * self.period
            self.expected += 1

    def _reading(self, rows: _Pass, begin: float, beats: float) -> float:
        """Cycles of Q×K for a pass: its beats, or Q rows if they come slower, above all behind rows of loads."""
        job, shape, config = rows.job, rows.job.shape, self.config
        if shape.generation:
            return beats
        if not rows.second:
            self._expect_loads(job, begin if self.expected else job.command)
        trip, per_row = self._query_trip(shape), beats / rows.rows
        bulk = -(-shape.dim * max(shape.key_bits, shape.value_bits) // config.channel_width) * self.period
        slow = max(per_row, (trip + _ROWS_BEFORE * bulk) / config.query_queue)
        count = min(rows.rows, max(0.0, self.loading - begin) / slow)
        return count * slow + (rows.rows - count) * max(per_row, trip / config.query_queue)

    # Passes ----------------------------------------------------------------------------------------------------

    def _lines(self, shape: Shape, rows: int) -> float:
        """Lines of so many of the job's rows."""
        per_line, lengths = self.config.scores_per_line(shape.dim), shape.lengths
        if self._packs(shape):
            return math.ceil(rows * shape.keys / per_line)
        return float(np.ceil(lengths / per_line).mean()) * rows

    def _first_pass(self, job: _InFlight) -> _Pass:
        job.lines = self._lines(job.shape, job.shape.rows)
        ready = max(job.query, job.key_first) + 2
        return _Pass(job, job.shape.rows, job.lines, ready, job.key_last + 2, second=False)

    def _compute(self, rows: _Pass) -> None:
        """Takes a pass through all stages."""
        job, shape, delays = rows.job, rows.job.shape, self.delays
        beats = rows.lines * self.config.beats(shape.dim)
        begin = max(self.qk, rows.ready)
        job.begun = begin if not rows.second else job.begun
        end = max(begin + self._reading(rows, begin, beats), rows.last)
        found_first, found_last, end = self._select(rows, begin, end)
        self.qk = end
        self.work["qk_beats"] += beats
        per_row = rows.lines / rows.rows
        first_row = end if rows.rows == 1 else max(begin + beats / rows.rows, min(rows.last, end))
        exp_begin = max(self.softmax, first_row + delays.score + delays.exponential)
        exp_end = max(exp_begin + rows.lines, end + delays.score + delays.exponential + per_row)
        self.softmax = exp_end
        sum_first, sum_last = exp_begin + per_row + delays.row_sum, exp_end + delays.row_sum
        flat = 0 if rows.second else shape.flat_rows
        drop_begin = max(self.pruner, sum_first + 2, found_first + 4)
        prune_end = max(drop_begin + rows.lines, sum_last + 2 + per_row, found_last + 4 + per_row)
        if not shape.generation:
            out = self._multiply(rows, drop_begin, prune_end)
        elif flat:
            self.pruner, out = prune_end, prune_end
        else:
            out = self._gather(job, drop_begin, prune_end)
        if shape.generation and shape.key_lsb_bits and not rows.second:
            self._load_lsbs_ahead(job, end, sum_last)
        if flat:
            self._again(job, flat, sum_first, sum_last, exp_end - exp_begin)
            return
        read_all = shape.generation and (rows.second or not shape.key_lsb_bits)
        self._finish(job, end if read_all else sum_last, max(out, self.pruner + delays.prune + 4))

    def _select(self, rows: _Pass, begin: float, end: float) -> tuple[float, float, float]:
        """Top-k engines: when the first and last threshold are there, and when Q×K ends if it must wait for them."""
        shape, config = rows.job.shape, self.config
        pruned = shape.lengths[shape.lengths > shape.value_keep]
        if not len(pruned):
            return 0.0, 0.0, end
        number = max(1.0, len(pruned) * rows.rows / shape.rows)
        keys, count, per_line = int(pruned.mean()), len(self.engines), config.scores_per_line(shape.dim)
        lines = -(-keys // per_line) * config.beats(shape.dim)
        full = -(-keys // self.parallelism)
        cycles = topk_cycles(keys, shape.value_keep, self.parallelism)
        # Of a row that comes while the engine is at work, as much as its queue holds is there when it begins.
        missing = lines - _ENGINE_LINES * self.parallelism / per_line
        load = max(full, missing)
        busy = cycles - full + load - _ENGINE_AHEAD
        # Behind the last line; if lines come slower than the engine takes them, the first ones are sorted by then.
        rest = cycles - full - _ENGINE_SORT * (lines > full)
        self.work["topk_busy"] += number * busy
        tap, free = self.delays.score + _TAP, self.engines[self.engine]
        first = max(begin + tap, free) + cycles
        if rows.rows == 1:
            arrived = max(end + tap, free + load)
            first = last = max(first, arrived + rest)
            taken = max(self.loaded[self.engine], free + max(full - _ENGINE_LINES, missing))
            self.engines[self.engine] = last - _ENGINE_AHEAD
            self.loaded[self.engine] = arrived
            self.engine = (self.engine + 1) % count
        else:
            # A line that ends a row and begins the next takes two cycles if both are pruned.
            shared = self._packs(shape) * (1 - math.gcd(keys, per_line) / per_line)
            end = max(end, begin + rows.lines + number * shared)
            last = max(first + (number - 1) * busy / count, end + tap + rest)
            taken = last - rest - load + max(full - _ENGINE_LINES, missing, load - busy)
            self.engines = [last - _ENGINE_AHEAD - (count - 1 - place) * busy / count for place in range(count)]
            self.loaded = [time - rest for time in self.engines]
            self.engine = 0
        return first, last, max(end, taken - tap - _WAITING_LINES)

    def _multiply(self, rows: _Pass, begin: float, end: float) -> float:
        """Prob×V of rows whose V is on chip; returns when the last output has left."""
        shape, delays = rows.job.shape, self.delays
        drain = -(-shape.dim // self.config.norm_lanes)
        beats = rows.lines * self.config.beats(shape.dim)
        start = max(self.pv, begin + delays.prune)
        self.pruner = end
        self.pv = max(start + max(beats, rows.rows * drain), end + delays.prune + 3, rows.job.value_last)
        self.work["pv_beats"] += beats
        return self.pv + delays.output + drain

    def _gather(self, job: _InFlight, begin: float, end: float) -> float:
        """Prob×V of a generation row, whose surviving V rows are fetched now."""
        shape, config, delays = job.shape, self.config, self.delays
        slices = config.slices(shape.dim)
        command = max(self.value_loader, begin) + _LOADER
        command, job.value_region = self._region(self.value_pages, shape.value_keep * slices, command)
        command = self.value_loader = max(command, self.value_loaded, self.loads["value"].popleft())
        ids = np.arange(shape.keys) if shape.ids is None else shape.ids
        kept = shape.kept
        if kept is None:
            kept = np.sort(self.random.choice(shape.keys, min(shape.value_keep, shape.keys), replace=False))
        demand = self.planes.of_rows(ids[kept], shape.skew, shape.dim * shape.value_bits, slices)
        start = max(begin + delays.prune, command + 3)
        stop = max(start + self._gather_cycles(shape, ids, kept), end + delays.prune)
        fetched = max(self._urgent("value", start + delays.gather, demand), stop + delays.gather + slices)
        job.value_last = self.gathered = fetched + self.latency + delays.fetch
        self.loads["value"].append(job.value_last)
        self.pruner = max(end, stop - delays.prune - 8)
        lines = -(-shape.value_keep // config.scores_per_line(shape.dim))
        beats = lines * config.beats(shape.dim)
        drain = -(-shape.dim // config.norm_lanes)
        start = max(self.pv, begin + delays.prune + delays.compact)
        self.pv = max(start + max(beats, drain), job.value_last + 3)
        self.work["pv_beats"] += beats
        return self.pv + delays.output + drain

    def _gather_cycles(self, shape: Shape, ids: np.ndarray, kept: np.ndarray) -> int:
        """A keep mask a cycle, more if two of its rows lie in one channel."""
        channels, per_line = self.config.num_channels, self.config.scores_per_line(shape.dim)
        counts = np.zeros((-(-shape.keys // per_line), channels), dtype=np.int64)
        np.add.at(counts, (kept // per_line, ids[kept] % channels), 1)
        return int(np.maximum(counts.max(axis=1), 1).sum())

    def _load_lsbs(self, job: _InFlight, start: float) -> None:
        """LSBs of K, of the same rows."""
        shape, loads = job.shape, self.loads["key_lsb"]
        demand = self.planes.of_keys(shape, shape.dim * shape.key_lsb_bits, self.config.slices(shape.dim))
        start = max(start + 2, loads.popleft()) + _COMMAND
        job.lsb_last = self._urgent("key_lsb", start, demand) + self.latency + self.delays.fetch + 1
        loads.append(job.lsb_last)

    def _load_lsbs_ahead(self, job: _InFlight, read: float, decided: float) -> None:
        """In generation LSBs come before the row is decided if at any time since it was read the last one was flat."""
        while len(self.decisions) > 1 and self.decisions[1][0] <= read:
            self.decisions.popleft()
        start = next((max(time, read) for time, flat in self.decisions if flat and time < decided), None)
        if start is not None:
            self._load_lsbs(job, start)
        self.decisions.append((decided, job.shape.flat_rows > 0))

    def _again(self, job: _InFlight, flat: int, sum_first: float, sum_last: float, span: float) -> None:
        """LSBs of K, and the second pass of the flat rows, which lie evenly among the others."""
        shape = job.shape
        decided = sum_first + (span / (flat + 1) if shape.rows > 1 else 0.0)
        if not job.lsb_last:
            self._load_lsbs(job, decided)
        loaded = max(job.lsb_last, decided)
        trip = _OFFER if shape.generation else self._query_trip(shape)
        if not shape.generation:
            self.work["query_words"] += self.planes.of_queries(shape).words * flat / shape.rows
        again = _Pass(job, flat, self._lines(shape, flat), loaded + trip, sum_last + trip, second=True)
        if shape.rows == 1:
            again.last = again.ready
        self.pending.append(again)
        self.pending.sort(key=lambda item: item.ready)

    def _finish(self, job: _InFlight, keys_final: float, out: float) -> None:
        """All rows are final: regions are given back, and the job is answered when its results have left."""
        job.keys_final = keys_final = max(keys_final, job.lsb_last)
        if not job.shape.generation:
            self.settled = max(self.settled, keys_final)
        pair = [job, job.partner] if job.partner else [job]
        released = max(each.keys_final for each in pair) if job.partner or not job.shape.pair else math.inf
        if not math.isinf(released):
            self.key_pages.give(next(each.region for each in pair if each.region), released + _RELEASE)
        if job.value_region is not None:
            self.value_pages.give(job.value_region, self.pv + _RELEASE)
        job.done = max(out, keys_final) + _RELEASE + 2
