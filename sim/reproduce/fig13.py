"""Figure 13: area and power by part of the machine."""

from __future__ import annotations

from sim.asic.published import PAPER_MM2, PAPER_TOTAL_MM2
from sim.energy.constants import PUBLISHED
from sim.reproduce.figures import Entry, Figure
from sim.reproduce.lab import Lab

__all__ = ["fig13"]

_PRESETS = ("paper", "eighth")
_AREA, _POWER = "mm² at 40 nm", "W at 1 GHz"


def fig13(lab: Lab) -> Figure:
    """Area scaled to the paper's node, and power, of our parts beside the paper's."""
    entries = _published()
    for name, value in lab.silicon.values.items():
        preset, _, rest = name.partition(".")
        kind, _, part = rest.rpartition(".")
        source = lab.silicon.sources[name]
        if preset in _PRESETS and kind == "area_mm2":
            place, unit = f"{part}, {preset}", _AREA
        elif preset == "energy" and kind == "per8.watts":
            place, unit = f"{part}, eighth, GPT-2", _POWER
        else:
            continue
        entries.append(Entry(series="ours", x=place, value=value, unit=unit, kind="estimated", source=source))
    return Figure(
        name="fig13",
        title="Area by part (paper, Fig. 13; table: power, too)",
        style="bars",
        x_label="part",
        y_label=_AREA,
        drawn_unit=_AREA,
        logarithmic=True,
        entries=sorted(entries, key=lambda entry: (entry.unit, str(entry.x))),
        notes=[
            "Before layout; cells of 45 nm scaled to 40 nm by the square of the feature size; memories by CACTI 7.",
            "The published powers are of the machine with 512 + 512 multipliers, ours of the preset eighth.",
            *([] if lab.silicon.values else ["No records of spatten bench silicon: only published numbers."]),
        ],
    )


def _published() -> list[Entry]:
    areas = {**PAPER_MM2, "total": PAPER_TOTAL_MM2["paper"]}
    powers = {part: watts for part, watts in PUBLISHED.items() if part != "gop_per_j"}
    return [
        Entry(
            series="published", x=f"{part}, published", value=value, unit=unit, kind="quoted", source="paper, Fig. 13"
        )
        for unit, values in ((_AREA, areas), (_POWER, powers))
        for part, value in values.items()
    ]
