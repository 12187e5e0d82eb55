import pytest

from hdl.spec.config import PRESETS
from hdl.spec.register_map import MAP
from sim.transport.device import Device, DeviceError
from sim.transport.queue import Queue
from sim.transport.records import COMMAND
from tests.bench.fake_device import FakeDevice

TINY = PRESETS["tiny"]


def command(tag):
    return COMMAND.pack({"opcode": 2, "tag": tag % 2**16})


def opened(log_slots=2, **options):
    fake = FakeDevice(TINY, **options)
    queue = Queue(Device(fake, TINY), log_slots=log_slots)
    queue.open(readable=(0x10000, 0x12000), writable=(0x12000, 0x13000))
    return fake, queue


def test_open_sets_all_before_it_enables():
    fake, queue = opened(log_slots=3)
    names = [name for name, _ in fake.log]
    assert names[0] == names[-1] == "queue[0].ctrl"
    assert [word for name, word in fake.log if name == "queue[0].ctrl"] == [0, 1]
    registers = fake.registers
    assert MAP.by_name["queue[0].size"].register.unpack(registers["queue[0].size"]) == {"commands": 3, "completions": 3}
    assert registers["queue[0].base_lo"] == queue.commands != queue.completions
    assert registers["queue[0].completion_base_lo"] == queue.completions
    windows = [registers[f"queue[0].{part}_{end}_lo"] for part in ("read", "write") for end in ("base", "limit")]
    assert windows == [0x10000, 0x12000, 0x12000, 0x13000]


@pytest.mark.parametrize("each", [1, 3, 7])
@pytest.mark.parametrize("log_slots", [1, 2, 5])
def test_many_commands_over_small_rings(log_slots, each):
    """Every command is answered once, in order, and the ring is used over and over."""
    fake, queue = opened(log_slots=log_slots, each=each)
    found = [entry["tag"] for entry in queue.run([[command(tag)] for tag in range(100)])]
    assert found == fake.tags == list(range(100)) and queue.outstanding == 0


def test_counts_beyond_16_bits():
    fake, queue = opened(log_slots=6, each=64)
    count = 2**16 + 70
    numbers = [entry["number"] for entry in queue.run([command(tag)] for tag in range(count))]
    assert numbers == [number % 2**16 for number in range(count)] and fake.done == count


def test_a_pair_is_announced_by_one_write():
    fake, queue = opened(each=1)
    list(queue.run([[command(0)], [command(1), command(2)], [command(3)], [command(4), command(5)]]))
    tails = [word for name, word in fake.log if name == "doorbell[0].tail"]
    assert tails[-1] == 6 and not {2, 5} & set(tails)


def test_put_is_all_or_none():
    fake, queue = opened()
    assert queue.put([command(tag) for tag in range(3)])
    assert not queue.put([command(3), command(4)]) and queue.outstanding == 3
    assert queue.put([command(3)]) and not queue.put([command(4)])
    assert "doorbell[0].tail" not in [name for name, _ in fake.log]
    queue.ring_doorbell()
    queue.ring_doorbell()
    assert [word for name, word in fake.log if name == "doorbell[0].tail"] == [4]
    with pytest.raises(ValueError, match="commands must be at most 4, as many as the ring has, not 5"):
        queue.put([command(0)] * 5)


def test_poll_returns_room():
    fake, queue = opened()
    queue.put([command(tag) for tag in range(4)])
    queue.ring_doorbell()
    assert queue.poll() == []
    fake.wait()
    assert [entry["tag"] for entry in queue.poll()] == [0, 1, 2] and queue.outstanding == 1
    assert fake.log[-1] == ("doorbell[0].completion_head", 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(halts=2), "^queue 0 is halted with code 12: None$"),
        (dict(tells=9), "^queue 0 tells 9 completions of 4 commands$"),
        (dict(silent=True), "^completion 0 of queue 0 is not in memory$"),
    ],
)
def test_devices_that_are_wrong(options, message):
    _, queue = opened(**options)
    with pytest.raises(DeviceError, match=message):
        list(queue.run([[command(tag)] for tag in range(6)]))


def test_ring_sizes():
    with pytest.raises(ValueError, match="log_slots must be from 1 to 14, not 15"):
        Queue(Device(FakeDevice(TINY), TINY), log_slots=15)
