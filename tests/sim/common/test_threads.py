"""One thread inside, as many as before afterwards, also after an error and as a decorator."""

import pytest
import torch

from sim.common.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread():
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_an_error_leaves_the_number_as_it_was():
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2


def test_a_function():
    @one_thread()
    def threads():
        return torch.get_num_threads()

    assert [threads(), threads(), torch.get_num_threads()] == [1, 1, 2]
