import dataclasses

import numpy as np

from hdl.spec.config import PRESETS
from sim.model.in_flight import InFlight
from sim.model.intake import Intake
from sim.model.latencies import CHECK
from sim.model.shape import Shape

PAPER = PRESETS["paper"]


def job(index, ids=None):
    return InFlight(Shape(dim=64, keys=4, value_keep=4, ids=ids), index)


def test_a_job_takes_the_checker_for_a_while():
    intake = Intake(PAPER, lambda index: 0.0)
    assert [intake.check(job(index)) for index in range(3)] == [CHECK, 2 * CHECK, 3 * CHECK]


def test_a_job_waits_for_a_context():
    intake = Intake(dataclasses.replace(PAPER, contexts=4), lambda index: 1000.0 + index)
    assert CHECK == 10 and [intake.check(job(index)) for index in range(6)] == [10, 20, 30, 40, 1001, 1011]


def test_only_a_new_list_is_read():
    """16 ids of 16 channels come in two beats of 8; 16 of one channel one by one."""
    intake = Intake(PAPER, lambda index: 0.0)
    spread, narrow = np.arange(16), 16 * np.arange(16)
    assert intake.check(job(0, spread)) == 2 + CHECK
    assert intake.check(job(1, spread)) == 2 + 2 * CHECK
    assert intake.check(job(2, narrow)) == 2 + 16 + 3 * CHECK


def test_a_list_is_replaced_when_its_last_user_is_answered():
    intake = Intake(PAPER, lambda index: 500.0 * (index + 1))
    lists = [np.arange(size) for size in (1, 2, 3)]
    assert intake.check(job(0, lists[0])) < 500 and intake.check(job(1, lists[0])) < 500
    assert intake.check(job(2, lists[1])) < 500, "there are two lists"
    assert intake.check(job(3, lists[2])) == 1000 + 1 + CHECK, "the first one is of job 1 still"
