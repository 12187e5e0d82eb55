"""``spatten reproduce``: the paper's figures and tables as CSV, PNG and one page."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from sim.common.errors import UserError
from sim.reproduce.request import ReproduceRequest
from spatten.commands.request import takes

if TYPE_CHECKING:
    from sim.reproduce.lab import Lab

__all__ = ["reproduce"]


@takes(ReproduceRequest)
def reproduce(request: ReproduceRequest) -> None:
    """Draw the paper's figures with this machine's numbers beside the published ones."""
    from sim.engine.engine import EngineError
    from sim.reproduce.lab import Lab
    from sim.workload.workload import WorkloadError

    names, options = _names(request), _options(request)
    _check_folder(request.out)
    try:
        with contextlib.ExitStack() as stack:
            if request.scheduler is not None:
                from sim.evaluate.sweep import connect

                options["client"] = stack.enter_context(connect(request.scheduler))
            status = stack.enter_context(Console(stderr=True).status("reproduce"))
            _write(names, request.out, Lab.open(request.workload, **options, progress=status.update))
    except WorkloadError as error:
        raise UserError(str(error)) from None
    except UserError:  # tools are missing
        raise
    except (EngineError, RuntimeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _names(request: ReproduceRequest) -> list[str]:
    """Figures to draw, each once."""
    from sim.reproduce.reproduce import FIGURES

    for name in request.names or []:
        if name not in (*FIGURES, "all"):
            raise UserError(f"NAME must be one of {', '.join(FIGURES)}, all; not {name!r}")
    return list(FIGURES) if not request.names or "all" in request.names else list(dict.fromkeys(request.names))


def _options(request: ReproduceRequest) -> dict[str, Any]:
    """Arguments of the lab."""
    from sim.reproduce.lab import ENGINES
    from sim.reproduce.silicon import Records

    if request.engine not in ENGINES:
        raise UserError(f"--engine must be one of {', '.join(ENGINES)}, not {request.engine!r}")
    mhz, workers = request.fpga_mhz, request.workers
    if mhz is not None and not 0 < mhz <= 10_000:
        raise UserError(f"--fpga-mhz must be above 0 and at most 10000, not {mhz:g}")
    if request.runs < 1:
        raise UserError(f"--runs must be at least 1, not {request.runs}")
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    silicon = Records.load(request.silicon)
    return {"silicon": silicon, "engine": request.engine, "fpga_mhz": mhz, "workers": workers, "runs": request.runs}


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out must be a folder that can be made, not {str(out)!r}: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise UserError(f"--out must be a writable folder, not {str(out)!r}")


def _write(names: Sequence[str], out: Path, lab: Lab) -> None:
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
