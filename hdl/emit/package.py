"""``spatten_pkg.vh``: where the fields of the ports are, and the configuration, as localparams."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from hdl.spec.config import Config

__all__ = ["config_params", "layout_params", "package_text"]

Params = dict[str, int | str]


def layout_params(prefix: str, shape: Any, offset: int = 0) -> Params:
    """Localparams of a port or a field of this shape whose lowest bit is ``offset``.

    ``_WIDTH`` of all; of the fields of a structure ``_OFFSET`` and ``_WIDTH``, named by their path; of an array also
    ``_COUNT`` and ``_STRIDE``: element ``i`` begins at ``_OFFSET + i * _STRIDE``, and the offsets of its fields are
    those of element 0. A signed field has ``_SIGNED = 1``.
    """
    cast = Shape.cast(shape)
    params: Params = {f"{prefix}_WIDTH": cast.width}
    if cast.signed:
        params[f"{prefix}_SIGNED"] = 1
    if isinstance(shape, data.ArrayLayout):
        stride = Shape.cast(shape.elem_shape).width
        params |= {f"{prefix}_COUNT": shape.length, f"{prefix}_STRIDE": stride}
        if isinstance(shape.elem_shape, data.Layout):
            element = layout_params(prefix, shape.elem_shape, offset)
            params |= {name: value for name, value in element.items() if name not in params}
    elif isinstance(shape, data.Layout):
        for name, field in shape:
            path, start = f"{prefix}_{name}".upper(), offset + field.offset
            params |= {f"{path}_OFFSET": start, **layout_params(path, field.shape, start)}
    return params


def config_params(config: Config, prefix: str) -> Params:
    """Fields of the configuration; of a tuple its length as ``_COUNT`` and its items as ``_0``, ``_1``…"""
    params: Params = {}
    for field in dataclasses.fields(config):
        name, value = f"{prefix}_{field.name.upper()}", getattr(config, field.name)
        if isinstance(value, tuple):
            params[f"{name}_COUNT"] = len(value)
            params |= {f"{name}_{index}": item for index, item in enumerate(value)}
        else:
            params[name] = value if isinstance(value, str) else int(value)
    return params


def _ports(top: Any) -> Iterator[tuple[str, Any]]:
    """Name and shape of every port but ``valid`` and ``ready``; a payload has the name of its stream."""
    for path, member, _ in top.signature.flatten(top):
        if path[-1] not in ("valid", "ready"):
            yield "_".join(map(str, path[:-1] if path[-1] == "payload" else path)), member.shape


def package_text(config: Config, top: Any, name: str) -> str:
    """The header, to be included inside of a module: it has no include guard. ``name`` in capitals begins all names."""
    prefix = name.upper()
    parts = {
        "Configuration": config_params(config, f"{prefix}_CONFIG"),
        **{f"Port {port}": layout_params(f"{prefix}_{port}".upper(), shape) for port, shape in _ports(top)},
    }
    lines = ["// Include it inside of the modules that use it.", "// verilator lint_save"]
    lines.append("// verilator lint_off UNUSEDPARAM")
    for title, params in parts.items():
        lines += ["", f"// {title}"]
        for param, value in params.items():
            lines.append(f"localparam {param} = {_literal(value)};")
    return "\n".join([*lines, "", "// verilator lint_restore"]) + "\n"


def _literal(value: int | str) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
