"""SpAtten registers: offsets, and fields as (shift, mask of the value).

Generated from hdl/spec/registers.rdl by `make registers`; do not edit.
SPDX-License-Identifier: Apache-2.0
"""

OFFSETS = {
    "ID": 0x0000,
    "VERSION": 0x0004,
    "CONFIG_DIGEST_LO": 0x0008,
    "CONFIG_DIGEST_HI": 0x000C,
    "CAP0": 0x0010,
    "CAP1": 0x0014,
    "CAP2": 0x0018,
    "CAP3": 0x001C,
    "CAP4": 0x0020,
    "CTRL": 0x0040,
    "STATUS": 0x0044,
    "IRQ_PENDING": 0x0048,
    "IRQ_ENABLE": 0x004C,
    "IRQ_TEST": 0x0050,
    "FAULT": 0x0060,
    "FAULT_ADDRESS_LO": 0x0064,
    "FAULT_ADDRESS_HI": 0x0068,
    "TIMEOUT": 0x0070,
    "AXCACHE": 0x0074,
    "MAX_BURST": 0x0078,
    "MAX_OUTSTANDING": 0x007C,
}

# (offset of element 0, stride, most elements)
ARRAYS = {
    "QUEUE_CTRL": (0x0400, 0x40, 8),
    "QUEUE_SIZE": (0x0404, 0x40, 8),
    "QUEUE_BASE_LO": (0x0408, 0x40, 8),
    "QUEUE_BASE_HI": (0x040C, 0x40, 8),
    "QUEUE_COMPLETION_BASE_LO": (0x0410, 0x40, 8),
    "QUEUE_COMPLETION_BASE_HI": (0x0414, 0x40, 8),
    "QUEUE_COALESCE": (0x0418, 0x40, 8),
    "QUEUE_READ_BASE_LO": (0x0420, 0x40, 8),
    "QUEUE_READ_BASE_HI": (0x0424, 0x40, 8),
    "QUEUE_READ_LIMIT_LO": (0x0428, 0x40, 8),
    "QUEUE_READ_LIMIT_HI": (0x042C, 0x40, 8),
    "QUEUE_WRITE_BASE_LO": (0x0430, 0x40, 8),
    "QUEUE_WRITE_BASE_HI": (0x0434, 0x40, 8),
    "QUEUE_WRITE_LIMIT_LO": (0x0438, 0x40, 8),
    "QUEUE_WRITE_LIMIT_HI": (0x043C, 0x40, 8),
    "CHANNEL_BASE_LO": (0x0800, 0x8, 128),
    "CHANNEL_BASE_HI": (0x0804, 0x8, 128),
    "COUNTER_LO": (0x1000, 0x8, 320),
    "COUNTER_HI": (0x1004, 0x8, 320),
    "DOORBELL_TAIL": (0x2000, 0x1000, 8),
    "DOORBELL_HEAD": (0x2004, 0x1000, 8),
    "DOORBELL_COMPLETION_HEAD": (0x2008, 0x1000, 8),
    "DOORBELL_COMPLETION_TAIL": (0x200C, 0x1000, 8),
    "DOORBELL_STATUS": (0x2010, 0x1000, 8),
}

FIELDS = {
    "ID": {
        "id": (0, 0xFFFFFFFF),
    },
    "VERSION": {
        "patch": (0, 0xFF),
        "minor": (8, 0xFF),
        "major": (16, 0xFF),
        "map": (24, 0xFF),
    },
    "CONFIG_DIGEST_LO": {
        "digest": (0, 0xFFFFFFFF),
    },
    "CONFIG_DIGEST_HI": {
        "digest": (0, 0xFFFFFFFF),
    },
    "CAP0": {
        "channels": (0, 0xFF),
        "queues": (8, 0xFF),
        "log_word_bytes": (16, 0xF),
        "address_bits": (24, 0x7F),
    },
    "CAP1": {
        "max_tokens": (0, 0xFFFFFF),
        "contexts": (24, 0xFF),
    },
    "CAP2": {
        "max_heads": (0, 0xFF),
        "max_group": (8, 0xFF),
        "max_dim": (16, 0xFFFF),
    },
    "CAP3": {
        "dims": (0, 0xFFFFFFFF),
    },
    "CAP4": {
        "operand_width": (0, 0xFF),
        "append": (16, 0x1),
        "quantize_query": (17, 0x1),
        "float_results": (18, 0x1),
        "probabilities": (19, 0x1),
        "write_back": (20, 0x1),
    },
    "CTRL": {
        "enable": (0, 0x1),
        "halt": (1, 0x1),
        "soft_reset": (8, 0x1),
        "snapshot": (9, 0x1),
        "clear": (10, 0x1),
    },
    "STATUS": {
        "busy": (0, 0x1),
        "halted": (1, 0x1),
        "draining": (2, 0x1),
        "drain_failed": (3, 0x1),
        "pair_open": (4, 0x1),
        "snapshot_busy": (8, 0x1),
    },
    "IRQ_PENDING": {
        "fault": (0, 0x1),
        "drained": (1, 0x1),
        "snapshot": (2, 0x1),
        "queue": (16, 0xFF),
    },
    "IRQ_ENABLE": {
        "fault": (0, 0x1),
        "drained": (1, 0x1),
        "snapshot": (2, 0x1),
        "queue": (16, 0xFF),
    },
    "IRQ_TEST": {
        "fault": (0, 0x1),
        "drained": (1, 0x1),
        "snapshot": (2, 0x1),
        "queue": (16, 0xFF),
    },
    "FAULT": {
        "code": (0, 0xFF),
        "queue": (8, 0xF),
        "channel": (16, 0x7F),
        "write": (24, 0x1),
        "valid": (31, 0x1),
    },
    "FAULT_ADDRESS_LO": {
        "address": (0, 0xFFFFFFFF),
    },
    "FAULT_ADDRESS_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "TIMEOUT": {
        "cycles": (0, 0xFFFFFFFF),
    },
    "AXCACHE": {
        "arcache": (0, 0xF),
        "awcache": (4, 0xF),
        "arprot": (8, 0x7),
        "awprot": (12, 0x7),
    },
    "MAX_BURST": {
        "read": (0, 0x1FF),
        "write": (16, 0x1FF),
    },
    "MAX_OUTSTANDING": {
        "read": (0, 0x1FF),
        "write": (16, 0x1FF),
    },
    "QUEUE_CTRL": {
        "enable": (0, 0x1),
        "abort": (8, 0x1),
        "resume": (9, 0x1),
    },
    "QUEUE_SIZE": {
        "commands": (0, 0xF),
        "completions": (8, 0xF),
    },
    "QUEUE_BASE_LO": {
        "address": (6, 0x3FFFFFF),
    },
    "QUEUE_BASE_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "QUEUE_COMPLETION_BASE_LO": {
        "address": (6, 0x3FFFFFF),
    },
    "QUEUE_COMPLETION_BASE_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "QUEUE_COALESCE": {
        "count": (0, 0xFF),
        "cycles": (8, 0xFFFFFF),
    },
    "QUEUE_READ_BASE_LO": {
        "address": (12, 0xFFFFF),
    },
    "QUEUE_READ_BASE_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "QUEUE_READ_LIMIT_LO": {
        "address": (12, 0xFFFFF),
    },
    "QUEUE_READ_LIMIT_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "QUEUE_WRITE_BASE_LO": {
        "address": (12, 0xFFFFF),
    },
    "QUEUE_WRITE_BASE_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "QUEUE_WRITE_LIMIT_LO": {
        "address": (12, 0xFFFFF),
    },
    "QUEUE_WRITE_LIMIT_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "CHANNEL_BASE_LO": {
        "address": (12, 0xFFFFF),
    },
    "CHANNEL_BASE_HI": {
        "address": (0, 0xFFFFFFFF),
    },
    "COUNTER_LO": {
        "value": (0, 0xFFFFFFFF),
    },
    "COUNTER_HI": {
        "value": (0, 0xFFFF),
    },
    "DOORBELL_TAIL": {
        "count": (0, 0xFFFF),
    },
    "DOORBELL_HEAD": {
        "count": (0, 0xFFFF),
    },
    "DOORBELL_COMPLETION_HEAD": {
        "count": (0, 0xFFFF),
    },
    "DOORBELL_COMPLETION_TAIL": {
        "count": (0, 0xFFFF),
    },
    "DOORBELL_STATUS": {
        "running": (0, 0x1),
        "halted": (1, 0x1),
        "busy": (2, 0x1),
        "code": (8, 0xFF),
    },
}

CHOICES = {
    ("FAULT", "code"): {
        "bus_read": 12,
        "bus_write": 13,
        "slot": 14,
        "aborted": 15,
        "timeout": 16,
        "window": 17,
        "drain": 18,
    },
    ("DOORBELL_STATUS", "code"): {
        "bus_read": 12,
        "bus_write": 13,
        "slot": 14,
        "aborted": 15,
        "timeout": 16,
        "window": 17,
        "drain": 18,
    },
}

NAMES = {
    "COUNTER": {
        "cycles": 0,
        "jobs": 1,
        "jobs_refused": 2,
        "layers": 3,
        "select_cycles": 4,
        "rows": 5,
        "flat_rows": 6,
        "qk_beats": 7,
        "qk_useful": 8,
        "qk_stall_query": 9,
        "qk_stall_key": 10,
        "qk_stall_out": 11,
        "topk_rows": 12,
        "topk_busy": 13,
        "prune_stall_topk": 14,
        "pv_beats": 15,
        "pv_stall_line": 16,
        "pv_stall_value": 17,
        "pv_stall_out": 18,
        "query_words": 19,
        "key_words": 20,
        "key_lsb_words": 21,
        "value_words": 22,
    },
}


def offset(register, index=None):
    """Bytes from the beginning of the map, as of offset("CTRL") and offset("QUEUE_SIZE", 1)."""
    if register in OFFSETS:
        return OFFSETS[register]
    first, stride, most = ARRAYS[register]
    if index is None or not 0 <= index < most:
        raise ValueError(f"index of {register} must be from 0 to {most - 1}, not {index!r}")
    return first + stride * index


def get(register, field, word):
    """Value of a field in a word that was read."""
    shift, mask = FIELDS[register][field]
    return word >> shift & mask


def put(register, **values):
    """Word with these fields, the others 0."""
    word = 0
    for field, value in values.items():
        shift, mask = FIELDS[register][field]
        if value & ~mask:
            raise ValueError(f"{register}.{field} must be from 0 to {mask}, not {value!r}")
        word |= value << shift
    return word
