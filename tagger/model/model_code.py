"""Checks the code of a model file against the operators and the syntax that exported classifiers need.

TorchScript is stored as source text in Python's syntax. It is parsed and never run. `Program.sources` has the text of
the checked syntax trees, so torch compiles what was checked, even where its parser understands the original differently. What torch
itself refuses, such as a wrong type, is left to it.

A module's method is called only where the class of the module is known from the declarations: on anything else, torch
takes the name of a method for an operator.
"""

import ast
import threading
from collections.abc import Mapping

from tagger.model.model_definitions import (
    BUILTINS,
    CALLS_WITH_TYPES,
    CASTABLE,
    CONSTANT,
    DUNDER,
    FIXED_KEYWORDS,
    IDENTIFIER,
    KEYWORDS,
    METHODS_OF_MODULES,
    OPERATORS,
    PRIMITIVES,
    RESERVED,
    SYNTAX,
    TYPES,
    Definitions,
    Program,
    ProgramRefused,
    module_name,
    not_allowed,
)

_PARSING = threading.Lock()
"""Python 3.11 counts the depth of syntax trees for all threads together, so a parse can fail beside another (SystemError)."""
_FUNCTION = "a function"
"""What a local variable is that stands for a function of the program."""


def check_code(sources: Mapping[str, bytes]) -> Program:
    """Check all source files of a model. The keys are paths like `__torch__/torch/nn/modules/linear.py`.

    Raises:
        ProgramRefused: with the file and what it uses.
    """
    trees = {path: _parse(path, source) for path, source in sources.items()}
    definitions = Definitions()
    for path, tree in trees.items():
        definitions.add_file(path, tree)
    for path, tree in trees.items():
        _FileChecker(path, definitions).check(tree)
    texts = {path: f"{ast.unparse(tree)}\n" for path, tree in trees.items()}
    return Program(definitions.classes, definitions.enums, texts)


def _parse(path: str, source: bytes) -> ast.Module:
    try:
        with _PARSING:
            return ast.parse(source.decode())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProgramRefused(f"{path} is not TorchScript") from error


class _FileChecker(ast.NodeVisitor):
    """Checks one file. Every kind of syntax that is not in SYNTAX is refused."""

    def __init__(self, path: str, definitions: Definitions) -> None:
        self._path = path
        self._defined = definitions
        self._kinds: dict[str, str | None] = {}
        """The local variables of a function: a class of the program, `_FUNCTION`, or None for values."""
        self._optional: dict[str, str] = {}
        """The type of each argument that may be None."""

    def check(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self._check_class(node)
            else:
                self._check_function(node, None)

    def _require(self, condition: object, node: ast.AST) -> None:
        if not condition:
            raise not_allowed(self._path, ast.unparse(node))

    def _check_class(self, node: ast.ClassDef) -> None:
        is_plain = [ast.unparse(base) for base in node.bases] in (["Module"], ["Enum"])
        self._require(is_plain and not node.keywords and not node.decorator_list, node)
        for each in node.body:
            if isinstance(each, ast.FunctionDef):
                self._check_function(each, f"{module_name(self._path)}.{node.name}")
            else:  # evaluated when the file is loaded
                self._kinds = dict.fromkeys(("__annotations__", "__parameters__", "__buffers__"))
                self._require_no_call(each)
                self.visit(each)

    def _require_no_call(self, node: ast.AST) -> None:
        self._require(not any(isinstance(each, ast.Call) for each in ast.walk(node)), node)

    def _check_function(self, node: ast.stmt, class_name: str | None) -> None:
        match node:
            case ast.FunctionDef(
                args=ast.arguments(posonlyargs=[], vararg=None, kwonlyargs=[], kwarg=None) as arguments,
                decorator_list=[],
            ):
                pass
            case _:
                raise not_allowed(self._path, ast.unparse(node))
        is_special = DUNDER.fullmatch(node.name) and node.name not in METHODS_OF_MODULES
        self._require(IDENTIFIER.fullmatch(node.name) and not is_special, node)
        self._kinds, self._optional = {}, {}
        for position, argument in enumerate(arguments.args):
            self._require(argument.annotation, argument)
            declared = ast.unparse(argument.annotation or argument)
            self._declare(
                argument.arg, self._class_named(declared) if position or not class_name else class_name, node
            )
            if declared.startswith("Optional["):
                self._optional[argument.arg] = declared
        annotations = [argument.annotation for argument in arguments.args]
        for default in arguments.defaults:  # evaluated when the file is loaded
            self._require_no_call(default)
        for each in (*annotations, *arguments.defaults, node.returns, *node.body):
            if each is not None:
                self.visit(each)

    def _class_named(self, text: str) -> str | None:
        return text if text in self._defined.classes else None

    def _declare(self, name: str, kind: str | None, node: ast.AST) -> None:
        """Record an assignment to a local variable, which is of one kind everywhere."""
        is_name = IDENTIFIER.fullmatch(name) and name not in RESERVED
        self._require(is_name and self._kinds.setdefault(name, kind) == kind, node)
        self._optional.pop(name, None)

    def visit(self, node: ast.AST) -> None:
        self._require(isinstance(node, SYNTAX), node)
        super().visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        self._require(isinstance(node.target, ast.Name), node)
        self._declare(ast.unparse(node.target), self._class_named(ast.unparse(node.annotation)), node)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._assign(node.target, None)
        for each in (*node.body, *node.orelse):
            self.visit(each)

    def _assign(self, target: ast.expr, value: ast.expr | None) -> None:
        match target, value:
            case ast.Tuple(elts=targets), _:
                values = value.elts if isinstance(value, ast.Tuple) else [None] * len(targets)
                self._require(len(values) == len(targets), target)
                for each, its_value in zip(targets, values, strict=True):
                    self._assign(each, its_value)
            case ast.Name(id=name), _:
                self._declare(name, None if value is None else self._kind(value), target)
            case ast.Attribute(value=owner, attr=name), _:
                self._require(self._class_named(self._attribute(owner, name) or "") is None, target)
            case ast.Subscript(value=ast.Name(id="__annotations__"), slice=ast.Constant()), _:
                pass
            case _:
                self._require(None, target)

    def _kind(self, node: ast.expr) -> str | None:
        """The class of the module that the expression names, or `_FUNCTION`; None for other values."""
        match node:
            case ast.Name(id=name):
                return self._kinds.get(name)
            case ast.Attribute() if _dotted(node) in self._defined.functions:
                return _FUNCTION
            case (
                ast.Attribute(value=owner, attr=name)
                | ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name))])
            ) if (declared := self._defined.classes.get(self._kind(owner) or "")) is not None:
                return self._class_named(declared.attributes.get(name, ""))
        return None

    def _attribute(self, owner: ast.expr, name: str) -> str | None:
        """The declared type of a module's attribute; None for a constant."""
        declared = self._defined.classes.get(self._kind(owner) or "")
        if declared is None or name not in {*declared.attributes, *declared.constants}:
            raise not_allowed(self._path, f"{ast.unparse(owner)}.{name}")
        return declared.attributes.get(name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        dotted, owner = _dotted(node), _dotted(node.value) or ""
        is_constant = owner == "CONSTANTS" and CONSTANT.fullmatch(node.attr)
        is_member = node.attr in self._defined.enums.get(owner, ())
        if not (is_constant or is_member or dotted in self._defined):
            self._attribute(node.value, node.attr)

    def visit_Name(self, node: ast.Name) -> None:
        self._require(node.id in self._kinds or node.id in TYPES, node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        # torch prints messages of the program to the terminal.
        is_text = isinstance(value, str) and value.replace("\n", "").isprintable()
        self._require(is_text or value is None or isinstance(value, bool | int | float), node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in CALLS_WITH_TYPES:
            self._check_call_with_type(node, node.func.id)
        else:
            self._require(self._is_allowed(node.func), node.func)
        for each in node.args:
            self.visit(each)
        for keyword in node.keywords:
            self.visit(keyword.value)
            allowed = FIXED_KEYWORDS.get(keyword.arg or "")
            is_fixed = isinstance(keyword.value, ast.Constant) and keyword.value.value in (allowed or ())
            self._require(keyword.arg in KEYWORDS if allowed is None else is_fixed, keyword)

    def _is_allowed(self, function: ast.expr) -> bool:
        """Whether the program may call this."""
        match function:
            case ast.Attribute(value=ast.Name(id="torch"), attr=name):
                return name in OPERATORS
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="ops"), attr="prim"), attr=name):
                return name in PRIMITIVES
            case ast.Name(id=name):
                return name in BUILTINS or self._kinds.get(name) == _FUNCTION
            case ast.Attribute(value=owner, attr=name) if (
                kind := self._kind(owner)
            ) in self._defined.classes:
                return name in self._defined.classes[kind or ""].methods
        return _dotted(function) in self._defined.functions

    def _check_call_with_type(self, node: ast.Call, name: str) -> None:
        """Check a call of which one argument is a type, never a class of the program, or the name of an attribute."""
        match name, node.args:
            case "getattr", [owner, ast.Constant(value=str(attribute))]:
                self._attribute(owner, attribute)
                return
            case "annotate" | "unchecked_cast", [type_node, _]:
                pass
            case "isinstance", [_, type_node]:
                pass
            case "uninitialized", [type_node]:
                pass
            case _:
                raise not_allowed(self._path, ast.unparse(node))
        has_class = any(isinstance(each, ast.Attribute) for each in ast.walk(type_node))
        self._require(not has_class and not node.keywords, node)
        self._require(
            name != "unchecked_cast" or self._can_be_cast(ast.unparse(type_node), node.args[1]), node
        )

    def _can_be_cast(self, type_text: str, value: ast.expr) -> bool:
        """Whether a cast without a check is safe: the operators check simple types, and an argument that is not None is known."""
        is_argument = self._optional.get(ast.unparse(value)) == f"Optional[{type_text}]"
        return is_argument or CASTABLE.fullmatch(type_text) is not None


def _dotted(node: ast.expr) -> str | None:
    """The name of a chain of attributes, like `__torch__.torch.nn.functional.pad`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
