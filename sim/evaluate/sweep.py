"""Many settings of an algorithm: all combinations of some fields, on all cores or on a cluster, and their trade-off."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golden.host.algorithm import Algorithm
from golden.layers.quantize import AttentionSettings
from sim.common.errors import UserError
from sim.common.files import read_text
from sim.common.options import parse_ratios, parse_split
from sim.evaluate.units import Answer, Run, Unit, WorkerError, compute, forget_model

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "FIELDS",
    "Curve",
    "Point",
    "connect",
    "draw",
    "on_cluster",
    "on_cores",
    "pareto",
    "plot_paths",
    "points_of",
    "read_fields",
    "threads_of",
]


# Points --------------------------------------------------------------------------------------------------------

_ATTENTION = tuple(field.name for field in dataclasses.fields(AttentionSettings))
_RATIOS = ("token_keep", "head_keep")

FIELDS = (
    "algorithm",
    "split",
    *_ATTENTION,
    *(field.name for field in dataclasses.fields(Algorithm) if field.name != "attention"),
)
"""What can be varied: all fields of an algorithm and of its attention, K's widths at once, and the algorithm itself."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One combination."""

    varied: dict[str, Any]
    """value of each varied field, as it was given"""
    algorithm: Algorithm

    @property
    def texts(self) -> dict[str, str]:
        """Fields as the command line has them."""
        return {name: _text(value) for name, value in self.varied.items()}

    @property
    def label(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.texts.items())

    @property
    def option(self) -> str:
        """What the user wrote to get this point, for errors about it."""
        return _option(self.varied)


def _option(varied: dict[str, Any]) -> str:
    fields = [f"{name}={_text(value)}" for name, value in varied.items()]
    return " ".join(["--vary", *fields]) if fields else "--algorithm"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_fields(file: Path | None, vary: Sequence[str]) -> dict[str, list[Any]]:
    """Values of each field, of a JSON file {field: [value, …]} and of ``field=a,b,c`` of the command line."""
    fields: dict[str, list[Any]] = {}
    if file is not None:
        try:
            data = json.loads(read_text(file, "--sweep file"))
        except json.JSONDecodeError as error:
            raise UserError(f"--sweep file {str(file)!r} is not JSON: {error}") from None
        if not isinstance(data, dict) or not all(isinstance(values, list) for values in data.values()):
            raise UserError(f"--sweep file {str(file)!r} must have an object {{field: [value, …], …}}")
        fields |= data
    for text in vary:
        name, equals, values = text.partition("=")
        if not equals:
            raise UserError(f"--vary must be field=value,value,…, not {text!r}")
        if name in fields:
            raise UserError(f"--vary must name a field once, not {name!r} again")
        fields[name] = [_value(part.strip()) for part in values.split(",")]
    for name, values in fields.items():
        if name not in FIELDS:
            raise UserError(f"--vary must name one of {', '.join(FIELDS)}, not {name!r}")
        if not values or "" in values:
            raise UserError(f"--vary {name} must have values, not {_text(values)}")
    return fields


def _value(text: str) -> Any:
    """A number, true or false; or else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def points_of(base: str, fields: dict[str, list[Any]]) -> list[Point]:
    """All combinations of the fields' values, as changes of the algorithm ``base``; equal ones once."""
    points: dict[str, Point] = {}
    for values in itertools.product(*fields.values()):
        varied = dict(zip(fields, values, strict=True))
        algorithm = _changed(base, varied)
        points.setdefault(algorithm.to_json(), Point(varied, algorithm))
    return list(points.values())


def _changed(base: str, varied: dict[str, Any]) -> Algorithm:
    """The algorithm with other values of some fields."""
    changes = dict(varied)
    try:
        data = json.loads(Algorithm.load(str(changes.pop("algorithm", base))).to_json())
    except ValueError as error:
        raise UserError(f"--algorithm: {error}") from None
    try:
        if "split" in changes:
            changes["key_bits"], changes["key_lsb_bits"] = parse_split(_text(changes.pop("split")))
        for field, value in changes.items():
            part = data["attention"] if field in _ATTENTION else data
            part[field] = _ratios(field, value) if field in _RATIOS else value
        return Algorithm.from_json(json.dumps(data))
    except ValueError as error:
        raise UserError(f"{_option(varied)}: {error}") from None


def _ratios(field: str, value: Any) -> Any:
    """``R`` and ``START:END`` as the JSON of a schedule; lists and objects are that already."""
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        ratios = parse_ratios(field, str(value))
        return dataclasses.asdict(ratios) if dataclasses.is_dataclass(ratios) else ratios
    return value


# Processes -----------------------------------------------------------------------------------------------------


def on_cores(workers: int) -> Run:
    """Computes on so many processes of this machine, of one thread each; they start with the first unit."""

    def run(units: Sequence[Unit]) -> Iterator[tuple[Unit, Answer]]:
        from distributed import Client, LocalCluster

        forget_model()
        options: dict[str, Any] = {"n_workers": min(workers, len(units)), "threads_per_worker": 1, "memory_limit": 0}
        quiet: dict[str, Any] = {"dashboard_address": "localhost:0", "silence_logs": logging.CRITICAL}
        with _uninterrupted():
            cluster = LocalCluster(**options, **quiet)
        with cluster, Client(cluster) as client:
            yield from _submit(client, units)

    return run


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that start here do not hear the user's Ctrl-C: it is for the one that started them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_PATIENCE = 10.0
"""Seconds to wait for a scheduler."""


@contextlib.contextmanager
def connect(address: str) -> Iterator[Client]:
    """A client of a running scheduler; UserError if it does not answer or has no workers."""
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"--scheduler {address!r} cannot be reached: {reason[0]}") from None
    with client:
        if not threads_of(client):
            raise UserError(f"--scheduler {address!r} must have workers, not none")
        yield client


def threads_of(client: Client) -> int:
    """Of all workers."""
    threads: Any = client.nthreads()
    return sum(threads.values())


def on_cluster(client: Client) -> Run:
    """Computes on the workers of a cluster."""

    def run(units: Sequence[Unit]) -> Iterator[tuple[Unit, Answer]]:
        forget_model()
        yield from _submit(client, units)

    return run


def _submit(client: Client, units: Sequence[Unit]) -> Iterator[tuple[Unit, Answer]]:
    from distributed import KilledWorker, as_completed

    # The answer depends on the unit, and a journal keeps it: dask shall not keep it, too.
    futures = {client.submit(compute, unit, pure=False): unit for unit in units}
    try:
        for future, answer in as_completed(futures, with_results=True):
            yield futures.pop(future), answer
            future.release()
    except KilledWorker:
        raise WorkerError("workers end while they compute (is there enough memory?)") from None
    except CancelledError:
        raise WorkerError("the scheduler is gone") from None
    finally:
        client.cancel(list(futures))


# Trade-off -----------------------------------------------------------------------------------------------------


def pareto(costs: Sequence[tuple[float, float]]) -> list[bool]:
    """Of (reduction, loss): which have no other with at least their reduction and at most their loss."""
    return [
        not any(other != point and other[0] >= point[0] and other[1] <= point[1] for other in costs) for point in costs
    ]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points of a trade-off; loss is what dense attention has 0 of."""

    title: str
    loss_name: str
    reduction: list[float]
    loss: list[float]
    labels: list[str]

    @property
    def front(self) -> list[int]:
        """Numbers of the points on the Pareto front, by reduction."""
        best = pareto(list(zip(self.reduction, self.loss, strict=True)))
        return sorted((index for index, good in enumerate(best) if good), key=lambda index: self.reduction[index])


_REDUCTION = "DRAM reduction against fp32 dense attention (×)"
_COLOURS = ("#7a8594", "#0067a5")
"""Of points, and of the front; told apart by shape, too."""


def plot_paths(stem: Path) -> list[Path]:
    """Files that :func:`draw` makes."""
    return [stem.with_name(stem.name + suffix) for suffix in (".png", ".html")]


def draw(curve: Curve, stem: Path) -> list[Path]:
    """The trade-off (paper's Figure 21) as ``stem``.png and ``stem``.html, which needs no network."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = plot_paths(stem)
    _draw_png(curve, paths[0])
    _draw_html(curve, paths[1])
    return paths


def _draw_png(curve: Curve, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    front = curve.front
    axes.axhline(0, color="#c0c6cf", linewidth=1)
    axes.scatter(curve.reduction, curve.loss, s=18, color=_COLOURS[0], label="settings")
    axes.plot(
        [curve.reduction[index] for index in front],
        [curve.loss[index] for index in front],
        color=_COLOURS[1],
        marker="D",
        markersize=5,
        label="Pareto front",
    )
    axes.set(xlabel=_REDUCTION, ylabel=curve.loss_name, title=curve.title)
    axes.grid(color="#e6e9ee")
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    canvas.print_png(str(path))


def _draw_html(curve: Curve, path: Path) -> None:
    from plotly import graph_objects

    front = curve.front
    traces = []
    for name, chosen, style in (
        ("settings", range(len(curve.labels)), {"mode": "markers", "marker": {"color": _COLOURS[0], "size": 7}}),
        (
            "Pareto front",
            front,
            {
                "mode": "lines+markers",
                "marker": {"color": _COLOURS[1], "size": 9, "symbol": "diamond"},
                "line": {"color": _COLOURS[1]},
            },
        ),
    ):
        traces.append(
            graph_objects.Scatter(
                x=[curve.reduction[index] for index in chosen],
                y=[curve.loss[index] for index in chosen],
                text=[curve.labels[index] for index in chosen],
                hovertemplate="%{text}<br>%{x:.2f}×, %{y:.3g}<extra></extra>",
                name=name,
                **style,
            )
        )
    figure = graph_objects.Figure(traces)
    figure.update_layout(
        title=curve.title, xaxis_title=_REDUCTION, yaxis_title=curve.loss_name, template="plotly_white"
    )
    figure.write_html(path, include_plotlyjs=True, full_html=True)
