"""Signals that a block keeps to itself, named as in its source."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

__all__ = ["Inside"]


class Inside:
    """Elaborates ``block`` now, and keeps the local variables of its own methods.

    Whoever elaborates the block later gets the same module, so a proof may name what it reads here. Parts (submodules)
    whose insides are wanted, too, are opened with :meth:`part`.
    """

    def __init__(self, block: wiring.Component):
        self.block = block
        self._calls: dict[str, list[dict[str, Any]]] = {}
        source = type(block).elaborate.__code__.co_filename

        def returned(frame: FrameType, event: str, _argument: object) -> None:
            if event == "return" and frame.f_code.co_filename == source:
                self._calls.setdefault(frame.f_code.co_name, []).append(dict(frame.f_locals))

        sys.setprofile(returned)
        try:
            self.module: Module = block.elaborate("formal")
        finally:
            sys.setprofile(None)
        block.elaborate = lambda platform: self.module  # what elaborates it later sees the signals named here

    def __call__(self, name: str, method: str = "elaborate", call: int = 0) -> Any:
        """Local variable ``name`` of the ``call``-th call of ``method``."""
        return self._calls[method][call][name]

    def part(self, name: str) -> Inside:
        """The submodule ``name``, elaborated now."""
        return Inside(self.module.submodules[name])
