import pytest

from hdl.fetch.fetcher import Fetcher
from hdl.fetch.gather import Gather
from hdl.pruning.value_compactor import ValueCompactor
from hdl.pv.prob_times_v import ProbTimesV
from hdl.qk.qk_multiply import QKMultiply
from hdl.softmax.softmax import Softmax
from hdl.spec.config import PRESETS
from sim.model.latencies import COMMAND, REQUEST, latencies


@pytest.mark.parametrize("config", PRESETS.values(), ids=lambda config: config.name)
def test_latencies_are_those_of_the_components(config):
    found, softmax = latencies(config), Softmax(config)
    assert found.score == QKMultiply(config).latency
    assert (found.exponential, found.row_sum) == (softmax.latency, softmax.sum_latency)
    assert found.output == ProbTimesV(config).latency
    assert found.gather > Gather.LATENCY
    assert found.compact == ValueCompactor(config).latency


def test_loads_that_follow_each_other_are_faster_than_the_first():
    assert COMMAND <= Fetcher.COMMAND_LATENCY and REQUEST <= Fetcher.QUERY_LATENCY
