"""Blocks that can be synthesized and timed alone, by name."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdl.spec.config import Config

__all__ = ["BASELINE_BLOCKS", "SynthError", "find_block"]

HDL = Path(__file__).resolve().parents[2] / "hdl"


class SynthError(RuntimeError):
    """Synthesis or routing failed, or was asked for something that is not there."""


def _eliminator(config: Config) -> Any:
    from hdl.topk.topk import topk_item
    from hdl.topk.zero_eliminator import ZeroEliminator

    return ZeroEliminator(topk_item(config), lanes=config.topk_parallelism)  # pyright: ignore[reportArgumentType]


def _key_buffer(config: Config) -> Any:
    from hdl.fetch.kv_buffer import KVBuffer

    return KVBuffer(config, slots=config.key_slots, banks_per_lane=config.banks_per_lane)


def _page_allocator(config: Config) -> Any:
    from hdl.control.regions.page_allocator import PageAllocator

    return PageAllocator(config.key_pages)


BASELINE_BLOCKS: dict[str, str | Callable[[Config], Any]] = {
    "adder_tree": "AdderTree",
    "bitwidth_converter": "BitwidthConverter",
    "cascade_select": "CascadeSelect",
    "controller": "Controller",
    "counters": "Counters",
    "crossbar": "SliceCrossbar",
    "exponential": "Exponential",
    "fetcher": "Fetcher",
    "head_importance": "HeadImportance",
    "job_checker": "JobChecker",
    "key_buffer": _key_buffer,
    "key_loader": "KeyLoader",
    "lane_reducer": "LaneReducer",
    "layer_walker": "LayerWalker",
    "normalizer": "Normalizer",
    "page_allocator": _page_allocator,
    "prob_times_v": "ProbTimesV",
    "qk_multiply": "QKMultiply",
    "quick_select": "QuickSelect",
    "reciprocal": "Reciprocal",
    "softmax": "Softmax",
    "threshold_finder": "ThresholdFinder",
    "token_importance": "TokenImportance",
    "topk": "TopK",
    "value_loader": "ValueLoader",
    "value_pruner": "ValuePruner",
    "zero_eliminator": _eliminator,
}
"""Name -> class in hdl/, or what makes the block: those with a baseline in fpga/baselines/."""


def _classes() -> dict[str, str]:
    """Class name -> module of every component in hdl/."""
    found = {}
    for path in sorted(HDL.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Component") for base in node.bases):
                found[node.name] = ".".join(("hdl", *path.relative_to(HDL).with_suffix("").parts))
    return found


def find_block(name: str, config: Config) -> Any:
    """A block by its name in :data:`BASELINE_BLOCKS`, or any component of hdl/ by its class name.

    A class must be made from the configuration alone.
    """
    entry = BASELINE_BLOCKS.get(name, name)
    if not isinstance(entry, str):
        return entry(config)
    classes = _classes()
    if entry not in classes:
        raise SynthError(f"--block must be one of {', '.join(BASELINE_BLOCKS)}, or a class of hdl/, not {name!r}")
    cls = getattr(importlib.import_module(classes[entry]), entry)
    if next(iter(inspect.signature(cls).parameters), "") == "config":
        try:
            inspect.signature(cls).bind(config)
        except TypeError as error:
            problem = str(error)
        else:
            return cls(config)
    else:
        problem = f"its arguments are {inspect.signature(cls)}"
    raise SynthError(f"--block must be a block that the configuration alone describes; {name}: {problem}")
