"""Which code the documents promise for a job or layer: a model that knows nothing of the hardware's checker.

It is written from docs/controller.md ("The job", "Pairs"), docs/layer_walker.md ("Steps", "Errors"), docs/cascade.md
and the memory of docs/architecture.md. Fields are those of a descriptor, by name; of a configuration it reads sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hdl.spec.config import Config

__all__ = ["Beat", "Refusals"]

DIM, COUNT, KEEP, WIDTH, WINDOW, IDS, CAPACITY, SCALE, HEADS, SELECT, PAIR = range(1, 12)
DENSE, NEW, PREVIOUS = range(3)

Fields = Mapping[str, Any]


class Beat(NamedTuple):
    """An item of the ids stream."""

    ids: tuple[int, ...]
    """as many as there are lanes"""
    count: int
    last: bool


class _List(NamedTuple):
    """The current list: how many ids, and the last of them."""

    count: int
    last: int


def _slices(config: Config, dim: int) -> int:
    """Slices of a row: a power of two, the last ones padded."""
    slices = 1
    while slices * (config.num_multipliers // config.lanes) < dim:
        slices *= 2
    return slices


def _plane_places(job: Fields, config: Config) -> list[tuple[int, int]]:
    """First word, and number of words in every channel, of each plane of a job."""
    dim, rows = job["dim"], job["num_rows"]
    planes = [
        (job["query_base"], job["group"] * job["num_queries"], dim, job["query_bits"]),
        (job["key_base"], rows, 2 * dim if job["pair"] else dim, job["key_bits"]),
        (job["value_base"], rows, dim, job["value_bits"]),
    ]
    if job["key_lsb_bits"]:
        planes.append((job["key_lsb_base"], rows, dim, job["key_lsb_bits"]))
    channels, word = config.num_channels, config.channel_width
    return [(base, -(-(-(-count // channels) * size * width) // word)) for base, count, size, width in planes]


def _good_prefix(job: Fields, beats: Sequence[Beat], lanes: int) -> int:
    """Beats before the first wrong one."""
    before, rows = -1, job["num_rows"]
    for index, beat in enumerate(beats):
        if not (1 <= beat.count <= lanes if beat.last else beat.count == lanes):
            return index
        for item in beat.ids[: beat.count]:
            if not before < item < rows:
                return index
            before = item
    return len(beats)


class Refusals:
    """The machine's answers from reset on, job by job and layer by layer, in the order in which it takes them."""

    def __init__(self, config: Config, base: int, limit: int):
        self.config, self.base, self.limit = config, base, limit
        self._list: _List | None = None
        self._sums = False
        """The importance on chip is that of the current list: no list was written since that was not taken."""
        self.waiting: Fields | None = None
        """The accepted first job of a pair whose second has not come."""
        lane_width = config.num_multipliers // config.lanes
        self._pair_dims = {dim for dim in config.dims if dim % lane_width == 0 and 2 * dim <= config.max_dim}
        self._slots = config.max_tokens * config.buffer_dim // lane_width
        banks = config.lanes * config.banks_per_lane
        self._pair_slots = config.key_rows * config.buffer_dim // lane_width // 2 // banks * banks
        self._slices = {dim: _slices(config, dim) for dim in config.dims}
        self._widths, self._splits = set(config.plane_widths), set(config.splits)

    @property
    def tokens(self) -> int:
        """Length of the current list; 0: there is none."""
        return self._list.count if self._list else 0

    @property
    def last_token(self) -> int:
        return self._list.last if self._list else -1

    @property
    def summed(self) -> bool:
        """Whether a layer may go on with the current list."""
        return self._list is not None and self._sums

    def move(self, base: int, limit: int) -> None:
        """Another window."""
        self.base, self.limit = base, limit

    def job(self, job: Fields, beats: Sequence[Beat] = ()) -> int:
        """Code of a job of the host; beats: its ids, if it brings some."""
        code = self._pairing(job) or self._head(job) or self._planes(job) or self._ids(job, beats)
        if job["list"] == NEW and beats:
            self._take(job, beats, code)
        if not code:
            self.waiting = job if job["pair"] == 1 else None
        return code

    def layer(self, layer: Fields, beats: Sequence[Beat], heads: Sequence[Fields]) -> int:
        """Code of a layer; heads: its entries, up to ``last``."""
        job = layer["job"]
        code = self._descriptor(layer)
        if not code:
            code = PAIR if self.waiting else self._tokens(job) or self._layer_list(layer, beats)
        if job["list"] == NEW and beats:
            self._take(job, beats, code)
        if code:
            return code
        code = self._groups(layer, heads)
        if code:
            self._list = None
        return code

    def selected(self, count: int, last: int) -> None:
        """A layer's selection has left so many tokens, the last of which is ``last``."""
        self._list = _List(count, last)

    # A job -------------------------------------------------------------------------------------------------------

    def _pairing(self, job: Fields) -> int:
        able = job["generation"] and job["dim"] in self._pair_dims
        first = self.waiting
        if first is None:
            return PAIR if job["pair"] and not (able and job["pair"] == 1) else 0
        same = ("dim", "num_keys", "num_rows", "key_bits", "key_lsb_bits", "skew", "key_base")
        right = all(job[name] == first[name] for name in same)
        right &= job["list"] == (PREVIOUS if first["list"] else DENSE)
        return 0 if able and right and job["pair"] == 2 else PAIR

    def _tokens(self, job: Fields) -> int:
        """What is asked of a list, too: D, keys, rows, skew."""
        if job["dim"] not in self._slices:
            return DIM
        most = self.config.max_tokens
        if not 1 <= job["num_keys"] <= job["num_rows"] <= most or job["skew"] >= self.config.num_channels:
            return COUNT
        return 0

    def _head(self, job: Fields) -> int:
        config, keys, queries, group = self.config, job["num_keys"], job["num_queries"], job["group"]
        code = self._tokens(job)
        if code:
            return code
        if not 1 <= queries <= config.max_tokens or (job["causal"] and queries > keys):
            return COUNT
        if job["generation"] and (queries != 1 or group != 1):
            return COUNT
        if not 1 <= job["value_keep"] <= keys:
            return KEEP
        split = job["key_bits"], job["key_lsb_bits"]
        if split not in self._splits or not {job["query_bits"], job["value_bits"]} <= self._widths:
            return WIDTH
        if not job["scale"] or not job["shift"]:
            return SCALE
        if not 1 <= group <= config.max_group or job["head"] + group > config.max_heads:
            return HEADS
        if group * queries > config.max_tokens:
            return COUNT
        slots = keys * self._slices[job["dim"]]
        return CAPACITY if slots > (min(self._slots, self._pair_slots) if job["pair"] else self._slots) else 0

    def _planes(self, job: Fields) -> int:
        inside = [self.base <= base and base + words <= self.limit for base, words in _plane_places(job, self.config)]
        return 0 if all(inside) else WINDOW

    # Lists -------------------------------------------------------------------------------------------------------

    def _ids(self, job: Fields, beats: Sequence[Beat]) -> int:
        kind = job["list"]
        if kind == DENSE:
            return 0
        if kind == NEW:
            return (
                0
                if _good_prefix(job, beats, self.config.lanes) == len(beats)
                and sum(beat.count for beat in beats) == job["num_keys"]
                else IDS
            )
        current = self._list
        if kind != PREVIOUS or current is None:
            return IDS
        return 0 if current.count == job["num_keys"] and current.last < job["num_rows"] else IDS

    def _layer_list(self, layer: Fields, beats: Sequence[Beat]) -> int:
        """A layer that selects needs a list of as many tokens; one without a list of its own goes on with the sums."""
        job = layer["job"]
        if job["list"] != NEW and layer["select"]:
            return 0 if self._sums and not self._ids({**job, "list": PREVIOUS}, ()) else IDS
        if job["list"] == PREVIOUS and not self._sums:
            return IDS
        return self._ids(job, beats)

    def _take(self, job: Fields, beats: Sequence[Beat], code: int) -> None:
        """A list that is taken is current; one that is not may have been written over the sums of the current one.

        It is written up to its first wrong beat, if nothing else of its job is wrong.
        """
        if not code:
            last = beats[-1]
            self._list, self._sums = _List(job["num_keys"], last.ids[last.count - 1]), True
        elif code == IDS and _good_prefix(job, beats, self.config.lanes):
            self._sums = False

    # A layer -----------------------------------------------------------------------------------------------------

    def _descriptor(self, layer: Fields) -> int:
        heads = layer["num_heads"]
        if heads > self.config.max_heads:
            return HEADS
        if layer["select"] and (not layer["token_keep"] or (heads and not layer["head_keep"])):
            return SELECT
        return PAIR if layer["job"]["pair"] else 0

    def _groups(self, layer: Fields, heads: Sequence[Fields]) -> int:
        """Groups of heads become jobs up to the first wrong head, but for the group next to it."""
        groups: list[list[Fields]] = []
        bad = False
        for index, head in enumerate(heads[: layer["num_heads"]]):
            opens = not groups or groups[-1][0]["kv_head"] != head["kv_head"]
            falls = bool(groups) and head["kv_head"] < groups[-1][0]["kv_head"]
            full = not opens and len(groups[-1]) == self.config.max_group
            bad = falls or full or bool(head["last"]) != (index == layer["num_heads"] - 1)
            if bad:
                break
            if opens:
                groups.append([])
            groups[-1].append(head)
        rank = 0
        for group in groups[:-1] if bad else groups:
            code = self._group(layer, group, rank)
            if code:
                return code
            rank += len(group)
        return HEADS if bad else 0

    def _group(self, layer: Fields, group: Sequence[Fields], rank: int) -> int:
        """Code of the job of a group; its bases never wrap."""
        job = group_job(layer, group, rank, self.config)
        names = ("query", "key", "key_lsb", "value") if job["key_lsb_bits"] else ("query", "key", "value")
        if any(job[f"{name}_base"] >= 1 << self.config.address_width for name in names):
            return WINDOW
        return self._head(job) or self._planes(job) or self._ids(job, ())


def group_job(layer: Fields, group: Sequence[Fields], rank: int, config: Config) -> dict[str, Any]:
    """The job of a group of a layer's heads (docs/layer_walker.md, step 4); bases may lie beyond the address space."""
    job, first = dict(layer["job"]), group[0]
    for name in ("query", "key", "key_lsb", "value"):
        job[f"{name}_base"] += first["kv_head"] * layer[f"{name}_stride"]
    return job | {
        "group": len(group),
        "head": rank,
        "scale": first["scale"],
        "shift": first["shift"],
        "list": PREVIOUS if job["list"] == NEW else job["list"],
        "skew": (job["skew"] + first["kv_head"]) % config.num_channels,
    }
