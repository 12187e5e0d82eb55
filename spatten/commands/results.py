"""``spatten results``: docs/results.md, made of the records of the last complete benches in docs/results."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from golden.host.cache import source_digest
from sim.common.errors import UserError
from sim.common.files import write_text

__all__ = ["FOLDER", "PAGE", "hardware_digest", "is_older", "load", "merge", "number_of", "render", "results", "take"]

FOLDER = Path("docs/results")
PAGE = Path("docs/results.md")

TITLES = {
    "core": ("The core", "Blocks of preset `paper` and short runs."),
    "workloads": (
        "Workloads",
        "GPT-2 workloads of the paper's authors (WikiText-2, 32 tokens generated after 992, 12 layers of 12 heads) and "
        "BERT shapes, completely in RTL simulation, at 1 GHz ([workload.md](workload.md)). Every flat flag and a "
        "sample of at least 1 % of the rows are compared with golden.",
    ),
    "accuracy": (
        "Accuracy",
        "Models without fine-tuning, on the second half of each text; the algorithms were tuned on the first half "
        "([accuracy.md](accuracy.md)). DRAM counts the bytes of Q, K and V against dense attention in fp32.",
    ),
    "fpga": (
        "On an FPGA",
        "Link, SDRAM controller and core on an LFE5U-85F of speed grade 6 ([fpga.md](fpga.md)). Rates are of cycles "
        "counted in Verilator, at the clock of the same table; they were not measured on a board. Where the memory is "
        "*stall 0.75*, random stalls stand for the SDRAM's 16 bits per cycle.",
    ),
    "ip": ("As an IP", "What goes into somebody else's design ([simulation.md](simulation.md#verilog-and-lint))."),
    "long": (
        "Contexts of any length",
        "Random operands of one layer, each head a chain of jobs ([chains.md](chains.md)): the share of what the "
        "arrays or the memory allow at best that RTL simulation reaches, every output compared with golden.",
    ),
    "rivals": (
        "Beside A3 and MNNFast",
        "The same rows of the same models, 128 multipliers, 64 bytes a cycle, 1 GHz, operations of dense attention "
        "over the time ([rivals.md](rivals.md)). A3, MNNFast and dense attention are models without latencies of "
        "memory; SpAtten's cycles are of the analytic model of its RTL, latencies included. Energy is estimated. "
        "SpAtten's goals are the best figures of the systems whose quality is at least its own.",
    ),
    "silicon": (
        "Silicon",
        "Area and clock in NanGate's open cells of 45 nm, memories by CACTI, area scaled to the paper's 40 nm, before "
        "layout ([asic.md](asic.md)). Energy is estimated from the counters of runs on the RTL "
        "([energy.md](energy.md)), DRAM included.",
    ),
    "verification": (
        "Verification",
        "Hostile campaigns against the whole core, over all releases ([verification.md](verification.md#attacks)).",
    ),
}
"""File in FOLDER -> heading and introduction of its tables."""

FIELDS = {"name", "value", "unit", "better", "goal", "met", "preset", "memory", "command", "revision"}
"""Of every record, as ``spatten bench`` writes them; ``hardware`` may be missing."""


class Row(NamedTuple):
    """What a row means. name: pattern of the record's name; why: page that says why the goal is missed."""

    name: str
    what: str
    why: str = ""


FULL_SIZE, SHORT_RUNS = "performance.md#the-full-size-machine", "performance.md#short-runs-of-generation"
ATTACKS = "verification.md#attacks"
ROWS = (
    Row(r"qk_utilization\.n(\d+)", r"useful share of the Q×K lanes, BERT-like, \1 keys, D = 64"),
    Row(r"qk_utilization\.n(\d+)_keep(\d+)", r"useful share of the Q×K lanes, BERT-like, \1 keys, \2 % of V kept"),
    Row(
        r"generation\.n(\d+)\.fraction_of_limit",
        r"generation, 12 heads of \1 tokens, 6+4 bits, 30 % of V kept: share of the physical limit",
        SHORT_RUNS,
    ),
    Row(r"topk\.n(\d+)\.(\w+)\.(\w+)\.mean", r"quick-select, \1 scores (\2), k = \3 of the row: mean"),
    Row(r"topk\.n(\d+)\.(\w+)\.(\w+)\.p99", r"quick-select, \1 scores (\2), k = \3 of the row: 99th percentile"),
    Row(r"verilator\.paper\.build_seconds", "build of the Verilator model from nothing"),
    Row(r"verilator\.paper\.cycles_per_second", "simulated cycles per second of wall time", FULL_SIZE),
    Row(r"per8\.cycles", "GPT-2 with all techniques, 4,608 heads (limit 196,103)", FULL_SIZE),
    Row(
        r"per8\.gflops",
        "GPT-2 with all techniques: products that are needed, per second (paper: 430, mean of its GPT-2 tasks)",
        FULL_SIZE,
    ),
    Row(r"(per8|dense)\.fraction_of_limit", r"GPT-2, \1: share of the physical limit", FULL_SIZE),
    Row(
        r"(per8|dense)\.hbm2\.fraction_of_deliverable",
        r"GPT-2, \1: share of what the channels can deliver, same order and window",
        FULL_SIZE,
    ),
    Row(
        r"(per8|dense)\.hbm2\.fraction_of_wide_window",
        r"GPT-2, \1: share of what the channels can deliver, same order, at least 256 words in flight",
        FULL_SIZE,
    ),
    Row(
        r"(per8|dense)\.hbm2\.fraction_of_peak",
        r"GPT-2, \1: share of the fullest channel's peak, less refresh",
        FULL_SIZE,
    ),
    Row(r"(per8|dense)\.hbm2\.cycles", r"GPT-2, \1: cycles with HBM2", FULL_SIZE),
    Row(r"bert\.mixed\.utilization", "BERT, 12 heads, D = 64, 20 to 60 tokens mixed: share of 2.048 TFLOPS"),
    Row(r"bert\.L(\d+)\.utilization", r"BERT, \1 tokens: share of 2.048 TFLOPS (paper: 0.79)"),
    Row(
        r"eighth\.effective_gops",
        "per8: products of dense attention over the time taken (paper: 360; A3: 221; MNNFast: 120)",
    ),
    Row(r"topk\.exposed_cycles\.mean", "1,024 keys, 30 % of V kept: cycles in which a row waits for top-k"),
    Row(r"crossbar\.keep(\d+)\.fraction_of_peak", r"channels used, the same random \1 % of 1,024 tokens in every head"),
    Row(
        r"model\.max_error",
        "analytic model of cycles: largest error against the runs of this table",
        "model.md#checked-against-the-rtl",
    ),
    Row(r"(\w+)\.dram_reduction_at_(\d+)(pct_ppl|pt_spearman)", "times fewer bytes, within the limit of the loss"),
    Row(
        r"smollm2\.dram_reduction_at_(\d+)pct_ppl\.worst_kind",
        "times fewer bytes, ids and scales too, within the limit of the loss on every kind of text",
    ),
    Row(
        r"smollm2\.dram_reduction_at_(\d+)pct_ppl\.mean",
        "the same: mean over the kinds of text, within the limit of the mean loss",
    ),
    Row(
        r"smollm2\.dram_reduction_at_(\d+)pct_ppl\.(worst_kind|mean)\.loss",
        "relative increase of the perplexity, upper bound of the 90 % interval",
    ),
    Row(
        r"smollm2\.cascade\.dram_reduction_at_(\d+)pct_ppl",
        "times fewer bytes with one set of survivors for all heads, within the limit of the loss",
    ),
    Row(r".+\.dram_reduction_at_(\d+)pct_ppl\.loss", "relative increase of the perplexity"),
    Row(r".+\.dram_reduction_at_(\d+)pt_spearman\.loss", "points of Spearman's correlation lost"),
    Row(r".+\.dram_reduction_with_prompt", "times fewer bytes, prompt and generation"),
    Row(r".+\.rtl_vs_golden\.mismatches", "whole model on the RTL: values that differ from golden"),
    Row(r".+\.rtl_vs_golden\.values_compared", "whole model on the RTL: values compared"),
    Row(r".+\.rtl_vs_golden\.cycles", "whole model on the RTL: cycles"),
    Row(
        r"smollm2\.calls\.one_token\.mismatches",
        "prompt of one token and 16 steps on the RTL: values that differ from golden",
    ),
    Row(r"smollm2\.calls\.beams\.mismatches", "three beams on the RTL: values that differ from golden"),
    Row(
        r"smollm2\.calls\.padded_batch\.mismatches",
        "batch of three texts, padded, on the RTL: values that differ from golden",
    ),
    Row(
        r"smollm2\.calls\.window\.mismatches",
        "weights of SmolLM2 with a sliding window of 8 tokens on the RTL: values that differ from golden",
    ),
    Row(r"smollm2\.calls\.(\w+)\.values_compared", "values compared"),
    Row(
        r"smollm2\.short_prompts\.(.*)worst_loss",
        "relative increase of the perplexity, at the worst of seven lengths of the prompt, 1 to 256 tokens",
    ),
    Row(r"models\.families_right", "families of models whose logits are those of their own attention within 1 %"),
    Row(r"models\.families_refused", "families of models that are refused in one line"),
    Row(r"models\.families_wrong", "families of models that are wrong without a word"),
    Row(r"(.+)\.fmax_mhz", "clock"),
    Row(r".+\.seed(\d)\.fmax_mhz", r"clock with seed \1"),
    Row(r"block\.(\w+)\.fmax_mhz", "clock of the block alone ([single blocks](fpga.md#single-blocks))"),
    Row(r".+\.lut", "LUT4, of 83,640"),
    Row(r".+\.ff", "flip-flops, of 83,640"),
    Row(r".+\.dsp", "MULT18X18D, of 156"),
    Row(r".+\.bram", "block RAMs, of 208"),
    Row(r".+\.gops", "12 heads of 128 tokens, unpruned"),
    Row(r".+\.gops_per_dsp", "12 heads of 128 tokens, unpruned, per multiplier of the chip"),
    Row(r".+\.operations_per_cycle", "12 heads of 128 tokens, unpruned: operations per cycle"),
    Row(r".+\.minilm\.cycles.*", "attention of MiniLM, 6 layers, 33 tokens"),
    Row(r".+\.minilm\.tokens_per_s.*", "attention of MiniLM"),
    Row(r".+\.smollm2\.prompt_cycles.*", "attention of SmolLM2, 30 layers: prompt of 31 tokens"),
    Row(r".+\.smollm2\.generation_cycles.*", "attention of SmolLM2, 30 layers: 15 steps of generation"),
    Row(r".+\.smollm2\.prompt_tokens_per_s.*", "attention of SmolLM2: tokens of the prompt"),
    Row(r".+\.smollm2\.tokens_per_s.*", "attention of SmolLM2: generated tokens"),
    Row(r"axi\.(\w+)\.mismatches", "whole model on the AXI top: values that differ from golden"),
    Row(r"axi\.lut_ulx3s", "LUT4 of the ECP5 that `spatten_axi` takes beside its core"),
    Row(r"axi\.layer_gap_cycles", "that a layer of generation takes longer with commands in memory than with streams"),
    Row(r"axi\.per8\.overhead", "cycles that the authors' workload takes longer on the AXI top than with streams"),
    Row(
        r"axi\.per8\.latency100_16x16\.fraction",
        "speed of the authors' workload on the AXI top, 16 bursts of 16 in flight, latency 100, of that with streams",
    ),
    Row(r"axi\.host_ms_per_layer_token", "process time of the host a layer and token, SmolLM2 at 512 tokens"),
    Row(r"axi\.cocotb\.faults", "faults of the bus, of commands and of software, injected at random"),
    Row(r"axi\.cocotb\.hangs", "rounds of such faults in which nothing moved any more"),
    Row(r"axi\.cocotb\.wrong", "rounds of such faults that did not end as they had to"),
    Row(r"litex\.mismatches", "words that the firmware of a simulated SoC finds other than golden's"),
    Row(r"rivals\.(\w+)\.(\w+)\.gops", r"\1, `\2`: effective GOP/s", "rivals.md#measured"),
    Row(r"rivals\.(\w+)\.(\w+)\.bytes", r"\1, `\2`: bytes", "rivals.md#measured"),
    Row(r"rivals\.minilm\.(\w+)\.loss", r"minilm, `\1`: points of Spearman's correlation lost"),
    Row(r"rivals\.smollm2\.(\w+)\.loss", r"smollm2, `\1`: relative increase of the perplexity"),
    Row(r"rivals\.(\w+)\.(\w+)\.gop_per_j", r"\1, `\2`: GOP/J, estimated", "rivals.md#measured"),
    Row(r"energy\.per8\.gop_per_j", "the authors' GPT-2 workload: GOP/J, estimated (paper: 382)", "energy.md"),
    Row(r"(\w+)\.area_mm2\.(\w+)", r"area of `\2`, estimated at 40 nm"),
    Row(r"paper\.area_mm2\.total", "area of the whole, estimated at 40 nm (paper: 18.71)", "asic.md#measured"),
    Row(r"eighth\.area_mm2\.total", "area of the whole, estimated at 40 nm (paper: 1.55)", "asic.md#measured"),
    Row(r"paper\.area_mm2\.qk_pv", "area of Q×K and prob×V with K and V, estimated at 40 nm", "asic.md#measured"),
    Row(r"eighth\.clock_mhz\.45nm", "clock of the slowest block, NanGate 45 nm, typical", "asic.md#measured"),
    Row(r"energy\.(\w+)\.watts\.(\w+)", r"watts of `\2` at 1 GHz, estimated, \1"),
    Row(r"energy\.bert\.gop_per_j", "BERT, 128 tokens, unpruned, 12 bits: GOP/J, estimated"),
    Row(r"attack\.rows", "rows of random jobs and layers, compared with golden", ATTACKS),
    Row(r"attack\.values", "values of these, compared", ATTACKS),
    Row(r"attack\.faults", "commands that had to be refused, each with its code, and resets in mid-run"),
    Row(r"attack\.mismatches", "values, codes and results that were not as they had to be"),
    Row(r"attack\.hangs", "runs in which nothing moved any more"),
    Row(r"verilog\.(\w+)_mb", r"Verilog of preset `\1`, 1 MB = 10⁶ bytes"),
)
"""The last row whose pattern is the whole name of a record describes it."""

HEAD = """\
# Results

`spatten results` makes this page from the records in `docs/results/`; do not edit it by hand.
Each record is written by the command above its table, at the revision in its row.
A row with † is older than the hardware of digest `{hardware}`:
the code of `hdl/spatten.py` and of what it imports has changed since,
or the record does not name it.
`spatten results` compares with the hardware of today,
and `spatten results --from build/bench` takes over the records of new benches.
"""


def hardware_digest() -> str:
    """Of all sources that shape the core, as records name it."""
    return source_digest("hdl/spatten.py")[:12]


def is_older(record: dict[str, Any], hardware: str) -> bool:
    """Whether the record was measured on other hardware, or does not say on which."""
    return record.get("hardware") != hardware


def load(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Records of the benches whose files are there."""
    found = {}
    for name in TITLES:
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        try:
            records = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} must be a JSON file of records: {error}") from None
        for record in records if isinstance(records, list) else [records]:
            missing = sorted(FIELDS - set(record)) if isinstance(record, dict) else sorted(FIELDS)
            if missing:
                raise UserError(f"{path} must have {', '.join(missing)} in each record, not {str(record)[:60]}")
        found[name] = records
    return found


def merge(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """``new``, then what is only in ``old``; a record is the same by name, preset and memory."""

    def key(record):
        return record["name"], record["preset"], record["memory"]

    replaced = {key(record) for record in new}
    return [*new, *(record for record in old if key(record) not in replaced)]


def _portable(record: dict[str, Any]) -> dict[str, Any]:
    """The record without folders of this machine in its command: data are in the folder SPATTEN_DATA."""
    command = re.sub(r"/\S*/(text|sts|workloads|liberty)/", r"$SPATTEN_DATA/\1/", record["command"])
    return {**record, "command": re.sub(r"@/\S*/", "@", command)}


def take(source: Path, folder: Path) -> list[str]:
    """Merge the records of new benches into the folder; the names of these benches."""
    new = load(source)
    if not new:
        raise UserError(f"--from must be a folder with {', '.join(f'{n}.json' for n in TITLES)}, not {str(source)!r}")
    old = load(folder)
    for name, records in new.items():
        merged = merge(old.get(name, []), [_portable(record) for record in records])
        write_text(folder / f"{name}.json", json.dumps(merged, indent=2) + "\n")
    return list(new)


def _row_of(name: str) -> Row:
    return next((row for row in reversed(ROWS) if re.fullmatch(row.name, name)), Row(name, ""))


def number_of(value: float) -> str:
    """As the page writes it: four digits, whole numbers in full."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _line(record: dict[str, Any], hardware: str) -> str:
    row = _row_of(record["name"])
    what = re.sub(row.name, row.what, record["name"]) if row.what else ""
    goal = (
        "" if record["goal"] is None else f"{'≥' if record['better'] == 'higher' else '≤'} {number_of(record['goal'])}"
    )
    met = {None: "", True: "yes", False: f"**no**: [why]({row.why})" if row.why else "**no**"}[record["met"]]
    revision = f"`{record['revision']}`{' †' if is_older(record, hardware) else ''}"
    unit = "" if record["unit"] == "fraction" else f" {record['unit']}"
    cells = (
        f"{what}<br>`{record['name']}`" if what else f"`{record['name']}`",
        f"{number_of(record['value'])}{unit}".strip(),
        goal,
        met,
        f"`{record['preset']}`, {record['memory']}",
        revision,
    )
    return f"| {' | '.join(cells)} |"


def _wrapped(text: str) -> str:
    """A sentence begins a line of at most 100 columns."""
    sentences = re.split(r"(?<=\.) (?=[A-Z])", text)
    return "\n".join(textwrap.fill(sentence, 100, break_long_words=False) for sentence in sentences)


def _tables(records: Iterable[dict[str, Any]], hardware: str) -> str:
    """A table for each command, in the order of the records."""
    by_command: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_command.setdefault(record["command"], []).append(record)
    parts = []
    for command, found in by_command.items():
        lines = [_line(record, hardware) for record in found]
        head = "| What, and name of the record | Value | Goal | Met | Preset, memory | Revision |\n" + 6 * "|---" + "|"
        parts.append("\n".join((f"```\n{command}\n```\n", head, *lines)))
    return "\n\n".join(parts)


def render(records: dict[str, list[dict[str, Any]]], hardware: str) -> str:
    """The page; rows of other hardware than this digest are marked."""
    parts = [HEAD.format(hardware=hardware)]
    for name, (title, introduction) in TITLES.items():
        if name in records:
            parts.append(f"## {title}\n\n{_wrapped(introduction)}\n\n{_tables(records[name], hardware)}\n")
    return "\n".join(parts)


def results(
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of new benches, build/bench; their records replace old ones.")
    ] = None,
) -> None:
    """Make docs/results.md from the records in docs/results, and say which are older than the hardware."""
    if not FOLDER.is_dir():
        raise UserError(f"spatten results must run in a checkout, where {FOLDER} is; it is not in {Path.cwd()}")
    if source is not None:
        typer.echo(f"taken from {source}: {', '.join(take(source, FOLDER))}")
    records, hardware = load(FOLDER), hardware_digest()
    write_text(PAGE, render(records, hardware))
    for name, found in records.items():
        old = [record["name"] for record in found if is_older(record, hardware)]
        typer.echo(f"{name}: {len(found)} records, {len(old)} older than the hardware {hardware}")
        for record_name in old:
            typer.echo(f"  {record_name}")
    typer.echo(f"{PAGE}")
