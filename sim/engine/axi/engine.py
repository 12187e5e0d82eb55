"""Engine ``axi``: the AXI top on Verilator, driven by commands in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.layers.cascade_state import Survivors
from golden.layers.job import Job, JobOutputs
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.formats import Code
from sim.common.stopwatch import Stopwatch
from sim.engine.axi.build import build
from sim.engine.axi.machine import AxiMachine
from sim.engine.axi.residence import UNWRITTEN, LayerCommands, Residence, new_memory
from sim.engine.engine import Engine, EngineError, LayerRun, RunResult
from sim.engine.verilator import CACHE
from sim.transport.commands import PlacedLayer, read_heads, read_output_words, read_token_rows
from sim.transport.device import Device, DeviceError
from sim.transport.host_memory import HostMemory
from sim.transport.job_commands import place_jobs
from sim.transport.memory import MemoryImage
from sim.transport.queue import Queue

__all__ = ["AxiEngine"]

_EMPTY = int.from_bytes(bytes((UNWRITTEN,) * 4), "little")
_FAULTS = (Code.READ_ERROR, Code.WRITE_ERROR, Code.ABORTED, Code.TIMEOUT, Code.OUTSIDE)


class AxiEngine(Engine):
    """:class:`sim.engine.engine.Engine` on a Verilator model of the AXI top; options as there.

    Results are outputs (:class:`golden.layers.job.JobOutputs`), and of selections the survivors: the top gives no
    more. A job or layer is finished when its completion is written, and cycles count from the first command.
    Planes of layers stay in memory from run to run (:class:`sim.transport.plane_store.PlaneStore`): a few new rows of K
    and V, and Q of one query, are appended by commands in front of their layer, and all else that differs is written
    by the host. Descriptor fields cannot be overridden. cache: folder of built models.
    """

    name = "axi"

    def __init__(self, config: Config, *, cache: Path = CACHE, **options: Any):
        super().__init__(config, **options)
        self._folder = build(config, trace=self.trace is not None, cache=cache)
        self.simulating = Stopwatch()
        """in the model and its memory; all else of a run is the host's"""
        self._machine: AxiMachine | None = None
        self._device: Device | None = None
        self._residence = Residence(config)

    def close(self) -> None:
        if self._machine is not None:
            self._machine.close()
            self._machine = self._device = None

    def __del__(self) -> None:
        if sys is not None and getattr(self, "_machine", None) is not None:
            self.close()

    def run(self, jobs, *, allow_refused=False, overrides=None, progress=None):
        _check(jobs, "jobs", overrides)
        memory, image = new_memory(), MemoryImage(self.config)
        placed = place_jobs(jobs, self.config, image, memory)
        commands = [each.command for each in placed]
        groups = [commands[index : index + max(1, 2 * job.pair)] for index, job in enumerate(jobs) if job.pair != 2]
        answers, facts = self._execute(groups, memory, memory.place(image), progress)
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
        home = self._residence
        placed = home.place(layers)
        commands = [command for each in placed for command in (*each.appends, each.placed.command)]
        groups = [[command] for command in commands]
        found, facts = self._execute(groups, home.memory, home.origins, progress, resume=resume, rings=home.rings)
        answers = self._answers(layers, placed, found)
        facts["finished"] = [facts["finished"][index] for index, _ in answers]
        answers = [answer for _, answer in answers]
        codes = [answer["code"] for answer in answers]
        if not allow_refused:
            self._check_refused("layer", layers, codes)
        results, selections = [], []
        for index, (layer, each, answer) in enumerate(zip(layers, placed, answers, strict=True)):
            name, done = layer.name or f"layer {index}", answer["code"] == 0
            results.append(_outputs(layer.jobs, layer.head_ids, each.placed, home.memory, name, 0) if done else None)
            selections.append(_survivors(each.placed, answer, home.memory, name) if done and layer.select else None)
        return LayerRun(results=results, selections=selections, statuses=codes, memory=self.memory, **facts)

    # A run -----------------------------------------------------------------------------------------------------

    def _answers(
        self, layers: Sequence[LayerJob], placed: Sequence[LayerCommands], found: Sequence[dict[str, int]]
    ) -> list[tuple[int, dict[str, int]]]:
        """(number, completion) of the command of each layer; EngineError if rows in front of it were not appended."""
        answers, number = [], 0
        for index, (layer, each) in enumerate(zip(layers, placed, strict=True)):
            for answer in found[number : number + len(each.appends)]:
                if answer["code"] or answer["tokens"]:
                    self.close()
                    self._residence.forget()
                    what = f"code {answer['code']}, {answer['tokens']} elements saturated"
                    raise EngineError(f"{layer.name or f'layer {index}'}: rows were not appended ({what})")
            number += len(each.appends) + 1
            answers.append((number - 1, found[number - 1]))
        return answers

    def _execute(
        self,
        groups: Sequence[Sequence[bytes]],
        memory: HostMemory,
        origins: list[int],
        progress: Callable[[int, int], None] | None,
        **options: Any,
    ) -> tuple[list[dict[str, int]], dict[str, Any]]:
        """(completion of each command in the order given, fields of the result that are not of one command)."""
        try:
            return self._drive(groups, memory, origins, progress, **options)
        except BaseException as error:
            self.close()  # the next run begins from reset, and with planes of which nothing is known
            self._residence.forget()
            if isinstance(error, DeviceError):
                raise EngineError(str(error)) from error
            raise

    def _drive(self, groups, memory, origins, progress, *, resume=False, rings=None):
        machine, device, queue = self._opened(memory, origins, resume, rings)
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

    def _opened(
        self, memory: HostMemory, origins: list[int], resume: bool, rings: tuple[int, int] | None
    ) -> tuple[AxiMachine, Device, Queue]:
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
                simulating=self.simulating,
            )
        machine = self._machine
        machine.memory = memory
        if fresh:
            machine.reset()
        device = self._device = self._device or Device(machine, self.config)
        queue = Queue(device, rings=rings)
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
    heads, queries, dim = placed.shape
    words = read_output_words(placed, memory)
    missing = (words == _EMPTY).sum(axis=(1, 2))
    lost = int(missing[numbers].sum())
    if lost:
        raise EngineError(f"{name}: {lost} outputs were not written")
    if int(missing.sum()) != (heads - len(numbers)) * queries * dim:
        raise EngineError(f"{name}: outputs were written of a head that it has not")
    values = np.ascontiguousarray(words[numbers]).view("<i4").astype(np.int64).reshape(-1, dim)
    ranks = [(queries * (job.head + first), queries * (job.head + first + job.group)) for job in jobs]
    return [JobOutputs(out=torch.from_numpy(values[low:high])) for low, high in ranks]


def _survivors(placed: PlacedLayer, answer: dict[str, int], memory: HostMemory, name: str) -> Survivors:
    """What a layer's selection left in its tables."""
    tokens = torch.from_numpy(read_token_rows(placed.state, memory).astype(np.int64))
    heads = read_heads(placed.heads, answer["heads"], memory)
    if len(tokens) != answer["tokens"]:
        raise EngineError(f"{name}: {answer['tokens']} tokens survive, but the table has {len(tokens)}")
    return Survivors(
        ids=tokens[:, 0].contiguous(),
        importance=tokens[:, 1].contiguous(),
        head_ids=[row["head"] for row in heads],
        head_importance=torch.tensor([row["importance"] for row in heads], dtype=torch.int64),
    )
