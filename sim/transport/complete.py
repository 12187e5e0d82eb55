"""Has a run told all that it has to tell? The last survivors of a layer may come after its status."""

from __future__ import annotations

import numpy as np

from hdl.spec.config import Config
from hdl.spec.payloads import job_status, layer_descriptor, survivor
from sim.transport.words import Unpacker

__all__ = ["open_selections"]


def open_selections(config: Config, layers: np.ndarray, status: np.ndarray, survivors: np.ndarray) -> int:
    """Selections of answered layers whose last survivor has not come yet.

    layers: items of the stream ``layer`` of the run, numbered from 0; status, survivors: what has come of these streams
    so far. All are uint32 (items, words). A refused layer selects nothing.
    """
    selects = Unpacker(layer_descriptor(config), layers)["select"]
    answers = Unpacker(job_status(config), status)
    done = answers["job_id"][answers["code"] == 0]
    last = Unpacker(survivor(config), survivors)["last"]
    return int(selects[done[done < len(selects)]].sum() - last.sum())
