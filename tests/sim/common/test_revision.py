import re
import subprocess

from sim.common.revision import revision


def test_names_a_commit():
    assert revision() == "unknown" or re.fullmatch(r"[0-9a-f]{7,40}\+?", revision())


def test_without_git(monkeypatch):
    def absent(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", absent)
    assert revision() == "unknown"
