import dataclasses
import subprocess
import sys

import pytest

from sim.run.request import RunRequest


def test_a_request_does_not_change():
    request = RunRequest(seed=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.seed = 4
    assert dataclasses.replace(request, seed=0) == RunRequest() and hash(RunRequest()) == hash(RunRequest())


def test_fields_are_named():
    with pytest.raises(TypeError):
        RunRequest("minilm")


def test_requests_are_light():
    """The command line imports them for its options: none of what makes it slow comes with them."""
    modules = "sim.run.request, sim.workload.request, sim.reproduce.request, sim.bench.record, spatten.cli"
    heavy = "[name for name in ('torch', 'amaranth', 'transformers', 'matplotlib') if name in sys.modules]"
    command = [sys.executable, "-c", f"import sys; import {modules}; print({heavy})"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
