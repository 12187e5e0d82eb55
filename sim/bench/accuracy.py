"""Bench ``accuracy``: quality against DRAM traffic of the tuned algorithms, and whole models on the RTL."""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim.bench.calls import bench_calls
from sim.bench.families import families
from sim.bench.record import Record, json_of
from sim.evaluate.texts import Places, gather

__all__ = ["bench_accuracy"]


def bench_accuracy() -> Iterator[Record]:
    """Quality against DRAM traffic of the tuned algorithms, and whole models on the RTL.

    Needs the folder SPATTEN_DATA with text/wikitext-2-valid.txt and sts/2014-*.tsv, sts/2015-*.tsv. All figures are of
    the second half of each file, and of the texts that ``spatten texts`` gathers; the algorithms were tuned on the
    first.
    """
    folder = _data_folder()
    text = str(folder / "text" / "wikitext-2-valid.txt")
    perplexity = ["eval", "ppl", "smollm2", "--text", text, "--windows", "32", "--part", "second"]
    for limit, algorithm in ((5, "smollm2-5pct"), (1, "smollm2-1pct"), (5, "smollm2-cascade")):
        figures, command = json_of([*perplexity, "--algorithm", algorithm])
        found = figures["ppl"] / figures["dense_ppl"] - 1
        strict = "" if algorithm != "smollm2-cascade" else "cascade."
        yield from _quality(
            "smollm2", f"{strict}dram_reduction_at_{limit}pct_ppl", figures, found, limit / 100, command
        )
    files = [str(path) for year in (2014, 2015) for path in sorted((folder / "sts").glob(f"{year}-*.tsv"))]
    figures, command = json_of(["eval", "sts", "minilm", *files, "--part", "second", "--algorithm", "minilm-1pt"])
    lost = figures["dense_spearman"] - figures["spearman"]
    yield from _quality("minilm", "dram_reduction_at_1pt_spearman", figures, lost, 1.0, command)
    yield from _rtl("minilm", ["--algorithm", "paper-bert"])
    with tempfile.TemporaryDirectory() as work:
        prompt = Path(work) / "prompt.txt"
        prompt.write_text(_beginning(Path(text), 512))
        yield from _rtl("smollm2", ["--text", f"@{prompt}", "--generate", "5", "--algorithm", "smollm2-5pct"])
        yield from _kinds(Path(work))
    yield from bench_calls()
    yield from _short_prompts(text)
    yield from _families()


_GOALS = {
    "dram_reduction_at_5pct_ppl": 10.0,
    "dram_reduction_at_5pct_ppl.worst_kind": 20.0,
    "dram_reduction_at_1pct_ppl.worst_kind": 9.0,
    "dram_reduction_at_1pt_spearman": 7.0,
}


_WINDOWS = ("--windows", "16", "--batch", "16", "--context", "928", "--generate", "64")
"""Of each kind of text."""
_NORMAL_90 = 1.645
"""Standard errors on either side of the mean that hold 90 % of a normal distribution."""


def _kinds(work: Path) -> Iterator[Record]:
    """Reductions on texts of several kinds that no algorithm was tuned on, gathered on this machine.

    The loss is the upper bound of the 90 % interval of a kind's mean. The worst kind's is that of the largest loss, and
    the reduction, all bytes counted, is the smallest of any kind; the mean has the mean over the kinds of both.
    """
    written = gather(work / "texts", Places.here(), size=400_000)
    if not written:
        raise ValueError("this machine must have texts that spatten texts can gather; it has none")
    for limit, algorithm in ((5, "smollm2-5pct"), (1, "smollm2-1pct")):
        found = {}
        for kind in written:
            text = work / "texts" / "second" / f"{kind}.txt"
            options = ["--text", str(text), *_WINDOWS, "--algorithm", algorithm]
            figures, command = json_of(["eval", "ppl", "smollm2", *options])
            bound = math.expm1(figures["ce_difference"] + _NORMAL_90 * figures["ce_difference_stderr"])
            found[kind] = bound, figures["dram_reduction_everything"], command.replace(str(work), "FOLDER")
        worst = max(found, key=lambda kind: found[kind][0])
        reductions = [reduction for _, reduction, _ in found.values()]
        summary = {
            "worst_kind": (min(reductions), found[worst][0]),
            "mean": (statistics.fmean(reductions), statistics.fmean(bound for bound, _, _ in found.values())),
        }
        for name, (reduction, loss) in summary.items():
            figures = {"dram_reduction": reduction}
            name = f"dram_reduction_at_{limit}pct_ppl.{name}"
            yield from _quality("smollm2", name, figures, loss, limit / 100, found[worst][2])


_SHORT = (1, 2, 4, 8, 16, 64, 256)
"""Tokens of short prompts; 64 tokens follow each."""
_SHORT_LIMITS = {"dense": 0.002, "smollm2-1pct": 0.01, "smollm2-5pct": 0.05}
"""Algorithm -> most perplexity that it may lose after any of them."""


def _short_prompts(text: str) -> Iterator[Record]:
    """The worst loss of each algorithm over the lengths of the prompt, mean of 64 windows."""
    for algorithm, limit in _SHORT_LIMITS.items():
        losses = {}
        for context in _SHORT:
            options = ["--windows", "64", "--batch", "32", "--context", str(context), "--generate", "64"]
            figures, command = json_of(["eval", "ppl", "smollm2", "--text", text, *options, "--algorithm", algorithm])
            losses[context] = figures["ppl_increase"], command
        loss, command = max(losses.values())
        name = f"smollm2.short_prompts.{'' if algorithm == 'dense' else algorithm.split('-')[1] + '.'}worst_loss"
        common: dict[str, Any] = {"preset": "paper", "memory": "none", "command": command}
        yield Record(name=name, value=loss, unit="", better="lower", goal=limit, **common)


def _data_folder() -> Path:
    folder = os.environ.get("SPATTEN_DATA", "")
    if not (Path(folder) / "text" / "wikitext-2-valid.txt").is_file() or not list(Path(folder).glob("sts/2014-*.tsv")):
        raise ValueError(f"SPATTEN_DATA must be a folder with text/wikitext-2-valid.txt and sts/*.tsv, not {folder!r}")
    return Path(folder)


def _quality(
    model: str, name: str, figures: dict[str, Any], loss: float, limit: float, command: str
) -> Iterator[Record]:
    """The reduction counts if the loss is within the limit, else it is 0; the loss is told beside it."""
    common: dict[str, Any] = {"preset": "paper", "memory": "none", "command": command}
    yield Record(
        name=f"{model}.{name}",
        value=figures["dram_reduction"] if loss <= limit else 0.0,
        unit="x",
        better="higher",
        goal=_GOALS.get(name),
        **common,
    )
    yield Record(name=f"{model}.{name}.loss", value=loss, unit="", better="lower", goal=limit, **common)


def _rtl(model: str, options: list[str]) -> Iterator[Record]:
    """A whole model on the RTL, every value against golden."""
    figures, command = json_of(["run", model, "--preset", "paper", "--engine", "verilator", *options])
    common: dict[str, Any] = {"better": "lower", "preset": "paper", "memory": "ideal", "command": command}
    yield Record(name=f"{model}.rtl_vs_golden.mismatches", value=figures["mismatches"], unit="values", goal=0, **common)
    yield Record(
        name=f"{model}.rtl_vs_golden.values_compared",
        value=figures["values_compared"],
        unit="values",
        goal=None,
        **common,
    )
    yield Record(name=f"{model}.rtl_vs_golden.cycles", value=figures["cycles"], unit="cycles", goal=None, **common)


def _families() -> Iterator[Record]:
    """Families of transformers that are right, refused and wrong; the last ones are told on stderr, too."""
    found = list(families())
    for family in found:
        if family.outcome == "wrong":
            print(f"wrong: {family.name}: {family.reason}", file=sys.stderr)
    for outcome, better, goal in (("right", "higher", 60.0), ("refused", "lower", None), ("wrong", "lower", 0.0)):
        yield Record(
            name=f"models.families_{outcome}",
            value=sum(family.outcome == outcome for family in found),
            unit="families",
            better=better,
            goal=goal,
            preset="paper",
            memory="none",
            command="spatten bench accuracy",
        )


def _beginning(path: Path, tokens: int) -> str:
    """The least beginning of a text, in whole words, that is so many tokens of SmolLM2."""
    from golden.models.load import CausalModel

    model, words = CausalModel.load("smollm2"), path.read_text(encoding="utf-8").split()
    count = tokens // 2
    while len(model.encode(" ".join(words[:count]))) < tokens:
        count += 1
    return " ".join(words[:count])
