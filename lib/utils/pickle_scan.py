"""Which Python names a pickle asks for, found by reading it, never by running it.

A pickle is a small program for a stack machine. Following it with symbols instead of objects
tells every class or function it names, also where the name is put together on the stack, and
whether objects of a class are filled like a dictionary or like a list.
"""

import pickletools

# Python 2 spellings, which the unpickler translates before it looks a name up.
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

# Opcodes that change the object under their arguments and leave it on the stack.
_FILLING = frozenset({"SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS", "BUILD"})
_CALLING = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX"})
_STORING = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_FETCHING = frozenset({"GET", "BINGET", "LONG_BINGET"})


class _Global(NamedTuple):
    name: str


class _Instance(NamedTuple):
    name: str


class _Mark(NamedTuple):
    pass


class _Tuple(NamedTuple):
    """A tuple, with the number of items in it and in all tuples inside."""

    items: tuple[Any, ...]
    weight: int


_MARK = _Mark()
_TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE"})
# The text encodings in which pickles keep bytes; others can take minutes for a short text.
_BYTE_ENCODINGS = ("latin1", "latin-1")
# A checkpoint of seqtrack_l384 with its AdamW state takes 41,054.
MAX_OPERATIONS = 1_000_000
# A small file can nest tuples so that hashing or printing them never ends.
MAX_TUPLE_WEIGHT = 1_000_000


@dataclass
class PickleScan:
    """What one or more pickles ask for.

    Attributes:
        names: full names of classes and functions, in order of appearance (keys only).
        mappings: those of `names` whose objects are filled by key.
        sequences: those of `names` whose objects are appended to.
        protocol: the highest pickle protocol announced.
        complete: every pickle could be followed to its end, and is of a sane size.
    """

    names: dict[str, None] = field(default_factory=dict)
    mappings: set[str] = field(default_factory=set)
    sequences: set[str] = field(default_factory=set)
    protocol: int = 0
    complete: bool = True

    def add(self, stream: BinaryIO) -> None:
        """Follow one pickle from the stream's position to just behind its end."""
        try:
            _Follower(self).follow(stream)
        except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
            # Damaged on purpose or by accident; what was found up to here still counts.
            self.complete = False


class _Follower:
    """The stack machine, with strings, names and placeholders on its stack."""

    def __init__(self, scan: PickleScan) -> None:
        self.scan = scan
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def follow(self, stream: BinaryIO) -> None:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPERATIONS:
                raise ValueError("more operations than any checkpoint needs")
            self.step(opcode, argument)

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        code = opcode.name
        if code == "PROTO":
            self.scan.protocol = max(self.scan.protocol, argument)
        elif code in _STORING:
            self.memo[argument] = self.stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif code in _FETCHING:
            self.stack.append(self.memo[argument])
        elif code == "MARK":
            self.stack.append(_MARK)
        elif code == "DUP":
            self.stack.append(self.stack[-1])
        else:
            self.stack += self.results(opcode, argument, self.pop(opcode))

    def pop(self, opcode: pickletools.OpcodeInfo) -> list[Any]:
        """Take the operands of `opcode` from the stack, first operand first."""
        taken: list[Any] = []
        below = len(opcode.stack_before)
        if pickletools.markobject in opcode.stack_before:
            below = opcode.stack_before.index(pickletools.markobject)
            while not isinstance(item := self.stack.pop(), _Mark):
                taken.append(item)
        taken += [self.stack.pop() for _ in range(below)]
        return taken[::-1]

    def results(self, opcode: pickletools.OpcodeInfo, argument: Any, taken: list[Any]) -> list[Any]:
        code = opcode.name
        if code in _FILLING:
            self.note_filling(code, taken[0])
            return [taken[0]]
        if code in _TUPLES:
            return [_tuple(taken)]
        if code in _CALLING:
            called = taken[0]
            self.check_encoding(called, taken[1])
            return [_Instance(called.name) if isinstance(called, _Global) else None]
        if code in ("GLOBAL", "INST"):
            found = self.found(*argument.split(" ", 1))
            return [found if code == "GLOBAL" else _Instance(found.name)]
        if code == "STACK_GLOBAL":
            module, name = (x if isinstance(x, str) else "<computed>" for x in taken)
            return [self.found(module, name)]
        if code.startswith("EXT"):
            return [self.found("copyreg extension", str(argument))]
        value = argument if isinstance(argument, str) else None
        return [value] * len(opcode.stack_after)

    def check_encoding(self, called: Any, arguments: Any) -> None:
        if called != _Global("_codecs.encode"):
            return
        items = arguments.items if isinstance(arguments, _Tuple) else ()
        if len(items) != 2 or items[1] not in _BYTE_ENCODINGS:
            self.found("_codecs", "encode with an encoding that is not latin1")

    def found(self, module: str, name: str) -> _Global:
        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[module, name]
        elif module in IMPORT_MAPPING:
            module = IMPORT_MAPPING[module]
        full_name = f"{module}.{name}"
        self.scan.names[full_name] = None
        return _Global(full_name)

    def note_filling(self, code: str, target: Any) -> None:
        if isinstance(target, _Instance):
            if code.startswith("SETITEM"):
                self.scan.mappings.add(target.name)
            elif code.startswith("APPEND"):
                self.scan.sequences.add(target.name)


def _tuple(items: list[Any]) -> _Tuple:
    weight = 1 + sum(item.weight if isinstance(item, _Tuple) else 1 for item in items)
    if weight > MAX_TUPLE_WEIGHT:
        raise ValueError("tuples within tuples without end")
    return _Tuple(tuple(items), weight)
