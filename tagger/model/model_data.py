"""Checks the objects of a model file: a module with its parameters, pickled as TorchScript does it.

torch's reader trusts these files: a tensor may lie outside of its storage, and an attribute may have another
type than its class declares, both of which read and write foreign memory. Only plain values are built here.
"""

import pickletools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from math import prod
from typing import Any

from tagger.model.model_code import Program, ProgramRefused

Entries = Mapping[str, bytes]

ITEM_BYTES = {
    **dict.fromkeys(("BoolStorage", "ByteStorage", "CharStorage"), 1),
    **dict.fromkeys(("BFloat16Storage", "HalfStorage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage"), 8),
}
TYPED_LISTS = {
    "torch.jit._pickle build_boollist": "List[bool]",
    "torch.jit._pickle build_doublelist": "List[float]",
    "torch.jit._pickle build_intlist": "List[int]",
    "torch.jit._pickle build_tensorlist": "List[Tensor]",
}
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
RESTORE_TYPE = "torch.jit._pickle restore_type_tag"
ORDERED_DICT = "collections OrderedDict"
FUNCTIONS = frozenset({*TYPED_LISTS, REBUILD_TENSOR, RESTORE_TYPE, ORDERED_DICT})
CLASS_NAME = re.compile(r"__torch__[.\w]* \w+", re.ASCII)
DATA_TYPE = re.compile(
    r"(Dict|List|Optional|Tuple|Tensor|bool|float|int|str|[\[\], ])+"
)
STORAGE_KEY = re.compile(r"\d{1,9}", re.ASCII)
BOOLEANS = b"\x00\x01"
# Of types that values are compared with, which bounds the work on values that are shared many
# times. The largest networks of torchvision and timm need 75,000.
COMPARED_LETTERS = 2_000_000
# Of a tensor; those of classifiers have up to 6.
DIMENSIONS = 64


@dataclass(frozen=True)
class _Global:
    # A function of torch, a type of storage, or a class of the program, which has a `class_name`.
    name: str
    class_name: str | None


@dataclass(frozen=True)
class _Storage:
    items: int


@dataclass(frozen=True)
class _Tensor:
    pass


@dataclass(frozen=True)
class _Typed:
    # A list or dictionary with the type that the file gives it.
    value: Any
    type: str


@dataclass(frozen=True)
class _Unbuilt:
    class_name: str


@dataclass(frozen=True)
class _Object:
    class_name: str
    attributes: dict[str, Any]


MARK = object()
PLAIN_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": MARK}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def check_module(entries: Entries, program: Program) -> None:
    """Check `data.pkl`: one module, whose attributes have the types that its class declares.

    Raises:
        ProgramRefused: it has something else.
    """
    types = _TypeChecker()
    root = _read(entries, "data", types)
    if not isinstance(root, _Object):
        raise ProgramRefused("data.pkl has no module")

    # Check a module and its modules, each once: they can be shared and deeply nested.
    waiting, checked = [root], {id(root)}
    while waiting:
        instance = waiting.pop()
        declared = program.classes.get(instance.class_name)
        if declared is None or instance.attributes.keys() != declared.attributes.keys():
            raise ProgramRefused(
                f"data.pkl has other attributes than the class {instance.class_name} declares"
            )
        for name, type_text in declared.attributes.items():
            value = instance.attributes[name]
            if not types.is_declared(value, type_text):
                raise ProgramRefused(
                    f"data.pkl has a {name} that is no {type_text}, as its class declares"
                )
            if isinstance(value, _Object) and id(value) not in checked:
                checked.add(id(value))
                waiting.append(value)


def check_constants(entries: Entries) -> None:
    """Check `constants.pkl`: a tuple of tensors.

    Raises:
        ProgramRefused: it has something else.
    """
    constants = _read(entries, "constants", _TypeChecker())
    if not isinstance(constants, tuple) or not all(
        isinstance(constant, _Tensor) for constant in constants
    ):
        raise ProgramRefused("constants.pkl has more than tensors")


def _read(entries: Entries, folder: str, types: "_TypeChecker") -> Any:
    try:
        return _Reader(entries, folder, types).read(entries[f"{folder}.pkl"])
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ProgramRefused(f"{folder}.pkl is not what TorchScript writes") from error


def _require(condition: object) -> None:
    if not condition:
        raise ValueError


class _Reader:
    # Follows the operations that torch writes. Others, and unusual combinations, raise an error.
    def __init__(self, entries: Entries, folder: str, types: "_TypeChecker") -> None:
        self._entries, self._folder, self._types = entries, folder, types
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        # The storages of booleans that are checked.
        self._boolean_keys: set[str] = set()

    def read(self, data: bytes) -> Any:
        end = 0
        for number, (operation, argument, position) in enumerate(
            pickletools.genops(data)
        ):
            _require((operation.name == "PROTO") == (number == 0))
            self._run(operation.name, argument)
            end = int(position or 0) + 1
        _require(end == len(data) and len(self._stack) == 1)
        return self._stack[0]

    def _run(self, operation: str, argument: Any) -> None:
        match operation:
            case "PROTO" | "STOP":
                pass
            case "BINPUT" | "LONG_BINPUT":
                # Lists and dictionaries can still change, and an object has no attributes yet.
                # torch counts from 0: a large number would make its table of values fill the memory.
                value = self._stack[-1]
                is_unfinished = isinstance(value, list | dict | _Unbuilt)
                _require(value is not MARK and not is_unfinished)
                _require(argument == len(self._memo))
                self._memo[argument] = value
            case "APPENDS":
                values = self._pop_to_mark()
                _require(isinstance(self._stack[-1], list))
                self._stack[-1].extend(values)
            case "SETITEMS":
                values = self._pop_to_mark()
                target, keys = self._stack[-1], values[::2]
                # Hashing deep tuples crashes Python.
                _require(all(isinstance(key, str | int | float) for key in keys))
                _require(isinstance(target, dict) and not target)
                _require(len(set(keys)) == len(keys))
                target.update(zip(keys, values[1::2], strict=True))
            case "TUPLE" | "BINPERSID" | "NEWOBJ" | "BUILD" | "REDUCE":
                self._stack.append(self._combined(operation))
            case _ if operation in TUPLES:
                self._stack.append(self._pop_many(TUPLES[operation]))
            case _:
                self._stack.append(self._value(operation, argument))

    def _value(self, operation: str, argument: Any) -> Any:
        match operation:
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "MARK":
                return PLAIN_VALUES[operation]
            case "EMPTY_DICT" | "EMPTY_LIST":
                return {} if operation == "EMPTY_DICT" else []
            case "BINGET" | "LONG_BINGET":
                return self._memo[argument]
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                if CLASS_NAME.fullmatch(argument):
                    return _Global(argument, argument.replace(" ", "."))
                is_storage = module == "torch" and name in ITEM_BYTES
                _require(is_storage or argument in FUNCTIONS)
                return _Global(argument, None)
        _require(
            operation in {"BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE"}
        )
        return argument

    def _combined(self, operation: str) -> Any:
        # A value that is made of those at the end of the stack.
        if operation == "TUPLE":
            return self._pop_to_mark()
        if operation == "BINPERSID":
            return self._storage(*self._stack.pop())
        new, values = self._pop_many(2)
        if operation == "REDUCE":
            return self._call(new, values)
        if operation == "NEWOBJ":
            _require(new.class_name and values == ())
            return _Unbuilt(new.class_name)
        _require(isinstance(new, _Unbuilt) and isinstance(values, dict))
        return _Object(new.class_name, values)

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        values = tuple(self._stack[len(self._stack) - count :])
        _require(len(values) == count and MARK not in values)
        del self._stack[len(self._stack) - count :]
        return values

    def _pop_to_mark(self) -> tuple[Any, ...]:
        position = len(self._stack) - 1
        while self._stack[position] is not MARK:
            position -= 1
        values = tuple(self._stack[position + 1 :])
        del self._stack[position:]
        return values

    def _call(self, function: Any, arguments: Any) -> Any:
        _require(isinstance(arguments, tuple))
        if function.name in TYPED_LISTS:
            (values,) = arguments
            return self._typed(values, TYPED_LISTS[function.name])
        if function.name == RESTORE_TYPE:
            return self._typed(*arguments)
        if function.name == REBUILD_TENSOR:
            return self._tensor(*arguments)
        _require(function.name == ORDERED_DICT and arguments == ())
        return _Typed({}, ORDERED_DICT)

    def _typed(self, values: Any, type_text: Any) -> _Typed:
        _require(isinstance(values, list | dict))
        _require(
            self._types.matches(values, type_text, tagging=True)
            and DATA_TYPE.fullmatch(type_text)
        )
        return _Typed(values, type_text)

    def _storage(
        self, kind: Any, storage: Any, key: Any, device: Any, items: Any
    ) -> _Storage:
        _require(
            (kind, device) == ("storage", "cpu")
            and type(items) is int
            and STORAGE_KEY.fullmatch(key)
        )
        name = storage.name.removeprefix("torch ")
        data = self._entries[f"{self._folder}/{key}"]
        _require(items * ITEM_BYTES[name] == len(data))
        if name == "BoolStorage" and key not in self._boolean_keys:
            # torch reads a byte that is neither true nor false as both.
            _require(not data.strip(BOOLEANS))
            self._boolean_keys.add(key)
        return _Storage(items)

    def _tensor(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        hooks: Any,
    ) -> _Tensor:
        _require(isinstance(size, tuple) and isinstance(stride, tuple))
        _require(len(size) == len(stride) <= DIMENSIONS)
        _require(
            all(type(each) is int and each >= 0 for each in (offset, *size, *stride))
        )
        _require(isinstance(requires_grad, bool) and hooks == _Typed({}, ORDERED_DICT))
        sides = zip(size, stride, strict=True)
        extent = 1 + sum((side - 1) * step for side, step in sides) if prod(size) else 0
        _require(isinstance(storage, _Storage) and offset + extent <= storage.items)
        return _Tensor()


class _TypeChecker:
    # Compares the values of a file with types, of which it reads a limited number of letters.
    # A list can have one tuple twice, which has one list twice, and so on: a few bytes make
    # millions of values.
    def __init__(self) -> None:
        self._letters = 0

    def is_declared(self, value: Any, type_text: str) -> bool:
        if isinstance(value, _Object):
            return value.class_name == type_text
        return self.matches(value, type_text)

    def matches(self, value: Any, type_text: str, *, tagging: bool = False) -> bool:
        """Whether a value has this type.

        `tagging`: the type of a list or dictionary follows from its content.

        Raises:
            ProgramRefused: too many values were compared with types that are too long.
        """
        self._letters += len(type_text)
        if self._letters > COMPARED_LETTERS:
            raise ProgramRefused("it has more values than a classifier needs")
        name, _, inner = type_text.removesuffix("]").partition("[")
        if not inner:
            return name == (
                "Tensor" if isinstance(value, _Tensor) else type(value).__name__
            )
        if isinstance(value, _Typed) and value.type == type_text:
            return True
        parts = _split(inner)
        if name in {"Optional", "Union"}:
            choices = [*parts, "NoneType"] if name == "Optional" else parts
            return any(self.matches(value, part, tagging=tagging) for part in choices)
        pairs: Iterable[tuple[Any, str]]
        match name, value:
            case "Tuple", tuple() if len(value) == len(parts):
                pairs = zip(value, parts, strict=True)
            case "List", list() if tagging:
                pairs = zip(value, repeat(parts[0]))
            case "Dict", dict() if tagging and len(parts) == 2:
                pairs = chain(
                    zip(value.keys(), repeat(parts[0])),
                    zip(value.values(), repeat(parts[1])),
                )
            case _:
                return False
        return all(self.matches(each, part, tagging=tagging) for each, part in pairs)


def _split(types: str) -> list[str]:
    # The types of a list like `int, Tuple[int, int]`.
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(types):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append(types[start:position].strip())
            start = position + 1
    return [*parts, types[start:].strip()]
