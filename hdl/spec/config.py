"""The one configuration object that the RTL, the golden model and the simulators read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

__all__ = ["LSB_BITS", "PLANE_WIDTHS", "PRESETS", "Config", "ConfigError"]

PLANE_WIDTHS = (4, 6, 8, 10, 12, 16)
"""Bits of an element in a packed memory plane; a configuration serves those up to ``operand_width``."""

LSB_BITS = 4
"""Bits of the K LSB plane of every progressive split (4+4, 6+4, 8+4, 10+4, 12+4; paper section III-D)."""


class ConfigError(ValueError):
    """A configuration value is not one that the generator can build."""


def _ceil_log2(value: int) -> int:
    return (value - 1).bit_length()


def _is_pow2(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of one SpAtten instance (paper Table I is the preset ``paper``).

    The multiplier arrays are split in ``lanes`` equal lanes of ``lane_width`` multipliers. A row of K or V is
    stored as ``slices(dim)`` slices of ``lane_width`` elements; see docs/architecture.md for the layout.
    """

    name: str = "custom"
    num_multipliers: int = 512
    """Multipliers of the Q×K array, and as many again in the prob×V array."""
    lanes: int = 8
    """Most scores a cycle; a power of two that divides ``num_multipliers``."""
    max_dim: int = 128
    """Largest head dimension D."""
    dims: tuple[int, ...] = (16, 32, 64, 80, 96, 128)
    """Head dimensions served at run time, multiples of 16."""
    operand_width: int = 12
    """Bits of an operand of the multipliers (Q, K, V words on chip)."""
    max_tokens: int = 1024
    """Most keys, and most queries, of a job."""
    buffer_dim: int = 64
    """The K (V) region of a job holds at most ``max_tokens * buffer_dim`` elements."""
    key_rows: int = 2048
    """Rows of ``buffer_dim`` elements in the K buffer."""
    value_rows: int = 2048
    """Rows of ``buffer_dim`` elements in the V buffer."""
    key_pages: int = 16
    """Pages of the K buffer; a job's region is a run of whole pages."""
    value_pages: int = 16
    """Pages of the V buffer."""
    banks_per_lane: int = 1
    """Banks of the K buffer for each lane: K slices that one lane can take in a cycle."""
    num_channels: int = 16
    """Read-only memory ports."""
    channel_width: int = 256
    """Bits of a memory word of one channel."""
    address_width: int = 24
    """Bits of a word address within a channel."""
    topk_parallelism: int = 16
    """Scores a cycle of a quick-select engine (P in the paper)."""
    num_topk_engines: int = 2
    norm_lanes: int = 32
    """Output elements normalized (multiplied by 1/sum) a cycle."""
    outstanding: int = 64
    """Words in flight per channel."""
    slice_queue: int = 8
    """Slices waiting per channel before the crossbar."""
    contexts: int = 4
    """Jobs in flight."""
    loads: int = 4
    """Loads of K, gathered rows of V, and planes of Q that can be in flight (of each)."""
    max_heads: int = 32
    """Most query heads of a layer."""
    max_group: int = 8
    """Most query heads that share a K/V head (grouped-query attention)."""
    query_queue: int = 4
    """Q rows fetched ahead."""
    line_queue: int = 256
    """Lines of scores, and lines of exponentials, that wait for their row's maximum (sum)."""
    adder_levels: int = 2
    """Adder levels between two registers of the Q×K tree. 1 suits an FPGA: its carry chains have flip-flops beside
    them, and a sum of three numbers takes logic in front of one."""
    packing: bool = True
    """Whether a line may hold the end of one row and the start of the next. Without, a row of n keys takes whole lines,
    ceil(n / S) of them: little where lanes are few, and much logic less."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"{field.name} must be a positive integer, not {value!r}")
        if not isinstance(self.packing, bool):
            raise ConfigError(f"packing must be true or false, not {self.packing!r}")
        powers = (
            "num_multipliers",
            "lanes",
            "num_channels",
            "channel_width",
            "topk_parallelism",
            "norm_lanes",
            "contexts",
            "loads",
            "banks_per_lane",
        )
        for name in powers:
            if not _is_pow2(getattr(self, name)):
                raise ConfigError(f"{name} must be a power of two, not {getattr(self, name)!r}")
        if self.num_multipliers % self.lanes:
            raise ConfigError(f"lanes must divide num_multipliers ({self.num_multipliers}), not {self.lanes!r}")
        if not 8 <= self.operand_width <= 16 or self.operand_width % 2:
            raise ConfigError(f"operand_width must be 8, 10, 12, 14 or 16, not {self.operand_width!r}")
        if not _is_pow2(self.max_dim) or not 16 <= self.max_dim <= 128:
            raise ConfigError(f"max_dim must be 16, 32, 64 or 128, not {self.max_dim!r}")
        if not self.dims or list(self.dims) != sorted(set(self.dims)):
            raise ConfigError(f"dims must be ascending, without repeats and not empty, not {self.dims!r}")
        for dim in self.dims:
            if not isinstance(dim, int) or dim % 16 or not 16 <= dim <= self.max_dim:
                raise ConfigError(f"dims must be multiples of 16 from 16 to max_dim ({self.max_dim}), not {dim!r}")
        if not 8 <= self.max_tokens <= 4096:
            raise ConfigError(f"max_tokens must be from 8 to 4096, not {self.max_tokens!r}")
        if self.channel_width < 32:
            raise ConfigError(f"channel_width must be at least 32, not {self.channel_width!r}")
        if self.max_tokens * self.buffer_dim % self.num_multipliers:
            raise ConfigError(
                f"buffer_dim must make max_tokens * buffer_dim a multiple of num_multipliers, not {self.buffer_dim!r}"
            )
        for what, rows, pages in (
            ("key", self.key_rows, self.key_pages),
            ("value", self.value_rows, self.value_pages),
        ):
            if rows < self.max_tokens:
                raise ConfigError(f"{what}_rows must be at least max_tokens ({self.max_tokens}), not {rows!r}")
            slots, least = rows * self.buffer_dim // self.lane_width, max(self.key_banks, self.max_slices)
            size = slots // pages
            if size * pages != slots or size < least or not _is_pow2(size) or rows * self.buffer_dim % self.lane_width:
                raise ConfigError(
                    f"{what}_pages must cut the buffer's {slots} slices in pages of a power of two of slices, at least "
                    f"{least}; not {pages!r}"
                )
        if not 2 <= self.loads <= 16:
            raise ConfigError(f"loads must be from 2 to 16, not {self.loads!r}")
        if not 4 <= self.address_width <= 32:
            raise ConfigError(f"address_width must be from 4 to 32, not {self.address_width!r}")
        if self.norm_lanes > self.max_dim:
            raise ConfigError(f"norm_lanes must be at most max_dim ({self.max_dim}), not {self.norm_lanes!r}")
        if self.norm_lanes > self.num_multipliers:
            raise ConfigError(
                f"norm_lanes must be at most num_multipliers ({self.num_multipliers}), not {self.norm_lanes!r}"
            )
        if not 4 <= self.contexts <= 32:
            raise ConfigError(f"contexts must be from 4 to 32, not {self.contexts!r}")
        if not 1 <= self.max_heads <= 128:
            raise ConfigError(f"max_heads must be from 1 to 128, not {self.max_heads!r}")
        if not 1 <= self.max_group <= min(16, self.max_heads):
            raise ConfigError(f"max_group must be from 1 to 16 and at most max_heads, not {self.max_group!r}")
        if self.topk_parallelism < self.lanes:
            raise ConfigError(f"topk_parallelism must be at least lanes ({self.lanes}), not {self.topk_parallelism}")
        if self.line_queue < self.buffer_depth + 1:
            raise ConfigError(
                f"line_queue must hold the longest row and a line ({self.buffer_depth + 1}), not {self.line_queue}"
            )

    # Derived values. `dim` is any served head dimension.

    @property
    def lane_width(self) -> int:
        """Multipliers of one lane, elements of one slice."""
        return self.num_multipliers // self.lanes

    @property
    def plane_widths(self) -> tuple[int, ...]:
        return tuple(width for width in PLANE_WIDTHS if width <= self.operand_width)

    @property
    def splits(self) -> tuple[tuple[int, int], ...]:
        """All (MSB, LSB) widths of K planes: (w, 0) is static, (w, 4) is progressive quantization."""
        static = [(width, 0) for width in self.plane_widths]
        return tuple(static + [(w, LSB_BITS) for w in self.plane_widths if w + LSB_BITS <= self.operand_width])

    def log_slices(self, dim: int) -> int:
        """log2 of the slices of a row: a row is padded to a power of two of slices."""
        return _ceil_log2(-(-dim // self.lane_width))

    def slices(self, dim: int) -> int:
        return 1 << self.log_slices(dim)

    def scores_per_line(self, dim: int) -> int:
        """Keys of one line (one QK cycle): S = lanes / slices, at least 1."""
        return max(1, self.lanes // self.slices(dim))

    def beats(self, dim: int) -> int:
        """Cycles of one line: more than 1 only if a row has more slices than there are lanes."""
        return max(1, self.slices(dim) // self.lanes)

    @property
    def max_slices(self) -> int:
        return self.slices(self.max_dim)

    @property
    def max_beats(self) -> int:
        return self.beats(self.max_dim)

    @property
    def buffer_depth(self) -> int:
        """Words (of lanes * lane_width elements) of the largest region of a job."""
        return self.max_tokens * self.buffer_dim // self.num_multipliers

    @property
    def buffer_slots(self) -> int:
        """Slices of the largest region of a job."""
        return self.buffer_depth * self.lanes

    def packs(self, dim: int, n: int) -> bool:
        """Whether lines of this job may hold the end of one query's row and the start of the next.

        Only for rows of equal length (not causal, not generation); needs S-1 repeated keys behind the n-th.
        """
        per_line = self.scores_per_line(dim)
        return (
            self.packing
            and n >= per_line
            and n % per_line != 0
            and (n + per_line - 1) * self.slices(dim) <= self.buffer_slots
        )

    @property
    def score_width(self) -> int:
        """Bits of a signed integer score (exact dot product)."""
        return 2 * self.operand_width + _ceil_log2(self.max_dim)

    @property
    def sum_width(self) -> int:
        """Bits of an exp sum, UQ(sum_width-16).16."""
        return 17 + _ceil_log2(self.max_tokens)

    @property
    def acc_width(self) -> int:
        """Bits of a signed prob×V accumulator."""
        return 17 + self.operand_width + _ceil_log2(self.max_tokens)

    @property
    def out_width(self) -> int:
        """Bits of a signed output element, Q(operand_width).8."""
        return self.operand_width + 8

    @property
    def abs_sum_width(self) -> int:
        return self.out_width + _ceil_log2(self.max_dim)

    @property
    def head_width(self) -> int:
        """Bits of a rank among the heads of a layer."""
        return max(1, _ceil_log2(self.max_heads))

    @property
    def group_width(self) -> int:
        """Bits of the place of a query head in its group."""
        return max(1, _ceil_log2(self.max_group))

    @property
    def position_width(self) -> int:
        """Bits of a key position or query index."""
        return _ceil_log2(self.max_tokens)

    @property
    def count_width(self) -> int:
        """Bits of a count of keys (0…max_tokens, and positions with the repeated keys)."""
        return _ceil_log2(self.max_tokens + self.lanes)

    @property
    def slot_width(self) -> int:
        """Bits of a slice index in the K or V buffer."""
        return _ceil_log2(max(self.key_slots, self.value_slots))

    @property
    def key_slots(self) -> int:
        """Slices of the K buffer."""
        return self.key_rows * self.buffer_dim // self.lane_width

    @property
    def value_slots(self) -> int:
        """Slices of the V buffer."""
        return self.value_rows * self.buffer_dim // self.lane_width

    @property
    def key_banks(self) -> int:
        return self.lanes * self.banks_per_lane

    @property
    def key_page_slots(self) -> int:
        """Slices of a page of the K buffer."""
        return self.key_slots // self.key_pages

    @property
    def value_page_slots(self) -> int:
        """Slices of a page of the V buffer."""
        return self.value_slots // self.value_pages

    @property
    def load_width(self) -> int:
        """Bits of the index of a load of one kind."""
        return _ceil_log2(self.loads)

    @property
    def seq_width(self) -> int:
        """Bits of a sequence number of loaded rows, compared modulo; all jobs in flight take less than half of it."""
        return 1 + _ceil_log2(self.contexts * (self.max_tokens + self.lanes) + 1)

    @property
    def channel_bits(self) -> int:
        """Bits of a channel's number; at least 1."""
        return max(1, _ceil_log2(self.num_channels))

    @property
    def context_width(self) -> int:
        return _ceil_log2(self.contexts)

    @property
    def row_bits_max(self) -> int:
        return self.max_dim * self.operand_width

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what :meth:`to_json` wrote; an unknown or ill-typed field is a :class:`ConfigError`."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"configuration is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"configuration must be a JSON object, not {type(data).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        for key in data:
            if key not in known:
                raise ConfigError(f"configuration has an unknown field {key!r}; known are {', '.join(sorted(known))}")
        if "dims" in data:
            if not isinstance(data["dims"], list):
                raise ConfigError(f"dims must be a list, not {data['dims']!r}")
            data["dims"] = tuple(data["dims"])
        return cls(**data)

    @classmethod
    def load(cls, preset: str) -> Config:
        """A preset by name, or a configuration by the path of its JSON file."""
        if preset in PRESETS:
            return PRESETS[preset]
        path = Path(preset)
        if path.suffix == ".json":
            if not path.is_file():
                raise ConfigError(f"preset file {preset!r} does not exist")
            return cls.from_json(path.read_text())
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)} or a .json file, not {preset!r}")


PRESETS: dict[str, Config] = {
    config.name: config
    for config in (
        Config(
            name="tiny",
            num_multipliers=32,
            lanes=2,
            max_dim=64,
            dims=(16, 32, 48, 64),
            max_tokens=64,
            buffer_dim=32,
            key_rows=128,
            value_rows=128,
            key_pages=16,
            value_pages=16,
            num_channels=2,
            channel_width=64,
            address_width=16,
            topk_parallelism=4,
            num_topk_engines=1,
            norm_lanes=4,
            outstanding=16,
            slice_queue=4,
            query_queue=2,
            line_queue=65,
        ),
        Config(
            name="ulx3s",
            num_multipliers=64,
            lanes=2,
            max_dim=64,
            dims=(32, 64),
            operand_width=10,
            max_tokens=1024,
            key_rows=1024,
            value_rows=1024,
            num_channels=1,
            channel_width=64,
            address_width=22,
            topk_parallelism=2,
            num_topk_engines=1,
            norm_lanes=2,
            loads=2,
            outstanding=8,
            slice_queue=4,
            max_heads=16,
            max_group=4,
            query_queue=2,
            line_queue=1025,
            adder_levels=1,
            packing=False,
        ),
        Config(
            name="eighth",
            num_multipliers=64,
            lanes=2,
            max_dim=128,
            num_channels=2,
            topk_parallelism=16,
            norm_lanes=4,
            line_queue=1025,
        ),
        Config(
            name="paper",
            key_rows=3072,
            value_rows=1024,
            key_pages=24,
            value_pages=32,
            banks_per_lane=2,
            contexts=32,
            loads=8,
            query_queue=32,
            num_topk_engines=4,
            outstanding=128,
        ),
        Config(
            name="ulx3s-d32",
            num_multipliers=16,
            lanes=1,
            max_dim=32,
            dims=(16, 32),
            operand_width=10,
            max_tokens=128,
            buffer_dim=32,
            key_rows=128,
            value_rows=128,
            key_pages=8,
            value_pages=8,
            num_channels=1,
            channel_width=64,
            address_width=21,
            topk_parallelism=2,
            num_topk_engines=1,
            norm_lanes=1,
            loads=2,
            outstanding=8,
            slice_queue=4,
            max_heads=12,
            max_group=1,
            query_queue=2,
            line_queue=257,
        ),
    )
}
"""The presets: smallest with every block, ULX3S-85F board, the paper's 1/8 (Table III), the paper's Table I."""
