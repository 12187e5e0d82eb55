"""The emitted Verilog as modules, who has whom, and how often each stands in the whole."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping

__all__ = ["Hierarchy"]

_MODULE = re.compile(r"^(?:\(\*.*\*\)\n)*module (\S+?) ?\(.*?^endmodule\n", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^  (\w+) (\S+) +\($", re.MULTILINE)


class Hierarchy:
    """Modules of Verilog text, the first of which is the top."""

    def __init__(self, verilog: str) -> None:
        self.texts: Mapping[str, str] = {match[1]: match[0] for match in _MODULE.finditer(verilog)}
        self.top = next(iter(self.texts))
        self._counts = functools.cache(self._count)

    def children(self, module: str) -> dict[str, str]:
        """Instance -> module, of a module's own."""
        found = _INSTANCE.findall(self.texts[module])
        return {instance: kind for kind, instance in found if kind in self.texts}

    def counts(self, module: str) -> Counter[str]:
        """How often each module stands in one, itself included."""
        return self._counts(module)

    def _count(self, module: str) -> Counter[str]:
        total = Counter({module: 1})
        for kind in self.children(module).values():
            total += self.counts(kind)
        return total
