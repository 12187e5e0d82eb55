"""An engine that is the golden model of the chip, one layer descriptor after the other: it keeps what a chip keeps."""

import dataclasses

from golden.layers.cascade_state import CascadeState
from golden.layers.job import JobOutputs
from sim.engine.engine import LayerRun

COUNTERS = dict(cycles=200, qk_useful=98, query_words=7, key_words=5, key_lsb_words=0, value_words=4)
"""Made up, the same in each run."""


class GoldenChip:
    """``spoil(run number, results by layer, selections)`` may change the results; options are only remembered.

    outputs_only: it shows what the engine axi does, outputs and survivors, and counts flat rows.
    """

    name = "chip"

    def __init__(self, config, *, spoil=None, outputs_only=False, **options):
        self.config, self.spoil, self.options, self.outputs_only = config, spoil, options, outputs_only
        self.runs, self.closed = 0, False
        self.layers, self.resumed = [], []
        self._state = CascadeState()

    def run_layers(self, layers, *, resume=False, progress=None):
        self.runs += 1
        self.layers.append(list(layers))
        self.resumed.append(resume)
        if not resume:
            self._state = CascadeState()
        results, selections = [], []
        for layer in layers:
            done, selection = self._state.run(layer, self.config)
            results.append([dataclasses.replace(r, score=None, exp=None, exp_sum=None, keep=None) for r in done])
            selections.append(selection and dataclasses.replace(selection))
        if self.spoil is not None:
            self.spoil(self.runs, results, selections)
        if progress is not None:
            progress(1, 100)
        zeros, counters = [0] * len(layers), dict(COUNTERS)
        if self.outputs_only:
            counters["flat_rows"] = sum(int(result.flat.sum()) for done in results for result in done)
            results = [[JobOutputs(out=result.out) for result in done] for done in results]
            selections = [selection and selection.survivors() for selection in selections]
        return LayerRun(
            results=results,
            selections=selections,
            statuses=zeros,
            finished=zeros,
            cycles=200,
            counters=counters,
            words_read=[8, 8],
        )

    def close(self):
        self.closed = True
