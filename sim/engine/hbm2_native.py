"""The model of an HBM2 channel in C++ (sim/engine/hbm2.hpp), alone in a library."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from golden.host.cache import cache_folder
from sim.engine.hbm2_timing import HBM2Timing

__all__ = ["NativeChannel", "build_library"]

CACHE = cache_folder() / "hbm2"

_SOURCES = [Path(__file__).with_name(name) for name in ("hbm2.hpp", "hbm2.cpp")]
_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "new": (ctypes.c_void_p, [ctypes.c_void_p, _U32, _U32, _U32]),
    "free": (None, [ctypes.c_void_p]),
    "advance": (None, [ctypes.c_void_p, _U64]),
    "takes_request": (ctypes.c_int, [ctypes.c_void_p, _U64]),
    "offers_response": (ctypes.c_int, [ctypes.c_void_p, _U64]),
    "response_address": (_U64, [ctypes.c_void_p]),
    "response_taken": (None, [ctypes.c_void_p]),
    "request": (None, [ctypes.c_void_p, _U64, _U64, ctypes.c_int]),
    "drive": (_U64, [ctypes.c_void_p, ctypes.c_void_p, _U64]),
}


def build_library(cache: Path = CACHE) -> Path:
    """Shared library of sim/engine/hbm2.cpp, compiled with g++ if it is not in the cache."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:20]
    final = cache / f"libhbm2-{digest}.so"
    if final.is_file():
        return final
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=cache) as work:
        made = Path(work) / final.name
        command = ["g++", "-O2", "-std=c++20", "-fPIC", "-shared", str(_SOURCES[1]), "-o", str(made)]
        process = subprocess.run(command, text=True, capture_output=True, check=False)
        if process.returncode:
            raise RuntimeError(f"g++ failed with exit status {process.returncode}:\n{process.stderr.strip()}")
        os.replace(made, final)
    return final


@functools.cache
def _library(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, f"hbm2_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class NativeChannel:
    """The channel as sim/engine/hbm2.hpp has it; ``library`` is from :func:`build_library`."""

    def __init__(self, timing: HBM2Timing, channel: int, word_bytes: int, library: Path):
        values = timing.values()
        self._library = _library(library)
        self._handle = self._library.hbm2_new(values.ctypes.data, len(values), channel, word_bytes)
        if not self._handle:
            raise ValueError(
                f"the table of sim/engine/hbm2.hpp does not have the {len(values)} parameters of HBM2Timing"
            )

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.hbm2_free(self._handle)

    def advance(self, cycle: int) -> None:
        self._library.hbm2_advance(self._handle, cycle)

    def takes_request(self, cycle: int) -> bool:
        return bool(self._library.hbm2_takes_request(self._handle, cycle))

    def offers_response(self, cycle: int) -> bool:
        return bool(self._library.hbm2_offers_response(self._handle, cycle))

    def response_address(self) -> int:
        return self._library.hbm2_response_address(self._handle)

    def response_taken(self) -> None:
        self._library.hbm2_response_taken(self._handle)

    def request(self, cycle: int, address: int, *, write: bool = False) -> None:
        self._library.hbm2_request(self._handle, cycle, address, write)

    def drive(self, addresses: np.ndarray) -> int:
        """Cycles until all words are read, if nobody lets the channel wait."""
        words = np.ascontiguousarray(addresses, dtype="<u4")
        return self._library.hbm2_drive(self._handle, words.ctypes.data, len(words))
