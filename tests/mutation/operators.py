"""Small mistakes in a Python module, one at a time: mutants, which some test should notice."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or,
    ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_PAIRS = (
    ("min", "max"), ("minimum", "maximum"), ("ceil", "floor"), ("any", "all"),
    ("argmin", "argmax"), ("sum", "mean"), ("greater", "greater_equal"), ("less", "less_equal"),
)  # fmt: skip
_CALLS = {**dict(_PAIRS), **{second: first for first, second in _PAIRS}}
# What no test of behaviour is about: types, decorators, and the words of messages.
_LEFT_OUT = ("annotation", "returns", "decorator_list")


@dataclass(frozen=True)
class Mutant:
    """A module with one mistake.

    Attributes:
        line: of the mistake, from 1.
        text: what stood there, and what stands there now.
        code: of the whole module.
    """

    line: int
    text: str
    code: CodeType


class _Exchange(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def mutants(source: str, name: str) -> Iterator[Mutant]:
    """All mutants of the source of a module, in the order of its syntax tree."""
    tree = ast.parse(source)
    for node in list(_nodes(tree)):
        for other in _variants(node):
            ast.fix_missing_locations(ast.copy_location(other, node))
            _Exchange(node, other).visit(tree)
            code = compile(tree, name, "exec")
            _Exchange(other, node).visit(tree)
            yield Mutant(node.lineno, f"{_short(node)}  ->  {_short(other)}", code)


def _nodes(node: ast.AST) -> Iterator[Any]:
    """A node and all below it that are code."""
    yield node
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in _LEFT_OUT:
                if not isinstance(child, ast.JoinedStr):
                    yield from _nodes(child)


def _variants(node: ast.AST) -> Iterator[Any]:
    """The same node with a mistake; each is another one."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if other := _OPERATORS.get(type(operator)):
                wrong = copy.copy(node)
                wrong.ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield wrong
    elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        if other := _OPERATORS.get(type(node.op)):
            yield _with(node, op=other())
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(_another(node.value))
    elif isinstance(node, ast.Continue):
        yield ast.Break()
    elif isinstance(node, ast.Attribute) and node.attr in _CALLS:
        yield _with(node, attr=_CALLS[node.attr])
    elif isinstance(node, ast.Name) and node.id in _CALLS:
        yield _with(node, id=_CALLS[node.id])


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _another(value: float) -> float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 1.5 or 0.5


def _short(node: ast.AST) -> str:
    """A node as code on one line; of a statement, its condition."""
    shown = node.test if isinstance(node, (ast.If, ast.While)) else node
    return " ".join(ast.unparse(shown).split())[:100]
