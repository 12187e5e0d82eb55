"""A batch of each campaign, and that a machine, a checker or a memory that is wrong is noticed."""

import random

import numpy as np
import pytest

from attack.campaigns import CAMPAIGNS, Batch
from attack.checker import Checker, descriptors
from attack.columns import columns_of, pack_columns
from attack.draw import Draw
from attack.judge import Findings
from attack.memory import Memory
from attack.models import checker_model, random_power_up
from attack.oracle import Oracle
from attack.refusals import Refusals
from attack.tally import COMMITTED, Tally, summed
from hdl.spec.config import PRESETS
from hdl.spec.payloads import job_id_entry, layer_descriptor
from sim.common.errors import UserError
from sim.common.packing import pack
from sim.engine.verilator import available
from sim.transport.memory import MemoryImage
from sim.transport.words import to_words
from tests.bench.configs import random_config
from tests.docs.documents import ROOT

TINY = PRESETS["tiny"]

needs_verilator = pytest.mark.skipif(not available(), reason="Verilator, perl, make and g++ are not all there")


@needs_verilator
@pytest.mark.parametrize(
    ("campaign", "seed"), [("jobs", 3), ("layers", 2), ("faults", 5), ("resets", 2), ("tenants", 3)]
)
def test_a_batch_of_each_campaign(campaign, seed):
    """On the plain model, which other tests use, too. Seed 5 of faults has a layer of list 3 that selects."""
    with Batch(campaign, TINY, seed) as batch:
        CAMPAIGNS[campaign](batch)
        found = batch.found
    assert (found.problems, found.mismatches, found.hangs) == ([], 0, 0)
    assert found.rows > 20 and found.values > 1000 and found.cycles > 1000
    assert (found.faults > 0) == (campaign in ("faults", "resets", "tenants"))


def test_each_campaign_is_tried():
    (marked,) = [mark for mark in test_a_batch_of_each_campaign.pytestmark if mark.name == "parametrize"]
    assert [campaign for campaign, _ in marked.args[1]] == list(CAMPAIGNS)


@needs_verilator
def test_wrong_results_and_codes_are_counted():
    """The machine is right, so what is expected is made wrong: an output, a probability, a survivor, a code."""
    for layers, spoil in (
        (False, lambda expected: expected[0].results[0].out[0].add_(1)),
        (False, lambda expected: expected[0].results[0].probs[-1, 0].add_(1)),
        (True, lambda expected: expected[0].selection.importance[0].add_(1)),
    ):
        with Batch("jobs", TINY, 1) as batch:
            batch.rows = 8
            commands = batch.draw(layers=layers, large=0.0)
            while layers and batch.expected[0].selection is None:
                batch.reset()
                commands = batch.draw(layers=True, large=0.0)
            spoil(batch.expected)
            batch.run(commands)
            assert 0 < batch.found.mismatches <= 64 and batch.found.problems
    with Batch("jobs", TINY, 2) as batch:
        commands = batch.draw(layers=False, large=0.0)
        batch.expected[-1].code = 5
        batch.run(commands)
        assert "was answered with code 0, expected 5" in batch.found.problems[0]


@needs_verilator
def test_descriptors_on_the_checker(monkeypatch):
    """All codes of jobs come, as the model has them; a model with another limit is noticed."""
    checker = Checker(checker_model(TINY))
    codes = set()
    run = Checker.run

    def watched(self, *arguments, **options):
        found = run(self, *arguments, **options)
        codes.update(found)
        return found

    monkeypatch.setattr(Checker, "run", watched)
    found = descriptors(TINY, checker, 0)
    assert (found.problems, found.mismatches, found.hangs) == ([], 0, 0)
    assert found.faults > found.commands // 2
    assert codes == {*range(10), 11}
    monkeypatch.setattr(Refusals, "_slots", 64, raising=False)
    monkeypatch.setattr(Refusals, "__setattr__", lambda self, name, value: _keep_slots(self, name, value))
    assert descriptors(TINY, checker, 0).mismatches > 0
    checker.close()


def _keep_slots(model, name, value):
    object.__setattr__(model, name, 64 if name == "_slots" else value)


@pytest.mark.parametrize("seed", [0, 7, 61])
@pytest.mark.parametrize("layers", [False, True])
def test_drawn_commands_are_right_in_any_configuration(seed, layers):
    """By the model; the golden model computes them."""
    config = random_config(seed, small=seed != 61)
    rng = random.Random(seed)
    memory = Memory(config, rng)
    oracle = Oracle(config, memory)
    draw = Draw(config, rng, oracle.model, large=0.1)
    for number in range(30):
        expected = oracle.answer(draw.layer(number) if layers else draw.job(number))
        assert expected.code == 0 and len(expected.jobs) == len(expected.results)


def test_planes_are_read_as_the_image_has_them():
    """The campaign's reader against the image that packs planes, at odd places, in every width."""
    rng = random.Random(0)
    memory = Memory(TINY, rng)
    for width in TINY.plane_widths:
        for dim in TINY.dims:
            base, rows, skew = rng.randrange(4000), rng.randint(1, 64), rng.randrange(2)
            image = MemoryImage(TINY)
            image.channels = memory.channels  # type: ignore[method-assign]
            expected = image.read(base, rows, dim, width, skew=skew)
            assert memory.rows(base, rows, dim, width, skew).equal(expected)


@pytest.mark.parametrize("layout", [layer_descriptor(TINY), job_id_entry(TINY)])
def test_columns_are_packed_as_items_are(layout):
    rng = random.Random(1)

    def any_of(shape):
        if hasattr(shape, "members"):
            return {name: any_of(member) for name, member in shape.members.items()}
        if hasattr(shape, "length"):
            return [any_of(shape.elem_shape) for _ in range(shape.length)]
        return rng.choice((0, (1 << shape) - 1, rng.getrandbits(shape)))

    items = [any_of(layout) for _ in range(50)]
    expected = np.stack([to_words(pack(layout, item), layout.size) for item in items])
    assert np.array_equal(pack_columns(layout, columns_of(layout, items), len(items)), expected)


def test_power_up():
    text = (
        "  reg [39:0] level = 40'h0000000003;\n  reg full = 1'h1;\n  reg _start = 0;\n  reg [7:0] next;\n"
        "  initial begin\n    memory[0] = 2'h0;\n    memory[1] = 2'h0;\n  end\n"
        "  initial begin\n    table_1[0] = 4'h0;\n    table_1[1] = 4'h9;\n  end\n"
    )
    assert random_power_up(text) == (
        "  reg [39:0] level = {$urandom, $urandom};\n  reg full = {$urandom};\n  reg _start = 0;\n  reg [7:0] next;\n"
        "  integer memory_word;\n"
        "  initial for (memory_word = 0; memory_word < 2; memory_word = memory_word + 1)\n"
        "    memory[memory_word] = {$urandom};\n"
        "  initial begin\n    table_1[0] = 4'h0;\n    table_1[1] = 4'h9;\n  end\n"
    )


def test_totals_grow_from_release_to_release(tmp_path, monkeypatch):
    files = tmp_path / "results.json", tmp_path / "pending.json"
    with_rows = Findings(commands=2, rows=5, values=70, cycles=9)
    tally = Tally(*files)
    tally.add("tiny", "jobs", 0, with_rows)
    assert Tally(*files).next_seed("tiny", "jobs") == 1
    assert Tally(*files).next_seed("tiny", "layers") == 0
    Tally(*files).record()
    assert not files[1].exists()
    monkeypatch.setattr("attack.tally.VERSION", "99.0.0")
    tally = Tally(*files)
    assert tally.next_seed("tiny", "jobs") == 1
    tally.add("tiny", "jobs", 1, Findings(rows=1, mismatches=1, problems=["value 3"]))
    tally.add("random-61", "jobs", 0, with_rows)
    assert summed(tally.total()) == {
        "batches": 3, "commands": 4, "rows": 11, "values": 140, "faults": 0, "mismatches": 1, "hangs": 0, "cycles": 18,
    }  # fmt: skip
    tally.record()
    assert [release["version"] for release in Tally(*files).releases] == [
        Tally(*files).releases[0]["version"],
        "99.0.0",
    ]
    assert Tally(*files).releases[1]["problems"] == [
        {"config": "tiny", "campaign": "jobs", "seed": 1, "problem": "value 3"}
    ]
    assert summed(Tally(*files).total())["rows"] == 11


def test_broken_totals(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match=r"results\.json must have releases"):
        Tally(tmp_path / "results.json", tmp_path / "pending.json")


def test_committed_totals_have_no_problem():
    """What ``make attack`` has found so far."""
    tally = Tally(ROOT / COMMITTED, ROOT / "no such file")
    total = summed(tally.total())
    assert total["rows"] > 0 and total["mismatches"] == total["hangs"] == 0
    assert [release["problems"] for release in tally.releases] == [[]] * len(tally.releases)
