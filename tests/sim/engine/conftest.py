import shutil

import pytest

from sim.engine.hbm2_native import build_library


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("the C++ model needs g++")
    return build_library(tmp_path_factory.mktemp("hbm2"))
