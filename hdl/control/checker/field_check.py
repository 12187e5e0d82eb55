"""Checks the fields of a job that need no other job, list or plane."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import CODE_WIDTH, FIELD_WIDTH, GROUP_FIELD_WIDTH, HEAD_FIELD_WIDTH, LOG_SLICES_WIDTH

__all__ = ["FieldCheck"]

_CODES = (
    payloads.BAD_DIM,
    payloads.BAD_COUNT,
    payloads.BAD_KEEP,
    payloads.BAD_WIDTH,
    payloads.BAD_SCALE,
    payloads.BAD_HEADS,
)
"""In the order in which fields are found wrong."""


class FieldCheck(wiring.Component):
    """The first wrong field of a job, and the sizes that follow from its fields.

    With ``compare`` every comparison that needs no arithmetic is registered, and the products with them; with
    ``measure``, one cycle later, those that need the products. All outputs hold until the next ``compare``; latency 1
    from either pulse, a job every two cycles. Codes as :data:`hdl.spec.payloads.STATUS` explains them.

    Members
    -------
    request : In(job_request(config))    steady from ``compare`` to the last use of an output
    compare : In(1)               pulse: a new request
    measure : In(1)               pulse, one cycle later
    code : Out(CODE_WIDTH)        after ``compare``: code of the first wrong field, OK if none is
    rows : Out(n)                 after ``compare``: num_queries * group; undefined if either is refused
    log_slices : Out(LOG_SLICES_WIDTH)    after ``compare``: log2 of the slices of a row; undefined if D is refused
    too_many : Out(1)             after ``measure``: more rows than max_tokens
    too_long : Out(1)             after ``measure``: more keys than the K region holds (of a pair: half the buffer)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(payloads.job_request(config)),
                "compare": In(1),
                "measure": In(1),
                "code": Out(CODE_WIDTH),
                "rows": Out(FIELD_WIDTH + GROUP_FIELD_WIDTH),
                "log_slices": Out(LOG_SLICES_WIDTH),
                "too_many": Out(1),
                "too_long": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, job, head = self.config, self.request.job, ~self.request.list_only
        wrong = Signal(len(_CODES), reset_less=True)  # one bit a code
        heads = Signal(HEAD_FIELD_WIDTH + 1, reset_less=True)  # up to the last one of the job
        with m.If(self.compare):
            m.d.sync += [
                wrong.eq(Cat(self._wrong()[code] for code in _CODES)),
                heads.eq(job.head + job.group),
                self.rows.eq(self._count_rows()),
            ]
            with m.Switch(job.dim):
                for dim in config.dims:
                    with m.Case(dim):
                        m.d.sync += self.log_slices.eq(config.log_slices(dim))
        with m.If(head & (heads > config.max_heads)):
            m.d.comb += self.code.eq(payloads.BAD_HEADS)  # the last of the codes
        for index, code in reversed(list(enumerate(_CODES))):
            with m.If(wrong[index]):
                m.d.comb += self.code.eq(code)
        slots = job.num_keys << self.log_slices
        # Both regions of a pair begin at a multiple of the banks.
        half = config.key_slots // 2 // config.key_banks * config.key_banks
        with m.If(self.measure):
            m.d.sync += [
                self.too_many.eq(head & (self.rows > config.max_tokens)),
                self.too_long.eq(head & ((slots > config.buffer_slots) | ((job.pair != 0) & (slots > half)))),
            ]
        return m

    def _wrong(self) -> dict[int, Value]:
        """Code -> whether a field of it is wrong; a list is taken for its own sake, whatever its job would be."""
        config, job, head = self.config, self.request.job, ~self.request.list_only
        bad_keys = (
            (job.num_keys == 0)
            | (job.num_rows > config.max_tokens)
            | (job.num_keys > job.num_rows)
            | (job.skew >= config.num_channels)
        )
        bad_queries = (
            (job.num_queries == 0)
            | (job.num_queries > config.max_tokens)
            | (job.causal & (job.num_queries > job.num_keys))
            | (job.generation & ((job.num_queries != 1) | (job.group != 1)))
        )
        split_ok = Cat((job.key_bits == msb) & (job.key_lsb_bits == lsb) for msb, lsb in config.splits).any()
        width_ok = [
            Cat(bits == width for width in config.plane_widths).any() for bits in (job.query_bits, job.value_bits)
        ]
        return {
            payloads.BAD_DIM: ~Cat(job.dim == dim for dim in config.dims).any(),
            payloads.BAD_COUNT: bad_keys | (head & bad_queries),
            payloads.BAD_KEEP: head & ((job.value_keep == 0) | (job.value_keep > job.num_keys)),
            payloads.BAD_WIDTH: head & ~(split_ok & width_ok[0] & width_ok[1]),
            payloads.BAD_SCALE: head & ((job.scale == 0) | (job.shift == 0)),
            payloads.BAD_HEADS: head & ((job.group == 0) | (job.group > config.max_group)),
        }

    def _count_rows(self) -> Value:
        """num_queries * group by shift and add, as a multiplier would cost a DSP that the arrays need.

        The upper bits do not matter: such a count, or group, is refused.
        """
        queries, group = self.request.job.num_queries[: self.config.count_width], self.request.job.group
        bits = group[: self.config.max_group.bit_length()]
        return sum((Mux(bit, queries << i, 0) for i, bit in enumerate(bits)), start=Const(0))
