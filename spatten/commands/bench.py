"""``spatten bench``: the figures of the project against their goals."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from rich.table import Table

from sim.bench.record import BENCH_DIR, Record
from sim.common.console import console_of
from sim.common.errors import UserError
from sim.common.files import check_writable, write_text
from sim.common.revision import revision
from spatten.commands.results import hardware_digest

__all__ = ["BENCHES", "bench", "bench_command"]


def _bench_core() -> Iterator[Record]:
    from sim.bench.core import bench_core

    yield from bench_core()


def _bench_workloads() -> Iterator[Record]:
    from sim.bench.workloads import bench_workloads

    yield from bench_workloads()


def _bench_accuracy() -> Iterator[Record]:
    from sim.bench.accuracy import bench_accuracy

    yield from bench_accuracy()


def _bench_fpga() -> Iterator[Record]:
    from fpga.build.bench_fpga import bench_fpga

    yield from bench_fpga()


def _bench_ip() -> Iterator[Record]:
    from sim.bench.ip import bench_ip

    yield from bench_ip()


def _bench_long() -> Iterator[Record]:
    from sim.bench.long import bench_long

    yield from bench_long()


def _bench_rivals() -> Iterator[Record]:
    from sim.bench.rivals import bench_rivals

    yield from bench_rivals()


def _bench_silicon() -> Iterator[Record]:
    from sim.bench.silicon import bench_silicon

    yield from bench_silicon()


def _bench_verification() -> Iterator[Record]:
    from sim.bench.verification import bench_verification

    yield from bench_verification()


BENCHES: dict[str, Callable[[], Iterator[Record]]] = {
    "core": _bench_core,
    "workloads": _bench_workloads,
    "accuracy": _bench_accuracy,
    "fpga": _bench_fpga,
    "ip": _bench_ip,
    "long": _bench_long,
    "rivals": _bench_rivals,
    "silicon": _bench_silicon,
    "verification": _bench_verification,
}
NEED_DATA = ("workloads", "accuracy", "rivals", "silicon")
"""Benches that read the folder SPATTEN_DATA."""
HOURS = ("fpga",)
"""Benches that run only if they are named."""


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all but fpga, which takes hours.")
    ] = None,
) -> None:
    """Measure the figures of the project against their goals."""
    try:
        bench_command(names or [])
    except ValueError as error:
        raise UserError(str(error)) from None
    except RuntimeError as error:  # an engine failed, or what it gave is not golden's
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def bench_command(names: list[str]) -> None:
    """Run benches (by default all but HOURS), write ``build/bench/NAME.json`` and print a table of each.

    Each record carries ``revision`` and ``hardware``, which tells whether the hardware is still the one measured.
    """
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        raise ValueError(f"NAME must be one of {', '.join(BENCHES)}, not {unknown[0]!r}")
    console = console_of()
    if not names:
        names = [name for name in BENCHES if name not in HOURS]
        left_out = [name for name in NEED_DATA if name in names and "SPATTEN_DATA" not in os.environ]
        if left_out:
            console.print(f"{' and '.join(left_out)} left out: SPATTEN_DATA names no folder of texts and workloads")
        names = [name for name in names if name not in left_out]
    for name in names:  # told before the hours that a bench may take
        check_writable("the records", BENCH_DIR / f"{name}.json")
    hardware = hardware_digest()
    for name in names:
        table = Table("name", "value", "unit", "goal", "met", title=f"bench {name}, revision {revision()}")
        records = []
        for record in BENCHES[name]():
            goal = "" if record.goal is None else f"{'≥' if record.better == 'higher' else '≤'} {record.goal:g}"
            met = {None: "", True: "yes", False: "[red]no[/red]"}[record.met]
            table.add_row(
                record.name,
                f"{record.value:,.4g}" if record.value < 1000 else f"{record.value:,.0f}",
                record.unit,
                goal,
                met,
            )
            facts = {"met": record.met, "revision": revision(), "hardware": hardware}
            records.append(dataclasses.asdict(record) | facts)
            console.print(f"[dim]{record.name} = {record.value:g} {record.unit}[/dim]")
            # After every record: what fails after an hour shall not lose the hour.
            write_text(BENCH_DIR / f"{name}.json", json.dumps(records, indent=2) + "\n")
        console.print(table)
