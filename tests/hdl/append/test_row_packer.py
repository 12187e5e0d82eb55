"""RowPacker: rows of any widths become the chunks that the host packs."""

import random

import pytest
import torch

from hdl.append.append_layouts import Tensor
from hdl.append.row_packer import RowPacker
from hdl.spec.config import PRESETS, Config
from hdl.spec.presets import PRESET_VALUES
from sim.transport.memory import pack_rows
from tests.bench.harness import check_stream_reset, made, run_streams, simulate

WIDE = Config(**PRESET_VALUES["tiny"] | {"name": "wide", "operand_width": 16})


def scene(config, split, rows, seed=0):
    """(elements, chunks of the upper bits, chunks of the LSBs) of rows of all tensors and widths."""
    rng, items, upper, lower = random.Random(seed), [], [], []
    for _ in range(rows):
        tensor, dim = rng.choice(list(Tensor)), rng.choice(config.dims)
        lsb = 4 if split and tensor == Tensor.KEY else 0
        width = rng.choice([width for width in config.plane_widths if width + lsb <= config.operand_width])
        row = torch.tensor([[rng.getrandbits(width + lsb) for _ in range(dim)]])
        fields = {"saturated": rng.getrandbits(1), "bits": width + lsb, "tensor": int(tensor)}
        items += [{"integer": int(value), **fields} for value in row[0]]
        upper += pack_rows(row >> lsb, width)[0].tolist()
        lower += pack_rows(row & 15, 4)[0].tolist() if lsb else []
    return items, upper, lower


@pytest.mark.parametrize("config", [WIDE, PRESETS["ulx3s"]], ids=lambda config: config.name)
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_rows(config, split, stall):
    items, upper, lower = scene(config, split, 30, seed=split)
    outputs = {"msb": len(upper), "lsb": len(lower)}
    dut = made(RowPacker, config)
    got, last = run_streams(dut, {"i": items}, outputs, stall=stall, seed=1, setup={"split": int(split)})
    assert got == {"msb": upper, "lsb": lower}
    assert stall or last == len(items) - 1 + RowPacker.LATENCY


def test_elements_go_on_until_a_second_chunk_is_complete():
    """A chunk that waits stops only the element that would end the next one: with four a chunk, the eighth."""
    dut, taken = made(RowPacker, PRESETS["ulx3s"]), []

    async def bench(ctx):
        ctx.set(dut.i.payload, {"integer": 1, "saturated": 0, "bits": 8, "tensor": int(Tensor.VALUE)})
        ctx.set(dut.i.valid, 1)
        for _ in range(20):
            _, _, ready = await ctx.tick().sample(dut.i.ready)
            taken.append(ready)

    simulate(dut, bench, cycles=50)
    assert taken == [1] * 7 + [0] * 13


def test_reset():
    items, upper, lower = scene(WIDE, True, 4, seed=5)
    outputs = {"msb": len(upper), "lsb": len(lower)}
    check_stream_reset(lambda: RowPacker(WIDE), {"i": items}, outputs, setup={"split": 1})
