import pytest

from hdl.spec.config import PRESETS
from hdl.spec.register_map import MAP
from sim.transport.device import Device, DeviceError
from tests.bench.fake_device import FakeDevice

TINY = PRESETS["tiny"]


@pytest.fixture
def fake():
    return FakeDevice(TINY)


@pytest.mark.parametrize(
    ("name", "word", "message"),
    [
        ("id", 7, "^ID must be 0x5350544e, not 0x7$"),
        ("version", 2 << 24, r"^VERSION\.MAP must be 1, not 2$"),
        ("config_digest_lo", 1, "^CONFIG_DIGEST must be 0x[0-9a-f]+, of tiny, not 0x[0-9a-f]+00000001$"),
    ],
)
def test_other_devices(fake, name, word, message):
    fake.registers[name] = word
    with pytest.raises(DeviceError, match=message):
        Device(fake, TINY)


def test_settings(fake):
    device = Device(fake, TINY)
    device.enable()
    device.set_channel(1, 0x12_3456_7000)
    device.set_bursts()
    device.irq_enable(queue=0b101)
    device.counters_clear()
    assert fake.log == [
        ("ctrl", 1),
        ("channel[1].base_lo", 0x34567000),
        ("channel[1].base_hi", 0x12),
        ("max_burst", 16 << 16 | TINY.outstanding // 4),
        ("irq_enable", 0b101 << 16 | 1),
        ("ctrl", 1 << 10 | 1),
    ]
    with pytest.raises(ValueError, match="queue must be a mask of 1 to 8 bits, not 0"):
        device.irq_enable(queue=0)


def test_interrupts_are_acknowledged(fake):
    device = Device(fake, TINY)
    assert not any(device.irq_take().values()) and not fake.log
    fake.registers["irq_pending"] = 2 << 16 | 1
    pending = device.irq_take()
    assert (pending["queue"], pending["fault"], pending["drained"]) == (2, 1, 0)
    assert fake.log == [("irq_pending", 2 << 16 | 1)]


def test_faults(fake):
    device = Device(fake, TINY)
    assert device.fault_read() is None
    fields = dict(valid=1, write=1, channel=3, queue=2, code=17)
    fake.registers["fault"] = MAP.by_name["fault"].register.pack(**fields)
    fake.registers |= {"fault_address_lo": 0x40, "fault_address_hi": 0x12}
    assert device.fault_read() == dict(write=1, channel=3, queue=2, code=17, address=0x12_0000_0040)


def test_counters(fake):
    """Of the core by their names, of the channels by their places."""
    device = Device(fake, TINY)
    fake.registers |= {"counter[0].lo": 5, "counter[1].lo": 9, "counter[1].hi": 1}
    fake.registers |= {"counter[64].lo": 11, "counter[66].lo": 12, "counter[66].hi": 2}
    device.snapshot()
    counters = device.core_counters()
    assert (counters["cycles"], counters["jobs"], counters["rows"]) == (5, 2**32 + 9, 0)
    assert device.channel_words() == [11, 2 * 2**32 + 12]
    assert fake.log == [("ctrl", 1 << 9 | 1)]


def test_what_never_comes(fake):
    fake.registers["status"] = MAP.by_name["status"].register.pack(snapshot_busy=1)
    with pytest.raises(DeviceError, match=r"^status\.snapshot_busy must become 0, but did not in 1000 reads$"):
        Device(fake, TINY).snapshot()
