"""ReadWalk: what is read for a command, and what the words are."""

import pytest

from hdl.append.append_layouts import Tensor
from hdl.append.read_walk import ReadWalk
from hdl.spec.config import PRESETS
from tests.bench.append_planes import KEY, QUERY, VALUE, Layer
from tests.bench.harness import made, run_streams


def expected(request, word_width):
    """(requests, steps) as loops make them."""
    command, plan = request["command"], request["plan"]
    flags, dim = command["flags"], plan["dim"]
    tensors = [tensor for tensor in Tensor if flags[tensor.name.lower()]]
    reads, steps, constants = [], [], command["constants"]
    for tensor in tensors:
        source = command["value_rows" if tensor == Tensor.VALUE else "rows"]
        group = plan["group"] if tensor == Tensor.QUERY else 1
        for head in range(command["num_heads"]):
            reads.append({"address": constants, "words": 32 * dim // word_width})
            steps.append(None)
            constants += 4 * dim
            for row in range(group * command["num_rows"]):
                number, position = head * group + row // command["num_rows"], row % command["num_rows"]
                address = source + number * command["head_stride"] + position * command["position_stride"]
                reads.append({"address": address, "words": 16 * dim // word_width})
                ends = row == group * command["num_rows"] - 1
                last = ends and head == command["num_heads"] - 1 and tensor == tensors[-1]
                fields = {"tensor": int(tensor), "head": head, "row": command["first_row"] + row}
                steps.append({**fields, "ends": int(ends), "last": int(last)})
    return reads, steps


@pytest.mark.parametrize("names", [[KEY], [VALUE], [KEY, VALUE], [QUERY]])
@pytest.mark.parametrize("word_width", [64, 256])
@pytest.mark.parametrize("rows", [1, 3])
def test_requests_and_steps(names, word_width, rows):
    layer = Layer(PRESETS["tiny"], dim=48, widths=(8, 8, 4, 8), heads=3, group=2, rows=9, queries=4, seed=rows)
    request = layer.command(names, first=2, rows=rows)
    reads, steps = expected(request, word_width)
    dut = made(ReadWalk, PRESETS["tiny"], word_width=word_width)

    async def begin(ctx):
        ctx.set(dut.request, request)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while True:
            await ctx.tick()

    got = run_streams(dut, {}, {"port": len(reads), "o": len(steps)}, seed=rows, processes=[begin])[0]
    assert got["port"] == reads
    assert [None if step["constants"] else step["row"] for step in got["o"]] == steps
