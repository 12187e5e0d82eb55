import logging

from distributed import Client, LocalCluster

from hdl.spec.config import PRESETS
from sim.reproduce import lab as labs
from sim.reproduce.cases import generation_case, rows_csv
from sim.reproduce.lab import Lab, Point

PAPER = PRESETS["paper"]


def test_a_cluster_gives_what_one_process_gives(rows):
    points = [Point(generation_case("rows", rows, PAPER).shapes, PAPER, parallelism) for parallelism in (8, 16)]
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, **quiet) as cluster,
        Client(cluster) as client,
    ):
        found = Lab(rows=rows, workload="one token", client=client).predict(points)
    assert found == Lab(rows=rows, workload="one token").predict(points)


def test_folder_of_data_gives_the_workload(rows, tmp_path, monkeypatch):
    file = tmp_path / labs.WORKLOAD
    file.parent.mkdir()
    file.write_text(rows_csv(rows))
    monkeypatch.setenv("SPATTEN_DATA", str(tmp_path))
    assert Lab.open(None).rows == rows
    monkeypatch.delenv("SPATTEN_DATA")
    assert Lab.open(None).workload.startswith("synthetic")
