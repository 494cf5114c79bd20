"""What the files of a model's program define: modules with attributes and methods, enumerations and functions."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from tagger.model.model_language import CUSTOM_CLASSES, IDENTIFIER


class ProgramRefused(Exception):
    """The program of a model file does something that no classifier needs; the text says what."""


@dataclass(frozen=True)
class ModuleClass:
    """A class of the program: the types of its attributes as written, and the names of its methods."""

    name: str
    attributes: Mapping[str, str]
    constants: frozenset[str]
    methods: frozenset[str]


@dataclass(frozen=True)
class Program:
    """The code of a model file, checked: its classes and the members of its enumerations by qualified name, and the source of each file."""

    classes: Mapping[str, ModuleClass]
    enums: Mapping[str, Mapping[str, object]]
    sources: Mapping[str, str]


@dataclass
class Definitions:
    """What the files define, by qualified name."""

    classes: dict[str, ModuleClass] = field(default_factory=dict)
    enums: dict[str, dict[str, object]] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)

    def add_file(self, path: str, tree: ast.Module) -> None:
        module = module_name(path)
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue  # refused later
            name = f"{module}.{node.name}"
            is_new = not any(name in names for names in (self.classes, self.enums, self.functions))
            _require(is_new and IDENTIFIER.fullmatch(node.name), path, f"the name {node.name}")
            if isinstance(node, ast.FunctionDef):
                self.functions.add(name)
            elif [ast.unparse(base) for base in node.bases] == ["Enum"]:
                self.enums[name] = _declared_members(node)
            else:
                self.classes[name] = _declared_class(name, node, path)


def module_name(path: str) -> str:
    """The qualified name of a file.

    Raises:
        ProgramRefused: its path is not that of a module of a program.
    """
    parts = path.removesuffix(".py").split("/")
    _require(parts[0] == "__torch__" and all(map(IDENTIFIER.fullmatch, parts)), path, "its name")
    name = ".".join(parts)
    _require(not f"{name}.".startswith(f"{CUSTOM_CLASSES}."), path, "its name")
    return name


def _declared_class(name: str, node: ast.ClassDef, path: str) -> ModuleClass:
    attributes: dict[str, str] = {}
    constants: set[str] = set()
    for each in node.body:
        match each:
            case ast.AnnAssign(target=ast.Name(id=attribute), annotation=annotation, value=value):
                is_constant = value is not None
            case ast.Assign(
                targets=[ast.Subscript(ast.Name(id="__annotations__"), ast.Constant(value=str(attribute)))],
                value=annotation,
            ):
                is_constant = False
            case _:
                continue
        _require(
            attribute not in attributes and attribute not in constants, path, f"{name}.{attribute} twice"
        )
        if is_constant:
            constants.add(attribute)
        else:
            attributes[attribute] = ast.unparse(annotation)
    methods = frozenset(each.name for each in node.body if isinstance(each, ast.FunctionDef))
    return ModuleClass(name, attributes, frozenset(constants), methods)


def _declared_members(node: ast.ClassDef) -> dict[str, object]:
    members: dict[str, object] = {}
    for each in node.body:
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                members[name] = value
    return members


def _require(condition: object, path: str, what: str) -> None:
    if not condition:
        raise ProgramRefused(f"its code in {path} uses {what}, which no exported classifier needs")
