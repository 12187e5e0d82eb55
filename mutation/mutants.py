"""The mutants of a module: its source with a call of mutation/switches.py in the place of each operator."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

from mutation.switches import ALTERNATIVES

__all__ = ["Mutant", "mutated"]

_SWITCHES = "_mutation_switches"
_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """``wrong`` for what ``right`` does with ``text``, which stands at this line and column."""

    number: int
    line: int
    column: int
    right: str
    wrong: str
    text: str


def mutated(path: Path) -> tuple[ast.Module, list[Mutant]]:
    """The module with all its mutants; which of them are hardware is known when it has been elaborated."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    places = _Places()
    tree = places.visit(tree)
    alias = ast.alias(name="mutation.switches", asname=_SWITCHES)
    first = next(
        index
        for index, node in enumerate(tree.body)
        if not (isinstance(node, ast.Expr) or (isinstance(node, ast.ImportFrom) and node.module == "__future__"))
    )
    tree.body.insert(first, ast.Import(names=[alias]))
    return ast.fix_missing_locations(tree), places.mutants


class _Places(ast.NodeTransformer):
    def __init__(self):
        self.mutants: list[Mutant] = []
        self.domain = "comb"

    def _call(self, node: ast.AST, helper: str, right: str, *arguments: ast.expr) -> ast.Call:
        number = self._number(node, right)
        function = ast.Attribute(ast.Name(_SWITCHES, ast.Load()), helper, ast.Load())
        return ast.copy_location(ast.Call(function, [ast.Constant(number), *arguments], []), node)

    def _number(self, node: ast.AST, right: str) -> int:
        """Number of the first mutant of this place."""
        number = len(self.mutants)
        for wrong in ALTERNATIVES[right]:
            at = len(self.mutants), node.lineno, node.col_offset + 1
            self.mutants.append(Mutant(*at, right, wrong, ast.unparse(node)))
        return number

    # What is not hardware: annotations, defaults, decorators.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [self.visit(line) for line in node.body]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(line) if isinstance(line, ast.FunctionDef) else line for line in node.body]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    # What is.

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """``m.d.sync += …``"""
        target, before = node.target, self.domain
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Attribute) and target.value.attr == "d":
            self.domain = "comb" if target.attr == "comb" else "sync"
        node.value = self.visit(node.value)
        self.domain = before
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """``m.next = …``"""
        (target, *others) = node.targets
        if others or not (isinstance(target, ast.Attribute) and target.attr == "next"):
            return self.generic_visit(node)
        test = self._call(node, "kept", "next")
        context = ast.Call(ast.Attribute(target.value, "If", ast.Load()), [test], [])
        return ast.copy_location(ast.With([ast.withitem(context)], [node]), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        name, shown = _BINARY.get(type(node.op)), ast.copy_location(ast.BinOp(node.left, node.op, node.right), node)
        if name is None:
            return self.generic_visit(node)
        call = self._call(shown, "binary", name, ast.Constant(name))
        call.args += [self.visit(node.left), self.visit(node.right)]
        return call

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        name = _BINARY.get(type(node.ops[0]))
        if len(node.ops) != 1 or name is None:
            return self.generic_visit(node)
        call = self._call(node, "binary", name, ast.Constant(name))
        call.args += [self.visit(node.left), self.visit(node.comparators[0])]
        return call

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if not isinstance(node.op, ast.Invert):
            return self.generic_visit(node)
        call = self._call(node, "same", "~")
        call.args.append(self.visit(node.operand))
        return call

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        if isinstance(function, ast.Name) and function.id == "Mux" and len(node.args) == 3:
            call = self._call(node, "chosen", "Mux")
            call.args += [self.visit(argument) for argument in node.args]
            return call
        if not isinstance(function, ast.Attribute) or node.keywords:
            return self.generic_visit(node)
        if function.attr in ("If", "Elif") and len(node.args) == 1:
            call = self._call(node.args[0], "condition", "If")
            call.args.append(self.visit(node.args[0]))
            node.args = [call]
            return node
        if function.attr == "eq" and len(node.args) == 1:
            call = self._call(node, "assigned", self.domain, ast.Constant(self.domain))
            call.args += [self.visit(function.value), self.visit(node.args[0])]
            return call
        if function.attr in ("any", "all") and not node.args:
            call = self._call(node, "reduced", function.attr, ast.Constant(function.attr))
            call.args.append(self.visit(function.value))
            return call
        return self.generic_visit(node)
