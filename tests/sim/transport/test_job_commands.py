import itertools
import random

import pytest
import torch

from hdl.spec import formats
from hdl.spec.config import PRESETS
from hdl.spec.formats import COMMAND_BYTES, HEAD_BYTES, LISTS, PLAN_BYTES, Opcode
from sim.common.packing import unpack
from sim.transport.commands import read_tokens
from sim.transport.host_memory import HostMemory
from sim.transport.job_commands import place_jobs
from sim.transport.memory import MemoryImage
from tests.bench.jobs import random_job, random_jobs

TINY = PRESETS["tiny"]
WORD = TINY.channel_width // 8


def placed_of(jobs):
    memory, image = HostMemory(1 << 16, grows=True), MemoryImage(TINY)
    placed = place_jobs(jobs, TINY, image, memory)
    return placed, memory, image


def fields(shape, raw):
    return unpack(shape, int.from_bytes(bytes(raw), "little"))


@pytest.mark.parametrize("seed", range(10))
def test_a_job(seed):
    """Plan, heads and planes of a job of any kind, whose first head is the third of its layer."""
    job = random_job(TINY, random.Random(seed))
    job.head = 2
    (placed,), memory, image = placed_of([job])
    command = fields(formats.layer_command(), placed.command)
    assert len(placed.command) == COMMAND_BYTES and command["opcode"] == Opcode.JOB
    assert (command["num_heads"], command["head_keep"]) == (job.group, 2)
    for name in ("num_keys", "num_queries", "num_rows", "value_keep"):
        assert command[name] == getattr(job, name)
    for name in ("causal", "generation", "accumulate"):
        assert command["flags"][name] == getattr(job, name)
    plan = fields(formats.plan(), memory.read(command["plan"], PLAN_BYTES))
    for name in ("dim", "query_bits", "key_bits", "key_lsb_bits", "value_bits", "skew", "flat_limit"):
        assert plan[name] == getattr(job, name)
    rows = memory.read(plan["heads"], HEAD_BYTES * (2 + job.group)).reshape(-1, HEAD_BYTES)
    heads = [fields(formats.head_row(), row) for row in rows[2:]]
    assert [(row["head"], row["scale"], row["shift"]) for row in heads] == [
        (place, job.scale, job.shift) for place in range(job.group)
    ]
    assert (plan["out_position_stride"], plan["out_head_stride"]) == (4 * job.group * job.dim, 4 * job.dim)
    query = image.read(command["query"] // WORD, job.rows, job.dim, job.query_bits, skew=job.skew)
    value = image.read(plan["value"] // WORD, job.num_rows, job.dim, job.value_bits, skew=job.skew)
    assert torch.equal(query, job.query) and torch.equal(value, job.value)


def test_lists_are_brought_once():
    """A job with the ids of the last list goes on with it, after dense jobs, too."""
    first = random_job(TINY, random.Random(1), listed=True, keys=5)
    same, dense = (
        random_job(TINY, random.Random(2), listed=True, keys=5),
        random_job(TINY, random.Random(3), listed=False),
    )
    same.ids = first.ids.clone()
    other = random_job(TINY, random.Random(4), listed=True, keys=7)
    placed, memory, _ = placed_of([first, same, dense, same, other])
    commands = [fields(formats.layer_command(), each.command) for each in placed]
    assert [LISTS[command["flags"]["list"]] for command in commands] == [
        "table",
        "previous",
        "dense",
        "previous",
        "table",
    ]
    for job, command in ((first, commands[0]), (other, commands[4])):
        assert read_tokens(command["state"], memory) == [(id, 0) for id in job.ids.tolist()]
    assert not any(command["state"] for command in commands[1:4])


def test_pairs_share_their_keys():
    jobs = random_jobs(TINY, random.Random(5), 8, pair=1.0)
    placed, memory, _ = placed_of(jobs)
    commands = [fields(formats.layer_command(), each.command) for each in placed]
    assert {command["opcode"] for command in commands} == {Opcode.PAIR}
    plans = [fields(formats.plan(), memory.read(command["plan"], PLAN_BYTES)) for command in commands]
    for first, second in zip(plans[::2], plans[1::2], strict=True):
        assert first["key"] == second["key"] and first["value"] != second["value"]


def test_nothing_overlaps():
    jobs = random_jobs(TINY, random.Random(6), 12)
    placed, memory, _ = placed_of(jobs)
    taken = []
    for job, each in zip(jobs, placed, strict=True):
        taken += [(each.plan, PLAN_BYTES), (each.heads, HEAD_BYTES * (job.head + job.group))]
        taken.append((each.out, 4 * job.rows * job.dim))
    taken.sort()
    assert all(place % 64 == 0 for place, _ in taken)
    assert all(place + size <= after for (place, size), (after, _) in itertools.pairwise(taken))
    assert taken[-1][0] + taken[-1][1] <= memory.limit
