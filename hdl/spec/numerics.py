"""Fixed-point constants that the RTL and the integer golden model share (docs/numerics.md explains them)."""

PLANE_WIDTHS = (4, 6, 8, 10, 12, 16)
"""Bits of an element in a packed memory plane; a configuration serves those up to ``operand_width``."""
LSB_BITS = 4
"""Bits of the K LSB plane of every progressive split (4+4, 6+4, 8+4, 10+4, 12+4; paper section III-D)."""

EXP_FRAC = 16
"""Fraction bits of an exponential: UQ1.16, 1.0 is 65536."""
EXP_WIDTH = EXP_FRAC + 1
X_FRAC = 12
"""Fraction bits of the exponent x = (max - score) * scale, in log2 units: UQ5.12, saturating."""
X_WIDTH = 5 + X_FRAC
SCALE_WIDTH = 16
"""Bits of the unsigned mantissa of the per-head dequantization scale."""
SHIFT_WIDTH = 6
"""Bits of its right shift, 1…63."""
EXP_INDEX = 6
"""Index bits of the exponential table; the rest of the fraction is interpolated."""
RECIP_FRAC = 16
"""Fraction bits of the reciprocal mantissa: UQ1.16, in (0.5, 1]."""
RECIP_WIDTH = RECIP_FRAC + 1
RECIP_EXP_WIDTH = 4
"""Bits of the exponent of a reciprocal, where no sum goes on from job to job."""
RECIP_INDEX = 8
RECIP_LOW = 10
"""Interpolated bits of the normalized sum; bits below are dropped."""
CHAIN_KEYS = 2**20
"""Most keys that the jobs of a chain attend together."""
PART_KEYS = 128
"""Keys of a job of a chain, as hosts cut a context: what a row loses beside its largest score is at most this many
times half the last bit of an exponential."""
FOLD_GUARD = 8
"""Fraction bits below those of an exponential in the sums that a chain carries from job to job."""
OUT_FRAC = 8
"""Fraction bits of an output element, in units of one LSB of a left-justified V word."""

IMPORTANCE_WIDTH = 32
"""Bits of a cumulative importance, unsigned, saturating: UQ16.16 of a token, in the host's units of a head."""
WEIGHT_WIDTH = 16
"""Bits of a head's weight: the unit of its V, which makes Σ|out| of heads and layers comparable."""
HEAD_SHIFT = 24
"""Bits dropped from Σ|out| * weight before it is added to a head's importance."""
HEAD_SUM_WIDTH = 48
"""Bits of Σ|out| of a head over the rows of a layer, saturating."""

EXP_TABLE = [round(2 ** (-i / 2**EXP_INDEX) * 2**EXP_FRAC) for i in range(2**EXP_INDEX + 1)]
EXP_BASE = EXP_TABLE[:-1]
EXP_SLOPE = [EXP_TABLE[i] - EXP_TABLE[i + 1] for i in range(2**EXP_INDEX)]

RECIP_TABLE = [round(2**RECIP_FRAC / (1 + i / 2**RECIP_INDEX)) for i in range(2**RECIP_INDEX + 1)]
RECIP_BASE = RECIP_TABLE[:-1]
RECIP_SLOPE = [RECIP_TABLE[i] - RECIP_TABLE[i + 1] for i in range(2**RECIP_INDEX)]
