"""Checks the objects of a model file: a module with its parameters, pickled as TorchScript does it.

torch's reader trusts these files: a tensor may lie outside of its storage, and an attribute may have another type than its
class declares, both of which read and write foreign memory. Nothing is constructed here but plain values.
"""

import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Protocol

from tagger.model.model_definitions import Program, ProgramRefused

ITEM_BYTES = {
    "BFloat16Storage": 2,
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "IntStorage": 4,
    "LongStorage": 8,
    "ShortStorage": 2,
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
DATA_TYPE = re.compile(r"(Dict|List|Optional|Tuple|Tensor|bool|float|int|str|[\[\], ])+")
BOOLEANS = b"\x00\x01"


class Records(Protocol):
    """The data of storages, by their keys. Both raise KeyError."""

    def size_bytes(self, key: str) -> int: ...

    def read(self, key: str) -> bytes: ...


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    items: int


@dataclass(frozen=True)
class _Tensor:
    pass


@dataclass(frozen=True)
class _Typed:
    """A list or dictionary with the type that the file gives it."""

    value: Any
    type: str


@dataclass(frozen=True)
class _Unbuilt:
    class_name: str


@dataclass(frozen=True)
class _Object:
    class_name: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class _Member:
    """A member of an enumeration, by its value."""

    enum_name: str
    value: object


class _Mark:
    pass


MARK = _Mark()
PLAIN_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NEW_VALUES: Mapping[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "MARK": lambda: MARK}
VALUES_IN_THE_FILE = frozenset({"BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE"})
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def check_module(data: bytes, records: Records, program: Program) -> None:
    """Check `data.pkl`: one module, whose attributes have the types that its class declares.

    Raises:
        ProgramRefused: with what is wrong.
    """
    root = _read("data.pkl", data, records)
    if not isinstance(root, _Object):
        raise ProgramRefused("data.pkl has no module")
    _check_object(root, program)


def check_constants(data: bytes, records: Records) -> None:
    """Check `constants.pkl`: a tuple of tensors.

    Raises:
        ProgramRefused: it has something else.
    """
    constants = _read("constants.pkl", data, records)
    if not isinstance(constants, tuple) or not all(isinstance(each, _Tensor) for each in constants):
        raise ProgramRefused("constants.pkl has more than tensors")


def _read(name: str, data: bytes, records: Records) -> Any:
    try:
        return _Reader(name, records).read(data)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProgramRefused(f"{name} is not a pickle of TorchScript") from error


class _Reader:
    """Follows the operations that torch writes. Others, and unusual combinations, are refused."""

    def __init__(self, name: str, records: Records) -> None:
        self._name = name
        self._records = records
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        end = 0
        for number, (operation, argument, position) in enumerate(pickletools.genops(data)):
            if (operation.name == "PROTO") != (number == 0):
                raise ProgramRefused(f"{self._name} is not a pickle of TorchScript")
            self._run(operation.name, argument)
            end = int(position or 0) + 1
        if end != len(data) or len(self._stack) != 1:
            raise ProgramRefused(f"{self._name} has data after its end")
        return self._stack[0]

    def _run(self, operation: str, argument: Any) -> None:
        if operation in PLAIN_VALUES:
            self._stack.append(PLAIN_VALUES[operation])
        elif operation in NEW_VALUES:
            self._stack.append(NEW_VALUES[operation]())
        elif operation in VALUES_IN_THE_FILE:
            self._stack.append(argument)
        elif operation in TUPLES:
            self._stack.append(self._pop_many(TUPLES[operation]))
        elif operation in self._OPERATIONS:
            self._OPERATIONS[operation](self, argument)
        elif operation not in {"PROTO", "STOP"}:
            raise ProgramRefused(f"{self._name} has the operation {operation}, which torch does not write")

    def _push_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        is_storage = module == "torch" and name in ITEM_BYTES
        if not (is_storage or argument in FUNCTIONS or CLASS_NAME.fullmatch(argument)):
            raise ProgramRefused(f"{self._name} names {argument[:100]}")
        self._stack.append(_Global(argument))

    def _recall(self, number: int) -> None:
        self._stack.append(self._memo[number])

    def _push_tuple(self, _argument: None) -> None:
        self._stack.append(self._pop_to_mark())

    def _push_storage(self, _argument: None) -> None:
        self._stack.append(self._storage(self._stack.pop()))

    def _memorise(self, number: int) -> None:
        # Lists and dictionaries can still change, and an object has no attributes yet. torch counts from 0: a large
        # number would make its table of values fill the memory.
        if isinstance(self._stack[-1], list | dict | _Unbuilt | _Mark) or number != len(self._memo):
            raise ProgramRefused(f"{self._name} refers to an unfinished value")
        self._memo[number] = self._stack[-1]

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        if count == 0:
            return ()
        values = tuple(self._stack[-count:])
        if len(values) != count or MARK in values:
            raise ProgramRefused(f"{self._name} is not a pickle of TorchScript")
        del self._stack[-count:]
        return values

    def _pop_to_mark(self) -> tuple[Any, ...]:
        position = len(self._stack) - 1
        while self._stack[position] is not MARK:
            position -= 1
            if position < 0:
                raise ProgramRefused(f"{self._name} is not a pickle of TorchScript")
        values = tuple(self._stack[position + 1 :])
        del self._stack[position:]
        return values

    def _append(self, _argument: None) -> None:
        values = self._pop_to_mark()
        if not isinstance(self._stack[-1], list):
            raise ProgramRefused(f"{self._name} changes a finished value")
        self._stack[-1].extend(values)

    def _set_items(self, _argument: None) -> None:
        values = self._pop_to_mark()
        target = self._stack[-1]
        keys = values[::2]
        if not all(isinstance(key, str | int | float) for key in keys):  # hashing deep tuples crashes Python
            raise ProgramRefused(f"{self._name} has a dictionary with unusual keys")
        is_new = len(set(keys)) == len(keys) and not (isinstance(target, dict) and target)
        if not isinstance(target, dict) or not is_new or len(values) % 2:
            raise ProgramRefused(f"{self._name} changes a finished value")
        target.update(zip(keys, values[1::2], strict=True))

    def _new_object(self, _argument: None) -> None:
        new, arguments = self._pop_many(2)
        if not isinstance(new, _Global) or not CLASS_NAME.fullmatch(new.name) or arguments != ():
            raise ProgramRefused(f"{self._name} makes an object of something else than a class")
        self._stack.append(_Unbuilt(new.name.replace(" ", ".")))

    def _build(self, _argument: None) -> None:
        new, attributes = self._pop_many(2)
        if not isinstance(new, _Unbuilt) or not isinstance(attributes, dict):
            raise ProgramRefused(f"{self._name} changes a finished value")
        self._stack.append(_Object(new.class_name, attributes))

    def _call(self, _argument: None) -> None:
        function, arguments = self._pop_many(2)
        if isinstance(function, _Global) and CLASS_NAME.fullmatch(function.name):
            self._stack.append(_Member(function.name.replace(" ", "."), arguments))
            return
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ProgramRefused(f"{self._name} calls something else than a function")
        if function.name in TYPED_LISTS:
            (values,) = arguments
            self._stack.append(self._typed(values, TYPED_LISTS[function.name]))
        elif function.name == RESTORE_TYPE:
            values, type_text = arguments
            self._stack.append(self._typed(values, type_text))
        elif function.name == REBUILD_TENSOR:
            self._stack.append(self._tensor(*arguments))
        elif function.name == ORDERED_DICT and arguments == ():
            self._stack.append(_Typed({}, ORDERED_DICT))
        else:
            raise ProgramRefused(f"{self._name} calls {function.name}")

    def _typed(self, values: Any, type_text: Any) -> _Typed:
        if not isinstance(values, list | dict) or not isinstance(type_text, str):
            raise ProgramRefused(f"{self._name} gives a type to something else than a list or a dictionary")
        if not DATA_TYPE.fullmatch(type_text) or not _matches(values, type_text, tagging=True):
            raise ProgramRefused(f"{self._name} has values of another type than {type_text}")
        return _Typed(values, type_text)

    def _storage(self, reference: Any) -> _Storage:
        kind, storage, key, device, items = reference
        is_plain = kind == "storage" and device == "cpu" and isinstance(storage, _Global)
        if not is_plain or type(items) is not int or not re.fullmatch(r"\d+", key, re.ASCII):
            raise ProgramRefused(f"{self._name} has an unusual storage")
        name = storage.name.removeprefix("torch ")
        if items * ITEM_BYTES[name] != self._records.size_bytes(key):
            raise ProgramRefused(f"{self._name} has a storage of another size than its data")
        if name == "BoolStorage" and self._records.read(key).strip(BOOLEANS):
            raise ProgramRefused(f"{self._name} has booleans that are neither true nor false")
        return _Storage(items)

    def _tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any
    ) -> _Tensor:
        are_counts = all(type(each) is int and each >= 0 for each in (offset, *size, *stride))
        are_tuples = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
        is_plain = isinstance(requires_grad, bool) and hooks == _Typed({}, ORDERED_DICT)
        if not isinstance(storage, _Storage) or not (are_counts and are_tuples and is_plain):
            raise ProgramRefused(f"{self._name} has an unusual tensor")
        extent = (
            1 + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if prod(size) else 0
        )
        if offset + extent > storage.items:
            raise ProgramRefused(f"{self._name} has a tensor outside of its storage")
        return _Tensor()

    _OPERATIONS: ClassVar[dict[str, Callable[["_Reader", Any], None]]] = {
        "APPENDS": _append,
        "BINGET": _recall,
        "BINPERSID": _push_storage,
        "BINPUT": _memorise,
        "BUILD": _build,
        "GLOBAL": _push_global,
        "LONG_BINGET": _recall,
        "LONG_BINPUT": _memorise,
        "NEWOBJ": _new_object,
        "REDUCE": _call,
        "SETITEMS": _set_items,
        "TUPLE": _push_tuple,
    }


def _check_object(root: _Object, program: Program) -> None:
    """Check a module and its modules. Iterative, and each once, since modules can be shared and deeply nested."""
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
            if isinstance(value, _Object):
                is_right = value.class_name == type_text
                if id(value) not in checked:
                    checked.add(id(value))
                    waiting.append(value)
            elif isinstance(value, _Member):
                members = program.enums.get(value.enum_name, {}).values()
                is_right = (
                    value.enum_name == type_text and isinstance(value.value, str) and value.value in members
                )
            else:
                is_right = _matches(value, type_text)
            if not is_right:
                raise ProgramRefused(f"data.pkl has a {name} that is no {type_text}, as its class declares")


def _matches(value: Any, type_text: str, *, tagging: bool = False) -> bool:
    """Whether a value has this type. A list or dictionary needs a type from the file; while it gets one, its content counts."""
    name, _, inner = type_text.removesuffix("]").partition("[")
    if not inner:
        return name == ("Tensor" if isinstance(value, _Tensor) else type(value).__name__)
    parts = _split(inner)
    if isinstance(value, _Typed) and value.type == type_text:
        return True
    if name in {"Optional", "Union"}:
        choices = [*parts, "NoneType"] if name == "Optional" else parts
        return any(_matches(value, part, tagging=tagging) for part in choices)
    match name, value:
        case "Tuple", tuple() if len(value) == len(parts):
            pairs = list(zip(value, parts, strict=True))
        case "List", list() if tagging:
            pairs = [(each, parts[0]) for each in value]
        case "Dict", dict() if tagging:
            pairs = [pair for item in value.items() for pair in zip(item, parts, strict=True)]
        case _:
            return False
    return all(_matches(each, part, tagging=tagging) for each, part in pairs)


def _split(types: str) -> list[str]:
    """The types of a list like `int, Tuple[int, int]`."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(types):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append(types[start:position].strip())
            start = position + 1
    return [*parts, types[start:].strip()]
