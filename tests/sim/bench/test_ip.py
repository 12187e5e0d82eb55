from sim.bench import ip
from sim.bench.ip import bench_ip


def test_size_of_the_verilog(monkeypatch):
    texts = {"tiny": "x" * 1_500_000, "paper": "é" * 6_000_000}
    monkeypatch.setattr(ip, "to_verilog", lambda config: texts[config.name])
    records = {record.name: record for record in bench_ip()}
    assert {name: record.value for name, record in records.items()} == {
        "verilog.tiny_mb": 1.5,
        "verilog.paper_mb": 12.0,
    }
    assert [(record.preset, record.goal, record.met) for record in records.values()] == [
        ("tiny", 2.0, True),
        ("paper", 10.0, False),
    ]
