"""ResultWriter with OutputPieces: bytes in memory equal to golden's outputs in their format."""

import dataclasses
import random

import pytest
import torch

from golden.datapath.out_format import formatted
from hdl.command.open_commands import open_commands
from hdl.result.output_pieces import OutputPieces
from hdl.result.result_writer import ResultWriter
from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode, OutFormat
from tests.bench.harness import made
from tests.bench.result_bench import Opened, Pump, check_pump_reset, check_written

TINY = PRESETS["tiny"]


def config_of(norm_lanes):
    return dataclasses.replace(TINY, name=f"norm{norm_lanes}", norm_lanes=norm_lanes)


def random_command(rng, entry):
    dim = rng.choice(TINY.dims)
    heads = [{"head": head, "exponent": rng.randrange(256)} for head in sorted(rng.sample(range(6), 3))]
    queries = rng.choice((1, 3))
    command = {
        "opcode": int(Opcode.LAYER),
        "num_queries": queries,
        "out": 0x10_0000 * (entry + 1) + 32 * rng.randrange(64),
    }
    out_format = rng.choice(list(OutFormat))
    size = dim * (2 if out_format == OutFormat.BF16 else 4)
    strides = {"out_head_stride": size, "out_position_stride": 6 * size}
    return Opened(entry, command, {**strides, "out_format": int(out_format), "dim": dim}, heads)


def scene(config, rng, rows):
    """(open commands, beats, bytes, rows): every row of every command at most once."""
    entries = rng.sample(range(open_commands(config)), 4)
    opened = [random_command(rng, entry) for entry in entries]
    places = [(each, row) for each in opened for row in range(3 * each.command["num_queries"])]
    beats, memory = [], {}
    chosen = rng.sample(places, min(rows, len(places)))
    for each, row in chosen:
        plan, dim = each.plan, each.plan["dim"]
        group, query = divmod(row, each.command["num_queries"])
        head = each.heads[group]
        half = 1 << (config.out_width - 1)
        values = [rng.choice((rng.randrange(-half, half), rng.randrange(-300, 300), 0, -half)) for _ in range(dim)]
        for first in range(0, dim, config.norm_lanes):
            part = values[first : first + config.norm_lanes]
            beats.append(
                {
                    "job_id": each.entry, "head": 0, "query": row, "last": int(first + config.norm_lanes >= dim),
                    "second": 0, "abs_sum": 0, "values": part + [0] * (config.norm_lanes - len(part)),
                }
            )  # fmt: skip
        exponent = head["exponent"] - 256 * (head["exponent"] >> 7)
        bits = formatted(torch.tensor(values), torch.tensor(exponent), OutFormat(plan["out_format"])).tolist()
        size = 2 if plan["out_format"] == OutFormat.BF16 else 4
        at = each.command["out"] + query * plan["out_position_stride"] + head["head"] * plan["out_head_stride"]
        for element, value in enumerate(bits):
            for byte in range(size):
                memory[at + element * size + byte] = value >> 8 * byte & 0xFF
    return opened, beats, memory, len(chosen)


def words_of(memory, word_width):
    return len({address * 8 // word_width for address in memory})


@pytest.mark.parametrize("word_width", [64, 128, 256])
@pytest.mark.parametrize("norm_lanes", [1, 2, 4, 32])
def test_outputs(word_width, norm_lanes):
    config, rng = config_of(norm_lanes), random.Random(f"{word_width} {norm_lanes}")
    opened, beats, memory, rows = scene(config, rng, 24)
    dut = made(ResultWriter, config, queues=2, word_width=word_width)
    count = words_of(memory, word_width)  # rows fill words
    pump = Pump(dut, opened, "out", beats, "o", count, flag="row", stall=rng.choice((0, 0.3)), seed=norm_lanes)
    check_written(pump, word_width, memory, rows, {each.command["out"] >> 20: each.entry for each in opened})


def test_rate():
    """A word a cycle of long rows."""
    config = config_of(4)
    opened = [random_command(random.Random(4), 3)]
    opened[0].plan |= {"dim": 64, "out_format": 0, "out_head_stride": 256, "out_position_stride": 2048}
    opened[0].command |= {"num_queries": 3}
    blank = {"job_id": opened[0].entry, "head": 0, "second": 0, "abs_sum": 0, "values": [1, 2, 3, 4]}
    beats = [{**blank, "query": row % 3, "last": int(beat == 15)} for row in range(20) for beat in range(16)]
    pump = Pump(made(ResultWriter, config, queues=2, word_width=128), opened, "out", beats, "o", 320, stall=0)
    pump.run()
    assert pump.cycles <= 320 + 60


def test_reset():
    config = config_of(4)
    opened, beats, memory, _ = scene(config, random.Random(5), 5)
    count = words_of(memory, 64)
    check_pump_reset(
        lambda: ResultWriter(config, queues=2, word_width=64), lambda dut: Pump(dut, opened, "out", beats, "o", count)
    )


@pytest.mark.parametrize("word_width", [32, 512])
def test_refused(word_width):
    with pytest.raises(ValueError, match=f"word_width must be 64, 128 or 256, not {word_width}"):
        OutputPieces(TINY, word_width=word_width)
