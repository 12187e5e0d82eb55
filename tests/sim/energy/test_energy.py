"""Energies by hand, and the parts of runs."""

import json

import pytest

from hdl.spec.config import PRESETS
from sim.common.errors import UserError
from sim.energy.activity import Activity, joules
from sim.energy.constants import SETS
from sim.energy.estimate import estimate, parts_of, read_run
from sim.energy.machine import BLOCKS, DERIVED, Counted, blocks_of
from spatten import cli

TINY = PRESETS["tiny"]
NAMES = ("qk_useful", "qk_beats", "pv_beats", "topk_busy", "rows", "query_words", "key_words", "key_lsb_words")
COUNTERS = dict.fromkeys((*NAMES, "value_words"), 0)


def of(**counters):
    return blocks_of(Counted(counters=COUNTERS | counters, dim=32, key_bits=8, value_bits=4), TINY)


def test_every_unit_has_its_energy():
    energies = SETS["40nm"]
    assert Activity(multiplied=1024).picojoules(energies) == 12.68
    assert Activity(added=32).picojoules(energies) == 0.21
    assert Activity(registered=2).picojoules(energies) == 0.018
    assert Activity(stored=768).picojoules(energies) == pytest.approx(78.0)
    assert Activity(fetched=10).picojoules(energies) == pytest.approx(39.2)
    assert joules({"a": Activity(fetched=10)}, energies)["a"] == pytest.approx(39.2e-12)


def test_an_idle_machine_takes_nothing():
    idle = of()
    assert set(idle) == set(BLOCKS) == set(DERIVED)
    assert all(activity == Activity() for activity in idle.values())


def test_scores():
    """10 scores of 32 elements of 12 bits."""
    blocks = of(qk_useful=10)
    assert blocks["qk"].multiplied == 10 * 32 * 144
    assert blocks["softmax"].multiplied > 10 * 16 * TINY.score_width
    assert blocks["pv"] == blocks["dram"] == blocks["sram"] == Activity()


def test_words():
    """A word of 64 bits has 8 elements of K, or 16 of V; each becomes one of 12 bits."""
    assert of(key_words=1)["sram"].stored == 8 * 12
    assert of(value_words=1)["sram"].stored == 16 * 12
    assert of(key_lsb_words=1)["sram"].stored == 64
    assert of(query_words=1)["sram"].stored == 0
    for plane in ("query", "key", "key_lsb", "value"):
        assert of(**{f"{plane}_words": 3})["dram"].fetched == 3 * 64
    assert of(qk_beats=2)["sram"].stored == of(pv_beats=2)["sram"].stored == 2 * 32 * 12


def test_values():
    blocks = of(pv_beats=5)
    assert blocks["pv"].multiplied == 5 * 32 * 17 * 12
    assert of(rows=1)["pv"].multiplied == 32 * 17 * TINY.acc_width


def workload(**changes):
    """A run of ``spatten workload``, as far as it is read."""
    return {
        "preset": "tiny",
        "engine": "pysim",
        "cycles": 1000,
        "gflops_dense_equivalent": 4.0,
        "counters": COUNTERS | {"key_words": 100},
        "sizes": {"dim": 32, "key_bits": 8, "value_bits": 4},
        "facts": {"generated": 2},
    } | changes


def test_a_workload():
    [part] = parts_of(workload(), TINY)
    figures = part.to_json()
    bits = 100 * 64
    # DRAM, the buffer's writes, and four registers of the fetcher.
    want = 1e-12 * bits * (3.92 + 1.5 * 78 / 768 + 4 * 0.009)
    assert figures["joules"] == pytest.approx(want)
    assert figures["joules_high"] == pytest.approx(1e-12 * bits * (6.25 + 1.5 * 10 / 64 + 4 * 0.009))
    assert figures["joules_low"] == figures["joules"]
    assert figures["pj_per_token"] == pytest.approx(1e12 * want / 2)
    assert figures["gop_per_j"] == pytest.approx(4000e-9 / want)
    assert figures["gop_per_j_low"] < figures["gop_per_j"] == figures["gop_per_j_high"]
    assert figures["watts"] == pytest.approx(want / 1e-6) == sum(b["watts"] for b in figures["blocks"].values())


def test_prompt_and_generation_have_their_bits():
    layer = {"counters": COUNTERS | {"key_words": 1}, "dim": 32, "cycles": 10, "dense_macs": 5, "step": 0}
    run = {
        "preset": "tiny",
        "algorithm": {"attention": {"key_bits": 4, "value_bits": 4}, "prompt": {"key_bits": 8, "value_bits": 8}},
        "generated": "a b",
        "tokens": 7,
        "layers": [layer, layer],
        "generation_layers": [layer | {"step": 3}],
    }
    prompt, generation = parts_of(run, TINY)
    assert (prompt.name, prompt.tokens, prompt.cycles, prompt.operations) == ("prompt", 7, 20, 20)
    assert (generation.name, generation.tokens, generation.cycles) == ("generation", 3, 10)
    assert prompt.blocks["sram"].stored == 2 * 8 * 12
    assert generation.blocks["sram"].stored == 16 * 12
    run |= {"generated": None, "generation_layers": []}
    assert [part.name for part in parts_of(run, TINY)] == ["sentence"]


def test_the_command(tmp_path, capsys):
    run, out = tmp_path / "run.json", tmp_path / "energy.json"
    run.write_text(json.dumps(workload()))
    assert cli.main(["energy", str(run), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["kind"] == "estimated" and found["preset"] == "tiny"
    shown = capsys.readouterr().out
    assert "GOP/J" in shown and "estimated" in shown and "382" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("{", "must be the JSON of spatten run or workload"),
        ("[1]", "with preset, cycles, counters"),
        (json.dumps({"preset": "tiny", "cycles": 1}), "with preset, cycles, counters"),
        (json.dumps(workload(cycles=None, engine="golden")), "must be of an engine that counts cycles, not 'golden'"),
        (json.dumps(workload(preset="mine")), "--preset must be the file of configuration 'mine'"),
    ),
)
def test_what_is_no_run(tmp_path, text, message):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        estimate(read_run(path))
