import numpy as np
import pytest

from hdl.spec.config import PRESETS
from hdl.spec.payloads import job_status, layer_descriptor, survivor
from sim.transport.complete import open_selections
from sim.transport.words import to_words, word_count

TINY = PRESETS["tiny"]


def items(layout, rows):
    """uint32 (items, words) of the fields of each."""
    words = [to_words(layout.const(fields).as_bits(), layout.size) for fields in rows]
    return np.stack(words) if words else np.zeros((0, word_count(layout.size)), dtype="<u4")


@pytest.mark.parametrize(
    ("selects", "answers", "lasts", "want"),
    [
        ([], [], [], 0),
        ([1, 1], [], [], 0),
        ([1, 1], [(0, 0)], [0, 0], 1),
        ([1, 1], [(0, 0)], [0, 1], 0),
        ([1, 1], [(0, 0), (1, 0)], [0, 1, 0, 0], 1),
        ([1, 1], [(0, 0), (1, 0)], [1, 1], 0),
        ([1, 0], [(0, 0), (1, 0)], [1], 0),
        ([1, 1], [(0, 0), (1, 3)], [1], 0),
        ([1], [(0, 0), (7, 0)], [], 1),
        ([], [(0, 0), (1, 0)], [], 0),
    ],
)
def test_open_selections(selects, answers, lasts, want):
    """Of layers that are answered, select and are not refused; an answer to nobody counts for nothing."""
    layers = items(layer_descriptor(TINY), [{"select": select} for select in selects])
    status = items(job_status(TINY), [{"job_id": job, "code": code} for job, code in answers])
    survivors = items(survivor(TINY), [{"last": last} for last in lasts])
    assert open_selections(TINY, layers, status, survivors) == want
