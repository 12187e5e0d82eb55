"""``spatten rivals``: A3, MNNFast, dense attention and SpAtten on the same rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from sim.common.console import console_of
from sim.common.errors import UserError
from sim.common.files import check_distinct, check_writable, write_text
from sim.rivals.request import RivalsRequest
from spatten.commands.preset import load_config
from spatten.commands.request import takes

if TYPE_CHECKING:
    from hdl.spec.config import Config
    from sim.evaluate.task import Task
    from sim.rivals.compare import Comparison

__all__ = ["rivals"]

_ALGORITHMS = {True: "smollm2-5pct", False: "minilm-1pt"}
"""SpAtten's algorithm of language models, and of encoders."""


@takes(RivalsRequest)
def rivals(request: RivalsRequest) -> None:
    """Compare SpAtten with A3, MNNFast and dense attention on the same rows, one way of counting for all."""
    from golden.models.errors import ModelError

    if request.json_path is not None:
        check_writable("--json", request.json_path)
    check_distinct(
        {"--json": request.json_path},
        {"--text": request.text, "--workload": request.workload, "--preset": request.preset},
    )
    if (request.model is None) == (request.workload is None):
        both = "both of them" if request.model else "none"
        raise UserError(f"--model or --workload must be given, not {both}")
    if request.limit is not None and request.limit < 1:
        raise UserError(f"--limit must be at least 1, not {request.limit}")
    config = load_config(request.preset)
    try:
        with Console(stderr=True).status("rivals") as status:
            found = _compare(request, config, status.update)
    except ModelError as error:
        raise UserError(str(error)) from None
    figures = found.to_json()
    _print(console_of(), figures)
    if request.json_path is not None:
        write_text(request.json_path, json.dumps(figures | _facts(), indent=2) + "\n")
        typer.echo(f"{request.json_path}")


def _compare(request: RivalsRequest, config: Config, progress: Any) -> Comparison:
    from sim.rivals.compare import compare_models
    from sim.rivals.workloads import compare_workload
    from sim.workload.workload import WorkloadError

    if request.workload is not None:
        if request.text is not None or request.algorithm is not None:
            name = "--text" if request.text is not None else "--algorithm"
            raise UserError(f"{name} must come with --model only: the rows of a workload say what is pruned")
        try:
            return compare_workload(request.workload, config, limit=request.limit, progress=progress)
        except WorkloadError as error:
            raise UserError(str(error)) from None
    task = _task(request, config)
    return compare_models(task, _algorithm(request, task), config=config, progress=progress)


def _task(request: RivalsRequest, config: Config) -> Task:
    """Windows of a text for a language model, pairs of sentences for an encoder."""
    from golden.models.load import CausalModel, load_model
    from sim.evaluate.perplexity import PerplexityTask
    from sim.evaluate.sentences import SentenceTask

    model, text = str(request.model), request.text
    if text is None:
        raise UserError("--text must name the file to compare on: a text, or of an encoder pairs of sentences")
    if not isinstance(load_model(model), CausalModel):
        task = SentenceTask.read(model, [Path(text)], config, part=request.part, batch=request.batch)
        return task if request.limit is None else task.first(request.limit)
    if request.limit is not None:
        raise UserError(f"--limit must come with pairs of sentences or --workload, not with {model}: --windows")
    if request.generate < 2:
        raise UserError(f"--generate must be at least 2, so that there is a step of generation, not {request.generate}")
    sizes = {name: getattr(request, name) for name in ("context", "generate", "windows", "part", "batch")}
    return PerplexityTask.read(model, text, config, **sizes)


def _algorithm(request: RivalsRequest, task: Task) -> Any:
    from golden.host.algorithm import Algorithm

    try:
        algorithm = Algorithm.load(request.algorithm or _ALGORITHMS[task.CAUSAL])
        task.check(algorithm)
    except ValueError as error:
        raise UserError(f"--algorithm: {error}") from None
    return algorithm


def _facts() -> dict[str, Any]:
    from sim.common.revision import revision

    return {"command": " ".join(["spatten", *sys.argv[1:]]), "git_revision": revision()}


# What is printed -----------------------------------------------------------------------------------------------


def _print(console: Console, figures: dict[str, Any]) -> None:
    columns = figures["columns"]
    table = Table(
        "", *columns, title=f"{figures['rows']:,} rows, {2 * figures['dense_products']:,} operations if dense"
    )
    for title, cell in _LINES:
        table.add_row(title, *(cell(column) for column in columns.values()))
    if "spearman" in columns["dense"]:
        lost = [f"{column['spearman']:.4f}" for column in columns.values()]
        table.add_row(f"Spearman (float {columns['dense']['dense_spearman']:.4f})", *lost)
    if "ppl" in columns["dense"]:
        found = [f"{column['ppl']:.2f} ({100 * column['ppl_increase']:+.1f} %)" for column in columns.values()]
        table.add_row(f"perplexity (float {columns['dense']['dense_ppl']:.2f})", *found)
    console.print(table)
    quoted = ", ".join(f"{name} {value:g}" for name, value in figures["quoted"]["gops"].items())
    console.print(
        f"quoted, Table III: {quoted} GOP/s, where A3 counts one operation a multiplication and SpAtten two; "
        "SpAtten's eighth 382 GOP/J",
        highlight=False,
    )
    for device, found in figures["pytorch"].items():
        time = f"{1e3 * found['seconds']:,.4g} ms, {found['gops']:,.4g} GOP/s"
        console.print(f"PyTorch, fp32, {device} ({found['name']}), the same attention: {time}", highlight=False)
    if "cuda" not in figures["pytorch"] and figures["pytorch"]:
        console.print("no CUDA here: no time of a GPU", highlight=False)


_LINES = (
    ("cycles", lambda column: f"{column['cycles']:,.0f}"),
    ("… if sorting were free", lambda column: f"{column['cycles_without_sorting']:,.0f}"),
    ("effective GOP/s", lambda column: f"{column['gops']:,.1f}"),
    ("… as Table III counts", lambda column: f"{column['gops_as_table3_counts']:,.1f}"),
    ("bytes", lambda column: f"{column['bytes']:,.0f}"),
    ("keys scored", lambda column: f"{column['scored_share']:.1%}"),
    ("V rows kept", lambda column: f"{column['kept_share']:.1%}"),
    ("µJ, estimated", lambda column: f"{1e6 * column['joules']:,.4g}"),
    (
        "GOP/J, estimated",
        lambda column: f"{column['gop_per_j']:,.0f} ({column['gop_per_j_low']:,.0f}-{column['gop_per_j_high']:,.0f})",
    ),
)
"""Lines of the table: title, and its cell of a column."""
