"""Bench ``rivals``: A3, MNNFast, dense attention and SpAtten's eighth on the same rows of real models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim.bench.record import Record, json_of

__all__ = ["bench_rivals"]

_OWN = "spatten"
_WORSE = {"minilm": 0.5, "smollm2": 0.005}
"""Loss by which a system may be worse than SpAtten and still count as of equal quality: points of Spearman's
correlation, and relative increase of the perplexity."""


def bench_rivals() -> Iterator[Record]:
    """Effective GOP/s, bytes, loss and GOP/J (estimated) of each system on MiniLM and SmolLM2.

    Needs the folder SPATTEN_DATA with text/wikitext-2-valid.txt and sts/2014-images.test.tsv. SpAtten's goals are the
    best figures of the systems whose quality is at least its own.
    """
    folder = Path(os.environ.get("SPATTEN_DATA", ""))
    pairs, text = folder / "sts" / "2014-images.test.tsv", folder / "text" / "wikitext-2-valid.txt"
    for path in (pairs, text):
        if not path.is_file():
            raise ValueError(f"SPATTEN_DATA must be a folder with {path.parent.name}/{path.name}, not {str(folder)!r}")
    yield from _records("minilm", ["--model", "minilm", "--text", str(pairs), "--limit", "50"])
    yield from _records("smollm2", ["--model", "smollm2", "--text", str(text), "--context", "480", "--generate", "9"])


def _records(model: str, options: list[str]) -> Iterator[Record]:
    figures, command = json_of(["rivals", *options])
    columns = {name: _figures(column) for name, column in figures["columns"].items()}
    own = columns[_OWN]
    equal = [
        column for name, column in columns.items() if name != _OWN and column["loss"] <= own["loss"] + _WORSE[model]
    ]
    units = {"gops": "GOP/s", "bytes": "bytes", "loss": "", "gop_per_j": "GOP/J"}
    common: dict[str, Any] = {"preset": "eighth", "memory": "ideal", "command": command}
    for system, column in columns.items():
        for name, unit in units.items():
            better = "higher" if name in ("gops", "gop_per_j") else "lower"
            goal = None
            if system == _OWN and name != "loss" and equal:
                goal = (max if better == "higher" else min)(other[name] for other in equal)
            yield Record(
                name=f"rivals.{model}.{system}.{name}",
                value=column[name],
                unit=unit,
                better=better,
                goal=goal,
                **common,
            )


def _figures(column: dict[str, Any]) -> dict[str, float]:
    loss = column["ppl_increase"] if "ppl_increase" in column else column["points_lost"]
    return {name: column[name] for name in ("gops", "bytes", "gop_per_j")} | {"loss": loss}
