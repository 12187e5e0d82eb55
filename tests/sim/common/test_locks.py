import threading
import time

import pytest

from sim.common.locks import locked


def test_one_at_a_time(tmp_path):
    path, inside, most = tmp_path / "model.lock", [], []

    def work():
        with locked(path):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6 and not path.exists()


def test_an_error_frees_it(tmp_path):
    path = tmp_path / "model.lock"
    with pytest.raises(KeyError), locked(path):
        raise KeyError
    assert not path.exists()
    with locked(path):
        assert path.exists()
