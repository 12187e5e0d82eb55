"""ProbabilityWriter: bytes in memory of the rows of some commands, packed into lines as the core packs them."""

import dataclasses
import random

import pytest

from hdl.command.open_commands import open_commands
from hdl.result.probability_writer import ProbabilityWriter
from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode
from tests.bench.harness import made, simulate
from tests.bench.result_bench import Opened, Pump, check_pump_reset, check_written

TINY = PRESETS["tiny"]
MOST = 65_535
"""What stands for a probability of 1."""


OF_LANES = {1: PRESETS["ulx3s-d32"], 2: TINY, 8: PRESETS["paper"]}


def random_command(rng, entry, wanted):
    heads = [{"head": head, "exponent": 0} for head in sorted(rng.sample(range(6), 3))]
    command = {
        "opcode": int(Opcode.LAYER),
        "num_queries": rng.choice((1, 3)),
        "flags": {"probabilities": int(wanted)},
    }
    strides = {"probability_head_stride": 128, "probability_query_stride": 6 * 128}
    return Opened(entry, command, {**strides, "probabilities": 0x10_0000 * (entry + 1) + 32 * rng.randrange(64)}, heads)


class Packer:
    """Lines of one job: rows follow each other without a gap."""

    def __init__(self, config, entry, rng):
        self.config, self.entry, self.rng, self.lines = config, entry, rng, []
        self._new()

    def _new(self):
        self.line = {"job_id": self.entry, "head": 0, "start": 0, "a_count": 0, "b_count": 0, "a_query": 0,
                     "b_query": 0, "a_drop": 0, "b_drop": 0, "probs": []}  # fmt: skip

    def add(self, query, probs, drop):
        start = 0
        while start < len(probs):
            used, lanes = len(self.line["probs"]), self.config.lanes
            row = "a" if not used else "b"
            part = probs[start : start + lanes - used]
            self.line |= {f"{row}_query": query, f"{row}_count": len(part), f"{row}_drop": drop}
            if row == "a":
                self.line["start"] = start
            self.line["probs"] += part
            start += len(part)
            if len(self.line["probs"]) == lanes or row == "b":
                self.close()

    def close(self):
        if self.line["probs"]:
            rest = self.config.lanes - len(self.line["probs"])
            self.line["probs"] = self.line["probs"] + [self.rng.getrandbits(17) for _ in range(rest)]
            self.lines.append(self.line)
        self._new()


def scene(config, rng, rows):
    """(open commands, lines, bytes)."""
    entries = rng.sample(range(open_commands(config)), 3)
    opened = [random_command(rng, entry, index != 1) for index, entry in enumerate(entries)]
    lines, memory = [], {}
    for each in opened:
        packer, keys = Packer(config, each.entry, rng), rng.randint(1, 40)
        queries = each.command["num_queries"]
        for row in list(range(3 * queries))[:rows]:
            probs = [rng.choice((0, 1, MOST, MOST + 1, rng.randrange(MOST))) for _ in range(keys)]
            drop = int(rng.random() < 0.2)
            packer.add(row, probs, drop)
            group, query = divmod(row, queries)
            plan = each.plan
            at = plan["probabilities"] + query * plan["probability_query_stride"]
            at += each.heads[group]["head"] * plan["probability_head_stride"]
            if each.command["flags"]["probabilities"] and not drop:
                for key, value in enumerate(probs):
                    memory[at + 2 * key] = min(value, MOST) & 0xFF
                    memory[at + 2 * key + 1] = min(value, MOST) >> 8
        packer.close()
        lines += packer.lines
    return opened, lines, memory


def words_of(opened, lines, word_width):
    """(words, lines that leave any)."""
    size, wanted = word_width // 16, {each.entry for each in opened if each.command["flags"]["probabilities"]}
    words = [0] * len(lines)
    for index, line in enumerate(lines):
        for row, start in (("a", line["start"]), ("b", 0)):
            if line["job_id"] in wanted and line[f"{row}_count"] and not line[f"{row}_drop"]:
                words[index] += -(-(start % size + line[f"{row}_count"]) // size)
    return sum(words), sum(map(bool, words))


@pytest.mark.parametrize("word_width", [64, 128, 256])
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_probabilities(word_width, lanes):
    config, rng = OF_LANES[lanes], random.Random(f"{word_width} {lanes}")
    assert config.lanes == lanes
    opened, lines, memory = scene(config, rng, 9)
    words, written = words_of(opened, lines, word_width)
    dut = made(ProbabilityWriter, config, queues=2, word_width=word_width)
    pump = Pump(dut, opened, "prob", lines, "o", words, flag="line", stall=rng.choice((0, 0.3)), seed=lanes)
    check_written(pump, word_width, memory, written, {each.plan["probabilities"] >> 20: each.entry for each in opened})


def test_number_given_again():
    """A command whose number is that of an earlier one has its own place, though the row is the same."""
    rng = random.Random(3)
    first = random_command(rng, 2, True)
    second = dataclasses.replace(first, plan={**first.plan, "probabilities": 0x90_0000})
    packer = Packer(TINY, 2, rng)
    packer.add(0, [5, 6], 0)
    dut = made(ProbabilityWriter, TINY, queues=2, word_width=64)
    pumps = [Pump(dut, [each], "prob", packer.lines, "o", 1, flag="line") for each in (first, second)]

    async def bench(ctx):
        for pump in pumps:
            await pump.bench(ctx)

    simulate(dut, bench, cycles=1000)
    places = [pump.got[0]["write"]["word"] * 8 for pump in pumps]
    assert places == [each.plan["probabilities"] + first.heads[0]["head"] * 128 for each in (first, second)]


def test_rate():
    """Two cycles a line of long rows whose lines straddle no word, and 6 more a row; a cycle what nobody wants."""
    config = OF_LANES[8]
    for wanted, most in ((True, 20 * 8 + 20 * 10), (False, 20 * 8 + 20)):
        opened = [random_command(random.Random(4), 3, wanted)]
        opened[0].command["num_queries"] = 20
        packer = Packer(config, 3, random.Random(5))
        for row in range(20):
            packer.add(row, [1] * 64, 0)
        dut = made(ProbabilityWriter, config, queues=2, word_width=128)
        count, _ = words_of(opened, packer.lines, 128)
        pump = Pump(dut, opened, "prob", packer.lines, "o", count, stall=0)
        pump.run()
        assert pump.cycles <= most + 40


def test_reset():
    opened, lines, _ = scene(TINY, random.Random(5), 4)
    count, _ = words_of(opened, lines, 64)
    check_pump_reset(
        lambda: ProbabilityWriter(TINY, queues=2, word_width=64),
        lambda dut: Pump(dut, opened, "prob", lines, "o", count),
    )


@pytest.mark.parametrize("word_width", [32, 512])
def test_refused(word_width):
    with pytest.raises(ValueError, match=f"word_width must be 64, 128 or 256, not {word_width}"):
        ProbabilityWriter(TINY, word_width=word_width)
