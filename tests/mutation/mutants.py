"""Small mistakes in a module, one at a time: what a test has to notice."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_LARGE = 1000
"""Numbers beyond this are sizes and durations, where one more or less means nothing."""
_REMOVED = (ast.Expr, ast.AugAssign, ast.Raise, ast.Break, ast.Continue)


@dataclass(frozen=True)
class Mutant:
    """One change of one place.

    Attributes:
        file: path of the module below ``src/synccr``.
        line: where, from 1.
        lines: all lines of the statement or expression.
        key: place and change in words that stay the same when the lines around them move.
        span: bytes of the module's text that are replaced.
        text: what takes their place.
    """

    file: str
    line: int
    lines: range
    key: str
    span: tuple[int, int]
    text: str

    def apply(self, source: str) -> str:
        """The module with the mistake in it."""
        data = source.encode()
        return (data[: self.span[0]] + self.text.encode() + data[self.span[1] :]).decode()

    def rank(self, seed: int) -> bytes:
        """Its place in the order of a seed, whatever other mutants there are."""
        return hashlib.sha256(f"{seed} {self.key}".encode()).digest()


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module's source; ``file`` is its name in reports."""
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen: Counter[str] = Counter()
    for scope, node in _code(ast.parse(source), ""):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        for after in _changes(node):
            before = " ".join(data[begin:end].decode().split())
            key = f"{file} {scope or 'module'}: {before} -> {after}"
            seen[key] += 1
            key += f" ({seen[key]})" if seen[key] > 1 else ""
            lines = range(node.lineno, (node.end_lineno or 0) + 1)
            yield Mutant(file, node.lineno, lines, key, (begin, end), after)


def _code(node: ast.AST, scope: str) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    """Nodes that run, with the function or class that they are in."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_nothing_to_test(child, scope):
                continue
            inner = scope
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{scope}.{child.name}()".lstrip(".")
            elif isinstance(child, ast.ClassDef):
                inner = f"{scope}.{child.name}".lstrip(".")
            if isinstance(child, ast.expr | ast.stmt):
                yield inner, child
            yield from _code(child, inner)


def _is_nothing_to_test(node: ast.AST, scope: str) -> bool:
    """What only types need, abstract methods, and numbers of a module or class: a test of those
    would only repeat them."""
    match node:
        case ast.If(test):
            return ast.unparse(test) == "TYPE_CHECKING"
        case ast.Raise(exc):
            return ast.unparse(exc or node) == "NotImplementedError"
        case ast.Constant(value):
            return type(value) in (int, float) and "()" not in scope
    return False


def _changes(node: ast.AST) -> Iterator[str]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare(left, [op, *ops], values):
            for other in _COMPARISONS[type(op)]:
                yield _unparsed(ast.Compare(left, [other(), *ops], values))
        case ast.BoolOp(op, values):
            yield _unparsed(ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values))
        case ast.UnaryOp(ast.Not(), operand):
            yield _unparsed(operand)
        case ast.Constant(bool() as value):
            yield str(not value)
        case ast.Constant(int() | float() as value) if abs(value) < _LARGE:
            yield _unparsed(ast.Constant(value + 1))
            yield _unparsed(ast.Constant(value - 1))
        case ast.IfExp(test, body, orelse):
            yield _unparsed(ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse))
        case ast.Return(value) if value and ast.unparse(value) != "None":
            yield "return None"
        case ast.Expr(ast.Constant() | ast.Yield() | ast.YieldFrom()):
            return  # a docstring; a generator without its yield is none
        case _ if isinstance(node, _REMOVED) or _is_kept(node):
            yield "pass"


def _is_kept(node: ast.AST) -> bool:
    """Whether a statement stores something in an object."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)


def _unparsed(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if isinstance(node, ast.Constant) and text[0] != "-" else f"({text})"
