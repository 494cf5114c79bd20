"""Checks the code of a model file against the operators and the syntax that exported classifiers need.

TorchScript is stored as source text in Python's syntax. It is parsed and never run. `Program.source` returns the text of
the checked syntax tree, so torch compiles what was checked, even where its parser understands the original differently.

A module's method is called only where the class of the module is known from the declarations: on anything else, torch
takes the name of a method for an operator.
"""

import ast
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from tagger.model.model_definitions import (
    BUILTINS,
    CALLS_WITH_TYPES,
    CASTABLE,
    CONSTANT,
    DUNDER,
    FIXED_KEYWORDS,
    GENERIC_TYPES,
    IDENTIFIER,
    KEYWORDS,
    LISTS_OF_NAMES,
    METHODS_OF_MODULES,
    OPERATORS,
    PRIMITIVES,
    RESERVED,
    SIMPLE_TYPES,
    Definitions,
    Program,
    ProgramRefused,
    module_name,
)

_PARSING = threading.Lock()
"""Python 3.11 counts the depth of syntax trees for all threads together, so a parse can fail beside another (SystemError)."""


def check_code(sources: Mapping[str, bytes]) -> Program:
    """Check all source files of a model. The keys are paths like `__torch__/torch/nn/modules/linear.py`.

    Raises:
        ProgramRefused: with the file and what it uses.
    """
    trees = {path: _parse(path, source) for path, source in sources.items()}
    names = Definitions()
    for path, tree in trees.items():
        names.add_file(path, tree)
    for path, tree in trees.items():
        _FileChecker(path, names).check(tree)
    return Program(
        names.classes, names.enums, {path: f"{ast.unparse(tree)}\n" for path, tree in trees.items()}
    )


def _parse(path: str, source: bytes) -> ast.Module:
    try:
        with _PARSING:
            return ast.parse(source.decode())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProgramRefused(f"{path} is not TorchScript") from error


@dataclass
class _Names:
    """The local variables of a function: those that are modules, with their class, those that are functions, and all others."""

    classes: dict[str, str] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    values: dict[str, str | None] = field(default_factory=dict)
    """The other variables, with their type if they are assigned only once and with a type."""


class _FileChecker:
    """Checks one file. Every kind of syntax that is not handled is refused."""

    def __init__(self, path: str, names: Definitions) -> None:
        self._path = path
        self._module = module_name(path)
        self._classes = names.classes
        self._enums = names.enums
        self._functions = names.functions
        self._names = _Names()

    def check(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self._check_class(node)
            else:
                self._check_function(node, None)

    def _refuse(self, node: ast.AST, what: str | None = None) -> ProgramRefused:
        what = what or ast.unparse(node)
        return ProgramRefused(
            f"its code in {self._path} uses {what[:100]}, and exported classifiers never do"
        )

    def _check_class(self, node: ast.ClassDef) -> None:
        match node:
            case ast.ClassDef(bases=[ast.Name(id="Module")], keywords=[], decorator_list=[]):
                pass
            case ast.ClassDef(bases=[ast.Name(id="Enum")], keywords=[], decorator_list=[]):
                self._check_enum(node)
                return
            case _:
                raise self._refuse(node, f"class {node.name}")
        for each in node.body:
            if isinstance(each, ast.FunctionDef):
                self._check_function(each, f"{self._module}.{node.name}")
            else:
                self._check_declaration(each)

    def _check_declaration(self, node: ast.stmt) -> None:
        match node:
            case ast.Pass() | ast.Assign(targets=[ast.Name(id="__annotations__")], value=ast.List(elts=[])):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value, simple=1):
                self._check_identifier(name, node)
                self._check_type(annotation)
                if value is not None:
                    self._check_constant(annotation, value)
            case ast.Assign(
                targets=[ast.Subscript(ast.Name(id="__annotations__"), ast.Constant(value=str()))],
                value=annotation,
            ):
                self._check_type(annotation)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List() as value) if name in LISTS_OF_NAMES:
                self._check_literal(value)
            case _:
                raise self._refuse(node)

    def _check_constant(self, annotation: ast.expr, value: ast.expr) -> None:
        match annotation:
            case ast.Subscript(value=ast.Name(id="Final")):
                self._check_literal(value)
            case _:
                raise self._refuse(value)

    def _check_enum(self, node: ast.ClassDef) -> None:
        for each in node.body:
            match each:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() as value):
                    self._check_identifier(name, each)
                    self._check_literal(value)
                case _:
                    raise self._refuse(each)

    def _check_function(self, node: ast.stmt, class_name: str | None) -> None:
        match node:
            case ast.FunctionDef(
                args=ast.arguments(posonlyargs=[], vararg=None, kwonlyargs=[], kwarg=None) as arguments,
                decorator_list=[],
            ):
                pass
            case _:
                raise self._refuse(node, ast.unparse(node).splitlines()[0])
        self._check_identifier(node.name, node)
        if DUNDER.fullmatch(node.name) and node.name not in METHODS_OF_MODULES:
            raise self._refuse(node, f"the method {node.name}")
        self._names = _Names()
        for position, argument in enumerate(arguments.args):
            if argument.annotation is None:
                raise self._refuse(argument)
            self._check_type(argument.annotation)
            declared = ast.unparse(argument.annotation)
            is_self = class_name is not None and position == 0
            self._declare(argument.arg, class_name if is_self else declared, node)
        for default in arguments.defaults:  # evaluated when the file is loaded
            self._check_literal(default)
        if node.returns is not None:
            self._check_type(node.returns)
        self._check_statements(node.body)

    def _declare(self, name: str, type_text: str | None, node: ast.AST) -> None:
        """Record an assignment to a local variable of this type; None for values, whose type does not matter."""
        self._check_identifier(name, node)
        before = self._names.classes.get(name)
        if type_text in self._classes:
            if name in self._names.functions or name in self._names.values or before not in {None, type_text}:
                raise self._refuse(node, f"{name} for different things")
            self._names.classes[name] = str(type_text)
        elif before is not None or name in self._names.functions:
            raise self._refuse(node, f"{name} for different things")
        else:
            self._names.values[name] = None if name in self._names.values else type_text

    def _check_identifier(self, name: str, node: ast.AST) -> None:
        if not IDENTIFIER.fullmatch(name) or name in RESERVED:
            raise self._refuse(node, f"the name {name}")

    def _check_statements(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._check_statement(statement)

    def _check_statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Pass():
                pass
            case ast.Return(value=value):
                if value is not None:
                    self._check_expression(value)
            case ast.Expr(value=ast.Call() as call):
                self._check_expression(call)
            case ast.Assign(targets=[target], value=value):
                self._check_assignment(target, value)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value, simple=1):
                self._check_type(annotation)
                if value is not None:
                    self._check_expression(value)
                self._declare(name, ast.unparse(annotation), node)
            case ast.If(test=test, body=body, orelse=orelse) | ast.While(test=test, body=body, orelse=orelse):
                self._check_expression(test)
                self._check_statements(body)
                self._check_statements(orelse)
            case ast.For(target=target, iter=ast.Call() as iterable, body=body, orelse=[], type_comment=None):
                self._check_expression(iterable)
                self._check_target(target)
                self._check_statements(body)
            case _:
                raise self._refuse(node)

    def _check_assignment(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Name(id=name), ast.Attribute() if (function := _dotted(value)) in self._functions:
                self._check_identifier(name, target)
                if name in self._names.classes or name in self._names.values:
                    raise self._refuse(target, f"{name} for different things ({function})")
                self._names.functions.add(name)
            case ast.Name(id=name), _:
                self._check_expression(value)
                self._declare(name, self._class_of(value), target)
            case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
                for each, its_value in zip(targets, values, strict=True):
                    self._check_assignment(each, its_value)
            case _:
                self._check_expression(value)
                self._check_target(target)

    def _check_target(self, target: ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                self._declare(name, None, target)
            case ast.Tuple(elts=targets):
                for each in targets:
                    self._check_target(each)
            case ast.Attribute(value=owner, attr=name):
                if self._type_of_attribute(owner, name, target) in self._classes:
                    raise self._refuse(target, f"an assignment to the module {name}")
            case _:
                raise self._refuse(target)

    def _class_of(self, node: ast.expr) -> str | None:
        """The class of the module that the expression names; None for other values."""
        match node:
            case ast.Name(id=name):
                return self._names.classes.get(name)
            case (
                ast.Attribute(value=owner, attr=name)
                | ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name))])
            ):
                owner_class = self._class_of(owner)
                if owner_class is None:
                    return None
                declared = self._classes[owner_class].attributes.get(name)
                return declared if declared in self._classes else None
        return None

    def _type_of_attribute(self, owner: ast.expr, name: str, node: ast.AST) -> str | None:
        """The declared type of a module's attribute; None for a constant."""
        class_name = self._class_of(owner)
        if class_name is None:
            raise self._refuse(node)
        declared = self._classes[class_name]
        if name not in declared.attributes and name not in declared.constants:
            raise self._refuse(node)
        return declared.attributes.get(name)

    def _check_expression(self, node: ast.expr) -> None:
        match node:
            case ast.Constant() | ast.UnaryOp():
                self._check_literal(node)
            case ast.Name(id=name):
                self._check_identifier(name, node)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                self._check_expressions(elements)
            case ast.Subscript(value=value, slice=index):
                self._check_expressions([value, index])
            case ast.Attribute(value=owner, attr=name):
                is_constant = _dotted(owner) == "CONSTANTS" and CONSTANT.fullmatch(name)
                is_member = name in self._enums.get(_dotted(owner) or "", ())
                if not (is_constant or is_member):
                    self._type_of_attribute(owner, name, node)
            case ast.Call(func=function, args=arguments, keywords=keywords):
                if isinstance(function, ast.Name) and function.id in CALLS_WITH_TYPES:
                    self._check_call_with_type(node, function.id, arguments)
                elif self._is_allowed(function):
                    self._check_expressions(arguments)
                    self._check_keywords(keywords)
                else:
                    raise self._refuse(function)
            case _:
                raise self._refuse(node)

    def _check_expressions(self, nodes: list[ast.expr]) -> None:
        for node in nodes:
            self._check_expression(node)

    def _check_keywords(self, keywords: list[ast.keyword]) -> None:
        for keyword in keywords:
            self._check_expression(keyword.value)
            match keyword:
                case ast.keyword(arg=str(name), value=value) if name in FIXED_KEYWORDS:
                    is_allowed = isinstance(value, ast.Constant) and value.value in FIXED_KEYWORDS[name]
                case _:
                    is_allowed = keyword.arg in KEYWORDS
            if not is_allowed:
                raise self._refuse(keyword)

    def _is_allowed(self, function: ast.expr) -> bool:
        """Whether the program may call this."""
        match function:
            case ast.Attribute(value=ast.Name(id="torch"), attr=name):
                return name in OPERATORS
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="ops"), attr="prim"), attr=name):
                return name in PRIMITIVES
            case ast.Name(id=name):
                return name in BUILTINS or name in self._names.functions
            case ast.Attribute(value=owner, attr=name) if (class_name := self._class_of(owner)) is not None:
                return name in self._classes[class_name].methods
        return _dotted(function) in self._functions

    def _check_call_with_type(self, node: ast.Call, name: str, arguments: list[ast.expr]) -> None:
        """Check a call of which one argument is a type or the name of an attribute."""
        match name, arguments, node.keywords:
            case "annotate", [type_node, value], []:
                self._check_data_type(type_node)
                self._check_expression(value)
            case "uninitialized", [type_node], []:
                self._check_data_type(type_node)
            case "unchecked_cast", [type_node, value], [] if self._can_be_cast(type_node, value):
                self._check_expression(value)
            case "isinstance", [value, type_node], []:
                self._check_expression(value)
                self._check_data_type(type_node)
            case "getattr", [owner, ast.Constant(value=str(attribute))], []:
                self._type_of_attribute(owner, attribute, node)
            case _:
                raise self._refuse(node)

    def _can_be_cast(self, type_node: ast.expr, value: ast.expr) -> bool:
        """Whether a cast without a check is safe: the operators check simple types, and an argument that is not None is known."""
        type_text = ast.unparse(type_node)
        is_argument = (
            isinstance(value, ast.Name) and self._names.values.get(value.id) == f"Optional[{type_text}]"
        )
        return is_argument or CASTABLE.fullmatch(type_text) is not None

    def _check_literal(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=str(text)):
                # torch prints messages of the program to the terminal.
                if not text.replace("\n", "").isprintable():
                    raise self._refuse(node)
            case ast.Constant(value=None | bool() | int() | float()):
                pass
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()) | ast.Name(id="inf")):
                pass
            case ast.Name(id="inf" | "nan"):
                pass
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                for each in elements:
                    self._check_literal(each)
            case _:
                raise self._refuse(node)

    def _check_type(self, node: ast.expr) -> None:
        name = ast.unparse(node)
        if name not in self._classes and name not in self._enums:
            self._check_data_type(node)

    def _check_data_type(self, node: ast.expr) -> None:
        match node:
            case ast.Name(id=name) if name in SIMPLE_TYPES:
                pass
            case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in GENERIC_TYPES:
                for each in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                    self._check_data_type(each)
            case ast.List(elts=elements):  # isinstance with several types
                for each in elements:
                    self._check_data_type(each)
            case _:
                raise self._refuse(node, f"the type {ast.unparse(node)}")


def _dotted(node: ast.expr) -> str | None:
    """The name of a chain of attributes, like `__torch__.torch.nn.functional.pad`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
