"""Names of the records, the commands that make them, and what a loss beyond the limit does."""

import math

import pytest

from sim.bench import accuracy
from sim.bench.accuracy import bench_accuracy
from sim.bench.families import Family
from sim.bench.record import Record


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "wikitext-2-valid.txt").write_text("a b c")
    (tmp_path / "sts").mkdir()
    for name in ("2014-a.tsv", "2014-b.tsv", "2015-a.tsv"):
        (tmp_path / "sts" / name).write_text("")
    monkeypatch.setenv("SPATTEN_DATA", str(tmp_path))
    return tmp_path


def test_records(folder, monkeypatch, capsys):
    asked = []
    figures = {"dram_reduction": 11.0, "ppl": 10.4, "dense_ppl": 10.0, "dense_spearman": 80.0, "spearman": 78.0}
    figures |= {"mismatches": 0, "values_compared": 5, "cycles": 7}

    def json_of(arguments):
        asked.append(arguments)
        context = int(arguments[arguments.index("--context") + 1]) if "--context" in arguments else 0
        found = figures | {"ppl_increase": context % 5 / 1000}
        if any(word.endswith("source.txt") for word in arguments):
            found |= {"dram_reduction_everything": 24.0, "ce_difference": 0.02, "ce_difference_stderr": 0.02}
        if any(word.endswith("table.txt") for word in arguments):
            found |= {"dram_reduction_everything": 20.0, "ce_difference": -0.01, "ce_difference_stderr": 0.01}
        return found, f"spatten {' '.join(arguments)}"

    monkeypatch.setattr(accuracy, "json_of", json_of)
    kinds = {"source": (9, 9), "table": (9, 9)}
    monkeypatch.setattr(accuracy, "gather", lambda folder, places, size: kinds)
    monkeypatch.setattr(accuracy, "_beginning", lambda path, tokens: "text")
    outcomes = ["right", "right", "refused", "skipped", "wrong"]
    monkeypatch.setattr(accuracy, "families", lambda: [Family("one", outcome, "why") for outcome in outcomes])
    called = Record(name="calls", value=0, unit="", better="lower", goal=0, preset="", memory="", command="")
    monkeypatch.setattr(accuracy, "bench_calls", lambda: [called])
    records = {record.name: record for record in bench_accuracy()}
    reductions = [
        "smollm2.dram_reduction_at_5pct_ppl",
        "smollm2.dram_reduction_at_1pct_ppl",
        "smollm2.cascade.dram_reduction_at_5pct_ppl",
        "minilm.dram_reduction_at_1pt_spearman",
    ]
    runs = [
        f"{model}.rtl_vs_golden.{what}"
        for model in ("minilm", "smollm2")
        for what in ("mismatches", "values_compared", "cycles")
    ]
    counts = [f"models.families_{outcome}" for outcome in ("right", "refused", "wrong")]
    kinds = [f"smollm2.dram_reduction_at_{limit}pct_ppl.{name}" for limit in (5, 1) for name in ("worst_kind", "mean")]
    short = [f"smollm2.short_prompts.{name}worst_loss" for name in ("", "1pct.", "5pct.")]
    with_losses = [[name for one in names for name in (one, f"{one}.loss")] for names in (reductions, kinds)]
    assert list(records) == with_losses[0] + runs + with_losses[1] + ["calls"] + short + counts
    worst, mean = math.exp(0.02 + 1.645 * 0.02) - 1, (math.exp(0.0529) + math.exp(0.00645)) / 2 - 1
    losses = [records[f"{name}.loss"].value for name in kinds]
    assert losses == pytest.approx([worst, mean, worst, mean]), "upper bounds: 5.4 % and 3.0 %"
    assert [records[name].value for name in kinds] == [0.0, 22.0, 0.0, 0.0]
    assert [records[name].goal for name in kinds] == [20.0, None, 9.0, None]
    assert all(" FOLDER/texts/second/source.txt " in records[name].command for name in kinds), "the worst one's"
    assert [(records[name].value, records[name].goal) for name in short] == [(0.004, x) for x in (0.002, 0.01, 0.05)]
    assert all("--context 64 --generate 64" in records[name].command for name in short), "the worst one's"
    assert [records[name].value for name in counts] == [2, 1, 1] and not records["models.families_wrong"].met
    assert capsys.readouterr().err == "wrong: one: why\n"
    assert [records[name].value for name in reductions] == [11.0, 0.0, 11.0, 0.0], "no reduction beyond the loss"
    assert [records[name].goal for name in reductions] == [10.0, None, None, 7.0]
    assert records["minilm.dram_reduction_at_1pt_spearman.loss"].value == 2.0
    assert [arguments[:2] for arguments in asked] == [["eval", "ppl"]] * 3 + [["eval", "sts"]] + [
        ["run", "minilm"],
        ["run", "smollm2"],
    ] + [["eval", "ppl"]] * (4 + 21)
    assert [name.rpartition("/")[2] for name in asked[3] if name.endswith(".tsv")] == [
        "2014-a.tsv",
        "2014-b.tsv",
        "2015-a.tsv",
    ]
    assert records["minilm.rtl_vs_golden.cycles"].command == f"spatten {' '.join(asked[4])}"


def test_the_folder_is_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("SPATTEN_DATA", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"SPATTEN_DATA must be a folder with text/wikitext-2-valid.txt and sts/\*.tsv"
    ):
        next(bench_accuracy())
