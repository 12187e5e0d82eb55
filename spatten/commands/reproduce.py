"""``spatten reproduce``: the paper's figures and tables as CSV, PNG and one page."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["reproduce"]


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="fig18, fig19a, fig19b, fig20, table3, timing, all.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the files.")] = Path("build/reproduce"),
    engine: Annotated[
        str, typer.Option("--engine", help="model, or verilator: measured points, too, at the presets.")
    ] = "model",
    workload: Annotated[
        Path | None, typer.Option("--workload", help="GPT-2 rows in the authors' CSV; default see docs/reproduce.md.")
    ] = None,
    fpga_mhz: Annotated[float | None, typer.Option("--fpga-mhz", help="Clock of preset ulx3s, for its times.")] = None,
    runs: Annotated[int, typer.Option("--runs", help="Of each timing of PyTorch.")] = 20,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes of a sweep; default one a core.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Of dask, such as tcp://host:8786.")] = None,
) -> None:
    """Draw the paper's figures with this machine's numbers beside the published ones."""
    from sim.common.errors import UserError
    from sim.common.errors import UserError as OptionError
    from sim.engine.engine import EngineError
    from sim.reproduce.lab import ENGINES, Lab
    from sim.reproduce.reproduce import FIGURES
    from sim.workload.workload import WorkloadError

    chosen = list(FIGURES) if not names or "all" in names else list(dict.fromkeys(names))
    for name in names or []:
        if name not in (*FIGURES, "all"):
            raise UserError(f"NAME must be one of {', '.join(FIGURES)}, all; not {name!r}")
    if engine not in ENGINES:
        raise UserError(f"--engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    if fpga_mhz is not None and not 0 < fpga_mhz <= 10_000:
        raise UserError(f"--fpga-mhz must be above 0 and at most 10000, not {fpga_mhz:g}")
    if runs < 1:
        raise UserError(f"--runs must be at least 1, not {runs}")
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    _check_folder(out)
    console = Console(stderr=True)
    try:
        with contextlib.ExitStack() as stack:
            client = None
            if scheduler is not None:
                from sim.evaluate.sweep import connect

                client = stack.enter_context(connect(scheduler))
            options = {"engine": engine, "fpga_mhz": fpga_mhz, "workers": workers, "client": client, "runs": runs}
            with console.status("reproduce") as status:
                lab = Lab.open(workload, **options, progress=status.update)
                _write(chosen, out, lab)
    except (OptionError, WorkloadError) as error:
        raise UserError(str(error)) from None
    except (EngineError, RuntimeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _check_folder(out: Path) -> None:
    from sim.common.errors import UserError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out must be a folder that can be made, not {str(out)!r}: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise UserError(f"--out must be a writable folder, not {str(out)!r}")


def _write(names: Sequence[str], out: Path, lab) -> None:
    """NAME.csv and NAME.png of each figure as soon as it is made, index.html at the end."""
    from sim.common.files import write_bytes, write_text
    from sim.common.revision import revision
    from sim.reproduce.figures import figure_png, page_of, table_csv
    from sim.reproduce.reproduce import FIGURES

    figures, images = [], []
    for name in names:
        lab.progress(name)
        figure = FIGURES[name](lab)
        image = figure_png(figure)
        write_text(out / f"{name}.csv", table_csv(figure))
        write_bytes(out / f"{name}.png", image)
        figures.append(figure)
        images.append(image)
        for path in (out / f"{name}.csv", out / f"{name}.png"):
            typer.echo(f"{path}")
    facts = {
        "Workload": f"{lab.workload}, {len(lab.rows)} rows",
        "Engine": lab.engine,
        "Revision": revision(),
        "Machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    write_text(out / "index.html", page_of(figures, images, facts))
    typer.echo(f"{out / 'index.html'}")
