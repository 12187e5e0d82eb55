"""What every command must give: its code by the model of refusals, its results by the golden model."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from attack.commands import Command
from attack.memory import Memory
from attack.refusals import DENSE, NEW, Refusals, group_job
from golden.layers.cascade_state import CascadeState, Selection
from golden.layers.job import Job, JobResult
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config

__all__ = ["Expected", "Oracle", "read_job"]


@dataclasses.dataclass(kw_only=True)
class Expected:
    """Of a job or a layer."""

    code: int
    jobs: list[Job] = dataclasses.field(default_factory=list)
    """none if it is refused"""
    results: list[JobResult] = dataclasses.field(default_factory=list)
    layer: LayerJob | None = None
    selection: Selection | None = None


def read_job(fields: dict[str, Any], ids: Tensor | None, memory: Memory, pair: int = 0) -> Job:
    """The job that a right descriptor describes, its planes read from memory."""
    dim, skew, rows = fields["dim"], fields["skew"], fields["num_rows"]

    def plane(name: str, count: int, *, size: int = dim, signed: bool = True) -> Tensor:
        return memory.rows(fields[f"{name}_base"], count, size, fields[f"{name}_bits"], skew, signed=signed)

    key = plane("key", rows, size=2 * dim if pair else dim)
    key = key[:, dim * (pair - 1) : dim * pair] if pair else key
    if fields["key_lsb_bits"]:
        key = key << fields["key_lsb_bits"] | plane("key_lsb", rows, signed=False)
    same = ("query_bits", "key_bits", "key_lsb_bits", "value_bits", "scale", "shift", "flat_limit", "value_keep")
    return Job(
        query=plane("query", fields["group"] * fields["num_queries"]),
        key=key,
        value=plane("value", rows),
        ids=ids,
        keys=fields["num_keys"] if ids is None else None,
        causal=bool(fields["causal"]),
        generation=bool(fields["generation"]),
        group=fields["group"],
        head=fields["head"],
        accumulate=bool(fields["accumulate"]),
        skew=skew,
        pair=pair,
        **{name: fields[name] for name in same},
    )


class Oracle:
    """Answers command by command, in the machine's order, from reset on."""

    def __init__(self, config: Config, memory: Memory):
        self.config, self.memory = config, memory
        self.model = Refusals(config, memory.base, memory.limit)
        self._state = CascadeState()

    def answer(self, command: Command) -> Expected:
        return self._layer(command) if "job" in command.fields else self._job(command)

    def _job(self, command: Command) -> Expected:
        fields = command.fields
        code = self.model.job(fields, command.beats)
        if code:
            return Expected(code=code)
        self._take(command)
        job = read_job(fields, None if fields["list"] == DENSE else self._state.ids, self.memory, fields["pair"])
        job.name = f"job {fields['job_id']}"
        layer = LayerJob(
            jobs=[job],
            kv_heads=[0],
            head_ids=[job.head],
            head_weight=[0],
            head_importance=[0],
            ids=None,
            importance=None,
            num_tokens=job.num_keys,
            dense=job.ids is None,
            select=False,
        )
        results, _ = self._run(layer, job.num_keys)
        return Expected(code=0, jobs=[job], results=results)

    def _take(self, command: Command) -> None:
        """The list that an accepted command brings."""
        if command.job["list"] == NEW:
            ids = [item for beat in command.beats for item in beat.ids[: beat.count]]
            self._state = CascadeState()
            self._state.ids = torch.tensor(ids)
            self._state.importance = torch.tensor((command.importance + [0] * len(ids))[: len(ids)])

    def _run(self, layer: LayerJob, keys: int) -> tuple[list[JobResult], Selection | None]:
        """Dense jobs may have more keys than there are tokens: what they add beyond these is for nobody."""
        state, tokens = self._state, len(self._state.ids)
        state.importance = torch.cat([state.importance, torch.zeros(max(0, keys - tokens), dtype=torch.int64)])
        found = state.run(layer, self.config)
        state.importance = state.importance[: len(state.ids)]
        return found

    def _layer(self, command: Command) -> Expected:
        fields, config = command.fields, self.config
        code = self.model.layer(fields, command.beats, command.heads)
        if code:
            return Expected(code=code)
        job = fields["job"]
        dense = job["list"] == DENSE
        self._take(command)
        jobs, kv_heads, rank = [], [], 0
        while rank < len(command.heads):
            first = command.heads[rank]["kv_head"]
            group = [head for head in command.heads if head["kv_head"] == first]
            mine = group_job(fields, group, rank, config)
            jobs.append(read_job(mine, None if dense else self._state.ids, self.memory))
            jobs[-1].name = f"layer {job['job_id']} K/V head {first}"
            kv_heads.append(first)
            rank += len(group)
        layer = LayerJob(
            jobs=jobs,
            kv_heads=kv_heads,
            head_ids=[head["head"] for head in command.heads],
            head_weight=[head["weight"] for head in command.heads],
            head_importance=[head["importance"] for head in command.heads],
            ids=None,
            importance=None,
            num_tokens=job["num_keys"],
            dense=dense,
            select=bool(fields["select"]),
            token_keep=fields["token_keep"],
            head_keep=fields["head_keep"],
            pin_first=fields["pin_first"],
            pin_last=fields["pin_last"],
            decay=fields["decay"],
            name=f"layer {job['job_id']}",
        )
        results, selection = self._run(layer, job["num_keys"])
        if selection is not None:
            self.model.selected(len(self._state.ids), int(self._state.ids[-1]))
        return Expected(code=0, jobs=jobs, results=results, layer=layer, selection=selection)
