"""Single jobs as commands in memory (JOB and PAIR of docs/commands.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from golden.layers.job import Job
from hdl.spec.config import Config
from hdl.spec.formats import HEAD_BYTES, Opcode, OutFormat
from hdl.spec.payloads import LIST_NEW
from sim.transport.commands import PlacedLayer, plan_of_job, token_table
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from sim.transport.pack import describe_job, list_kind, partners
from sim.transport.records import COMMAND, HEAD, PLAN

__all__ = ["place_jobs"]


def place_jobs(jobs: Sequence[Job], config: Config, image: MemoryImage, memory: HostMemory) -> list[PlacedLayer]:
    """Write plans and tables of jobs; their planes go to ``image``, which is placed when all are there.

    Each has tables of its own, and its outputs, int32, at [query, head of the job, D]. A job whose ids are those of the
    list before it goes on with that list.
    """
    placed: list[PlacedLayer] = []
    previous: Tensor | None = None
    for index, (job, partner) in enumerate(zip(jobs, partners(jobs), strict=True)):
        fields = describe_job(job, partner, index, list_kind(job, previous), image)
        placed.append(_placed(job, fields, config, memory))
        if fields["list"] == LIST_NEW:
            previous = job.ids
    return placed


def _placed(job: Job, fields: Mapping[str, int], config: Config, memory: HostMemory) -> PlacedLayer:
    shape = job.group, job.num_queries, job.dim
    heads = memory.store(_heads(job))
    ids = job.ids.tolist() if job.ids is not None and fields["list"] == LIST_NEW else []
    state = memory.store(token_table(ids, [0] * len(ids), config)) if ids else 0
    out = memory.take(4 * job.group * job.num_queries * job.dim)
    plan = {
        **plan_of_job(fields, config),
        "group": job.group,
        "num_kv_heads": 1,
        "heads": heads,
        "out_position_stride": 4 * job.group * job.dim,
        "out_head_stride": 4 * job.dim,
    }
    command = {
        "opcode": int(Opcode.PAIR if job.pair else Opcode.JOB),
        "flags": {name: fields[name] for name in ("causal", "generation", "accumulate", "list")},
        **{name: fields[name] for name in ("num_keys", "num_queries", "num_rows", "value_keep")},
        "num_heads": job.group,
        "head_keep": job.head,
        "query": fields["query_base"] * (config.channel_width // 8),
        "out": out,
        "state": state,
    }
    address = memory.store(PLAN.pack(plan))
    return PlacedLayer(
        command=COMMAND.pack(command | {"plan": address}),
        plan=address,
        heads=heads,
        state=state,
        out=out,
        shape=shape,
        out_format=OutFormat.INT32,
        says=plan,
        query=command["query"],
    )


def _heads(job: Job) -> bytes:
    """Entries of the job's query heads, numbered from 0, at their ranks; those before them are of no use."""
    rows = [HEAD.pack({"head": place, "scale": job.scale, "shift": job.shift}) for place in range(job.group)]
    return bytes(HEAD_BYTES * job.head) + b"".join(rows)
