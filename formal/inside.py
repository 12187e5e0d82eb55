"""Signals that a block keeps to itself, named as in its source."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

__all__ = ["Inside"]


class Inside:
    """Elaborates ``block`` now, and keeps the local variables of its own methods.

    Local variables of the functions of ``also``, modules that it takes helpers from, are kept, too.
    Whoever elaborates the block later gets the same module, so a proof may name what it reads here. Parts (submodules)
    whose insides are wanted, too, are opened with :meth:`part`.
    """

    def __init__(self, block: wiring.Component, also: Sequence[ModuleType] = ()):
        self.block = block
        self._calls: dict[str, list[dict[str, Any]]] = {}
        sources = {type(block).elaborate.__code__.co_filename, *(module.__file__ for module in also)}

        def returned(frame: FrameType, event: str, _argument: object) -> None:
            if event == "return" and frame.f_code.co_filename in sources:
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

    def named(self, method: str, key: str, name: str) -> dict[Any, Any]:
        """Local variable ``name`` of every call of ``method``, by the value of its local variable ``key``."""
        return {call[key]: call[name] for call in self._calls[method]}

    def part(self, name: str) -> Inside:
        """The submodule ``name``, elaborated now."""
        return Inside(self.module.submodules[name])
