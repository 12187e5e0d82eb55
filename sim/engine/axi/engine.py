"""Engine ``axi``: the AXI top on Verilator, driven by commands in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden.layers.cascade_state import Survivors
from golden.layers.job import Job, JobOutputs
from hdl.spec.config import Config
from hdl.spec.formats import Code
from sim.engine.axi.build import build
from sim.engine.axi.machine import AxiMachine
from sim.engine.engine import Engine, EngineError, LayerRun, RunResult
from sim.engine.verilator import CACHE
from sim.transport.commands import PlacedLayer, Wanted, place_layer, read_heads, read_outputs, read_tokens
from sim.transport.device import Device, DeviceError
from sim.transport.host_memory import HostMemory
from sim.transport.job_commands import place_jobs
from sim.transport.memory import MemoryImage
from sim.transport.queue import Queue

__all__ = ["AxiEngine"]

BASE = 0x12_0000_0000
"""Address of the memory: beyond 32 bits."""
UNWRITTEN = 0xEE
"""Of every byte that nobody wrote; as 32 bits it is no output, for they have fewer."""
_FAULTS = (Code.READ_ERROR, Code.WRITE_ERROR, Code.ABORTED, Code.TIMEOUT, Code.OUTSIDE)


class AxiEngine(Engine):
    """:class:`sim.engine.engine.Engine` on a Verilator model of the AXI top; options as there.

    Results are outputs (:class:`golden.layers.job.JobOutputs`), and of selections the survivors: the top gives no
    more. A job or layer is finished when its completion is written, and cycles count from the first command.
    Descriptor fields cannot be overridden. cache: folder of built models.
    """

    name = "axi"

    def __init__(self, config: Config, *, cache: Path = CACHE, **options: Any):
        super().__init__(config, **options)
        self._folder = build(config, trace=self.trace is not None, cache=cache)
        self._machine: AxiMachine | None = None

    def close(self) -> None:
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    def __del__(self) -> None:
        if sys is not None and getattr(self, "_machine", None) is not None:
            self.close()

    def run(self, jobs, *, allow_refused=False, overrides=None, progress=None):
        _check(jobs, "jobs", overrides)
        memory, image = self._new_memory()
        placed = place_jobs(jobs, self.config, image, memory)
        groups = [placed[index : index + max(1, 2 * job.pair)] for index, job in enumerate(jobs) if job.pair != 2]
        answers, facts = self._execute(groups, memory, image, False, progress)
        codes = [answer["code"] for answer in answers]
        if not allow_refused:
            self._check_refused("job", jobs, codes)
        results = [
            None if code else _outputs([job], list(range(job.group)), each, memory, f"job {index}", -job.head)[0]
            for index, (job, each, code) in enumerate(zip(jobs, placed, codes, strict=True))
        ]
        return RunResult(results=results, statuses=codes, memory=self.memory, **facts)

    def run_layers(self, layers, *, resume=False, allow_refused=False, overrides=None, progress=None):
        _check(layers, "layers", overrides)
        memory, image = self._new_memory()
        placed = [
            place_layer(layer, self.config, image, memory, Wanted(write_state=layer.select, tag=index))
            for index, layer in enumerate(layers)
        ]
        answers, facts = self._execute([[each] for each in placed], memory, image, resume, progress)
        codes = [answer["code"] for answer in answers]
        if not allow_refused:
            self._check_refused("layer", layers, codes)
        results, selections = [], []
        for index, (layer, each, answer) in enumerate(zip(layers, placed, answers, strict=True)):
            name, done = layer.name or f"layer {index}", answer["code"] == 0
            results.append(_outputs(layer.jobs, layer.head_ids, each, memory, name, 0) if done else None)
            selections.append(_survivors(each, answer, memory, name) if done and layer.select else None)
        return LayerRun(results=results, selections=selections, statuses=codes, memory=self.memory, **facts)

    # A run -----------------------------------------------------------------------------------------------------

    def _new_memory(self) -> tuple[HostMemory, MemoryImage]:
        return HostMemory(1 << 20, base=BASE, fill=UNWRITTEN, grows=True), MemoryImage(self.config)

    def _execute(
        self,
        groups: Sequence[Sequence[PlacedLayer]],
        memory: HostMemory,
        image: MemoryImage,
        resume: bool,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[list[dict[str, int]], dict[str, Any]]:
        """(completion of each command in the order given, fields of the result that are not of one command)."""
        try:
            return self._drive([[each.command for each in group] for group in groups], memory, image, resume, progress)
        except DeviceError as error:
            self.close()
            raise EngineError(str(error)) from error
        except BaseException:
            self.close()  # the next run begins from reset
            raise

    def _drive(self, groups, memory, image, resume, progress):
        origins = memory.place(image)
        machine, device, queue = self._opened(memory, origins, resume)
        start, total = machine.cycle, sum(map(len, groups))
        answers: dict[int, dict[str, int]] = {}
        if progress is not None:
            machine.on_wait = lambda cycles: progress(len(answers), cycles)
        for answer in queue.run(groups):
            number = answer["number"]
            if number >= total or number in answers:
                raise EngineError(f"completion of command {number}, which is unknown or was answered before")
            if answer["code"] in _FAULTS:
                fault = device.fault_read()
                told = f": {fault}" if fault else ""
                raise EngineError(f"command {number} ended with {Code(answer['code']).name}{told}")
            answers[number] = answer
        queue.close()
        device.snapshot()
        words = machine.words_read()
        if device.channel_words() != words:
            raise EngineError(f"channels gave {words} words, but the counters tell {device.channel_words()}")
        finished = [answers[number]["cycle"] - start for number in range(total)]
        return [answers[number] for number in range(total)], {
            "finished": finished,
            "cycles": max(finished),
            "counters": device.core_counters(),
            "words_read": words,
            "addresses": machine.addresses() if self.record_addresses else None,
        }

    def _opened(self, memory: HostMemory, origins: list[int], resume: bool) -> tuple[AxiMachine, Device, Queue]:
        """The machine, reset unless resumed, with this memory, and its queue."""
        fresh = not resume or self._machine is None
        if self._machine is None:
            self._machine = AxiMachine(
                self._folder,
                self.config,
                self.timing,
                watchdog=self.watchdog,
                max_cycles=self.max_cycles,
                trace=self.trace,
                record_addresses=self.record_addresses,
            )
        machine = self._machine
        machine.memory = memory
        if fresh:
            machine.reset()
        device = Device(machine, self.config)
        queue = Queue(device)
        machine.begin(origins)
        if fresh:
            device.write("timeout", cycles=0)  # the machine's watchdog tells more
            device.irq_enable(queue=1 << queue.index)
            device.set_bursts()
            device.enable()
        for channel, address in enumerate(origins):
            device.set_channel(channel, address)
        window = memory.base, memory.limit
        queue.open(readable=window, writable=window)
        device.counters_clear()
        return machine, device, queue


def _check(jobs: Sequence[Any], what: str, overrides: Any) -> None:
    if not jobs:
        raise ValueError(f"{what} must not be empty")
    if overrides:
        raise ValueError("overrides must be left out with the engine axi: its descriptors are made by the hardware")


def _outputs(
    jobs: Sequence[Job], numbers: list[int], placed: PlacedLayer, memory: HostMemory, name: str, first: int
) -> list[JobOutputs]:
    """Outputs of jobs. numbers: of the heads, by rank from ``-first`` on; no other head may have been written."""
    if not jobs:
        return []
    bits = read_outputs(placed, memory)
    empty = int.from_bytes(bytes((UNWRITTEN,) * 4), "little")
    missing = (bits == empty).flatten(1)
    others = torch.ones(len(bits), dtype=torch.bool)
    others[numbers] = False
    if missing[numbers].any():
        raise EngineError(f"{name}: {int(missing[numbers].sum())} outputs were not written")
    if not missing[others].all():
        raise EngineError(f"{name}: outputs were written of a head that it has not")
    values = (bits ^ 1 << 31) - (1 << 31)
    ranks = [(job.head + first, job.head + first + job.group) for job in jobs]
    return [JobOutputs(out=values[numbers[low:high]].flatten(0, 1)) for low, high in ranks]


def _survivors(placed: PlacedLayer, answer: dict[str, int], memory: HostMemory, name: str) -> Survivors:
    """What a layer's selection left in its tables."""
    tokens, heads = read_tokens(placed.state, memory), read_heads(placed.heads, answer["heads"], memory)
    if len(tokens) != answer["tokens"]:
        raise EngineError(f"{name}: {answer['tokens']} tokens survive, but the table has {len(tokens)}")

    def column(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)

    return Survivors(
        ids=column([id for id, _ in tokens]),
        importance=column([importance for _, importance in tokens]),
        head_ids=[row["head"] for row in heads],
        head_importance=column([row["importance"] for row in heads]),
    )
