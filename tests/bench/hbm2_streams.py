"""Random HBM2 channels and random streams of requests, to hold models of a channel against each other."""

import dataclasses

from sim.engine.hbm2_timing import HBM2Timing

NEVER = 1 << 30
"""A refresh interval without a refresh in any test."""


def burst(*, pseudo=0, group=0, bank=0, row=0, column=0):
    """Number of a burst with the default mapping: row, bank, column, group, pseudo channel, from high to low."""
    return ((((row * 4 + bank) * 32) + column) * 4 + group) * 2 + pseudo


def random_timing(source):
    """Every parameter differs from the default, within what makes sense."""
    fields = {field.name: field.default for field in dataclasses.fields(HBM2Timing)}
    changes = {name: source.randint(1, 2 * value) for name, value in fields.items() if name.startswith("t")}
    changes["tRFC"] = source.randint(20, 100)
    changes["tREFI"] = changes["tRFC"] + source.randint(200, 900)
    return HBM2Timing(
        **changes,
        pseudo_channels=source.choice([1, 2, 4]),
        bank_groups=source.choice([1, 2, 4]),
        banks=source.choice([1, 2, 4]),
        page_bytes=source.choice([512, 1024]),
        group_interleave=source.choice([1, 2, 4]),
        act_cycles=source.choice([1, 2, 3]),
        queue=source.choice([1, 5, 64]),
        frontend=source.randint(1, 12),
        backend=source.randint(0, 12),
        refresh_stagger=source.choice([0, 77]),
    )


def random_stream(source, count):
    """Addresses of short sequential pieces, jumps and repeats, and some writes."""
    addresses, writes, address = [], [], 0
    share = source.choice([0.0, 0.3])
    while len(addresses) < count:
        address = source.choice([address + source.randint(0, 3), source.randrange(1 << 8), source.randrange(1 << 16)])
        for _ in range(source.choice([1, 2, 16])):
            addresses.append(address)
            writes.append(source.random() < share)
            address += 1
    return addresses[:count], writes[:count]
