"""Checks the code of a model file against the operators and the syntax that exported classifiers need.

TorchScript is stored as source text in Python's syntax. It is parsed and never run. `Program.sources` has the
text of the checked syntax trees, so torch compiles what was checked, even where its parser understands the
original differently. What torch itself refuses, such as a wrong type, is left to it.

A module's method is called only where the class of the module is known from the declarations: on anything
else, torch takes the name of a method for an operator.
"""

import ast
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

_OPERATORS = """
__and__ __contains__ __getitem__ __is__ __isnot__ __not__ __or__ __xor__ _native_multi_head_attention
_set_item _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d abs abs_ adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool2d add add_ addcmul addmm all amax amin any append arange argmax argmin argsort avg_pool1d
avg_pool2d avg_pool3d baddbmm batch_norm bernoulli_ bitwise_and bitwise_not bitwise_or bitwise_xor bmm cat
ceil ceil_ celu celu_ channel_shuffle chunk clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clone
col2im concat constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose2d copy copy_ cos
cosine_similarity cumprod cumsum detach dim div div_ dot dropout dropout_ einsum elu elu_ empty eq erf exp
exp_ expand expand_as extend fill_ flatten flip floor floor_ floor_divide floordiv fmod format full full_like
gather ge ge_ gelu glu group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ im2col
index index_add index_fill index_fill_ index_put index_put_ index_select insert instance_norm
is_autocast_enabled is_floating_point is_grad_enabled isfinite isinf isnan item keys layer_norm le leaky_relu
leaky_relu_ len lerp linalg_vector_norm linear linspace list log log10 log1p log2 log_softmax logical_and
logical_not logical_or logsumexp lt masked_fill masked_fill_ matmul max max_pool1d max_pool2d max_pool3d
maximum mean meshgrid min minimum mish mish_ mm movedim mul mul_ mv nan_to_num narrow ne neg neg_ new_empty
new_full new_ones new_zeros norm normal_ numel ones ones_like outer pad permute pixel_shuffle pixel_unshuffle
pow prelu prod rand rand_like reciprocal relu relu6 relu6_ relu_ remainder repeat repeat_interleave reshape
reshape_as rms_norm roll round round_ rsqrt rsub scaled_dot_product_attention scatter select selu selu_
sigmoid sigmoid_ sign silu silu_ sin size slice softmax softplus sort split split_with_sizes sqrt sqrt_ square
squeeze stack std std_mean sub sub_ sum swapaxes t tanh tanh_ tensor threshold tile to topk transpose tril
tril_ triu triu_ true_divide type_as unbind unflatten unfold uniform_ unsqueeze unsqueeze_ upsample_bicubic2d
upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
upsample_trilinear3d values var var_mean view view_as warn where zero_ zeros zeros_like
"""
# The operators of networks of torchvision and timm, and their siblings. None reaches files or raw
# memory.
#
# `lstm` is not one of them: it writes outside of its memory if the shapes of its arguments do not
# match.
OPERATORS = frozenset(_OPERATORS.split())
_KEYWORDS = """
alpha approximate beta copy correction decimals descending device dim dtype enable_gqa generator implicit
indexing keepdim layout memory_format non_blocking out output_size path pin_memory reduce requires_grad
rounding_mode scale sparse_grad stable value
"""
# The arguments of operators that have to be named, and `out`, which `functional.normalize` passes
# on.
KEYWORDS = frozenset(_KEYWORDS.split())
# The only values of arguments with which operators would use memory that they do not check: only
# dense tensors (0), and no promise about the sum of `repeat_interleave`.
FIXED_KEYWORDS: Mapping[str, tuple[object, ...]] = {
    "layout": (None, 0),
    "output_size": (None,),
}
PRIMITIVES = frozenset(
    {
        "RaiseException",
        "abs",
        "device",
        "dtype",
        "is_nested",
        "max",
        "min",
        "requires_grad",
        "type",
    }
)
BUILTINS = frozenset({"bool", "float", "int", "range", "str"})
_TYPES = (
    "Device NoneType Tensor bool float int str Dict Final List Optional Tuple Union"
)
# The names that stand for something else than a variable: types, and two numbers.
TYPES = frozenset({*_TYPES.split(), "inf", "nan"})
# Types that values are cast to unchecked: the operators check these themselves, but not tuples.
CASTABLE = re.compile(r"(List\[)?(Device|Tensor|bool|float|int|str)\]?")
CALLS_WITH_TYPES = frozenset(
    {"annotate", "getattr", "isinstance", "unchecked_cast", "uninitialized"}
)
CONSTANT = re.compile(r"c\d+", re.ASCII)
RESERVED = frozenset(
    {"torch", "ops", "__torch__", "CONSTANTS", *CALLS_WITH_TYPES, *BUILTINS}
)
CUSTOM_CLASSES = "__torch__.torch.classes"
DUNDER = re.compile(r"__\w+__")
# Others have a meaning: `__setstate__` is called when the file is loaded.
METHODS_OF_MODULES = frozenset({"__contains__", "__getitem__", "__iter__", "__len__"})
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYNTAX = """
Assign AnnAssign Expr For If Pass Return While Attribute Call Constant List Name Subscript Tuple UnaryOp USub
Load
"""
# What is in functions and declarations.
SYNTAX = tuple(getattr(ast, name) for name in _SYNTAX.split())
# Python 3.11 counts the depth of trees for all threads together, so a parse can fail beside
# another.
_PARSING = threading.Lock()
# What a local variable is that stands for a function of the program.
_FUNCTION = "a function"


class ProgramRefused(Exception):
    """The program of a model file does something that no classifier needs; the text says what."""


@dataclass(frozen=True)
class ModuleClass:
    """A class of the program: the types of its attributes as written, and the names of its methods."""

    attributes: Mapping[str, str]
    constants: frozenset[str]
    methods: frozenset[str]


@dataclass
class Program:
    """The code of a model file: what it defines, by qualified name, and the source of each checked file."""

    classes: dict[str, ModuleClass] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)

    def defines(self, name: str | None) -> bool:
        return name in self.classes or name in self.functions

    def add_file(self, path: str, tree: ast.Module) -> None:
        """Add what a file defines.

        Raises:
            ProgramRefused: it has no name that TorchScript gives, or one that is defined already.
        """
        module = _module_name(path)
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue  # refused later
            name = f"{module}.{node.name}"
            is_new = not self.defines(name) and IDENTIFIER.fullmatch(node.name)
            _require(is_new, path, f"the name {node.name}")
            if isinstance(node, ast.FunctionDef):
                self.functions.add(name)
            else:
                self.classes[name] = _declared_class(name, node, path)


def check_code(sources: Mapping[str, bytes]) -> Program:
    """Check all source files of a model. The keys are paths like `__torch__/torch/nn/modules/linear.py`.

    Raises:
        ProgramRefused: with the file and what it uses.
    """
    trees: dict[str, ast.Module] = {}
    for path, source in sources.items():
        try:
            with _PARSING:
                trees[path] = ast.parse(source.decode())
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ProgramRefused(f"{path} is not TorchScript") from error
    program = Program()
    for path, tree in trees.items():
        program.add_file(path, tree)
    for path, tree in trees.items():
        _FileChecker(path, program).check(tree)
        program.sources[path] = f"{ast.unparse(tree)}\n"
    return program


class _FileChecker(ast.NodeVisitor):
    # Checks one file. Every kind of syntax that is not in SYNTAX is refused.
    def __init__(self, path: str, program: Program) -> None:
        self._path = path
        self._program = program
        # The local variables of a function: a class of the program, `_FUNCTION`, or None for
        # values.
        self._kinds: dict[str, str | None] = {}
        # The type of each argument that may be None.
        self._optional: dict[str, str] = {}

    def check(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                is_module = [ast.unparse(base) for base in node.bases] == ["Module"]
                self._require(
                    is_module and not node.keywords and not node.decorator_list, node
                )
                for each in node.body:
                    if isinstance(each, ast.FunctionDef):
                        self._check_function(
                            each, f"{_module_name(self._path)}.{node.name}"
                        )
                    else:  # evaluated when the file is loaded
                        self._kinds = dict.fromkeys(
                            ("__annotations__", "__parameters__", "__buffers__")
                        )
                        self._require_no_call(each)
                        self.visit(each)
            else:
                self._check_function(node, None)

    def _require(self, condition: object, node: ast.AST) -> None:
        if not condition:
            raise _not_allowed(self._path, ast.unparse(node))

    def _require_no_call(self, node: ast.AST) -> None:
        self._require(
            not any(isinstance(each, ast.Call) for each in ast.walk(node)),
            node,
        )

    def _check_function(self, node: ast.stmt, class_name: str | None) -> None:
        match node:
            case ast.FunctionDef(
                args=ast.arguments(
                    posonlyargs=[], vararg=None, kwonlyargs=[], kwarg=None
                ) as arguments,
                decorator_list=[],
            ):
                pass
            case _:
                raise _not_allowed(self._path, ast.unparse(node))
        is_special = DUNDER.fullmatch(node.name) and node.name not in METHODS_OF_MODULES
        self._require(IDENTIFIER.fullmatch(node.name) and not is_special, node)
        self._kinds, self._optional = {}, {}
        for position, argument in enumerate(arguments.args):
            self._require(argument.annotation, argument)
            declared = ast.unparse(argument.annotation or argument)
            self._declare(
                argument.arg,
                self._class_named(declared)
                if position or not class_name
                else class_name,
                node,
            )
            if declared.startswith("Optional["):
                self._optional[argument.arg] = declared
        annotations = [argument.annotation for argument in arguments.args]
        for default in arguments.defaults:  # evaluated when the file is loaded
            self._require_no_call(default)
        for each in (
            *annotations,
            *arguments.defaults,
            node.returns,
            *node.body,
        ):
            if each is not None:
                self.visit(each)

    def _class_named(self, text: str) -> str | None:
        return text if text in self._program.classes else None

    def _declare(self, name: str, kind: str | None, node: ast.AST) -> None:
        # Record an assignment to a local variable, which is of one kind everywhere.
        is_name = IDENTIFIER.fullmatch(name) and name not in RESERVED
        self._require(
            is_name and self._kinds.setdefault(name, kind) == kind,
            node,
        )
        self._optional.pop(name, None)

    def visit(self, node: ast.AST) -> None:
        self._require(isinstance(node, SYNTAX), node)
        super().visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        self._require(len(node.targets) == 1, node)
        self._assign(node.targets[0], node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        self._require(isinstance(node.target, ast.Name), node)
        self._declare(
            ast.unparse(node.target),
            self._class_named(ast.unparse(node.annotation)),
            node,
        )

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._assign(node.target, None)
        for each in (*node.body, *node.orelse):
            self.visit(each)

    def _assign(self, target: ast.expr, value: ast.expr | None) -> None:
        match target, value:
            case ast.Tuple(elts=targets), _:
                values = (
                    value.elts
                    if isinstance(value, ast.Tuple)
                    else [None] * len(targets)
                )
                self._require(len(values) == len(targets), target)
                for each, its_value in zip(targets, values, strict=True):
                    self._assign(each, its_value)
            case ast.Name(id=name), _:
                self._declare(
                    name,
                    None if value is None else self._kind(value),
                    target,
                )
            case ast.Attribute(value=owner, attr=name), _:
                self._require(
                    self._class_named(self._attribute(owner, name) or "") is None,
                    target,
                )
            case ast.Subscript(
                value=ast.Name(id="__annotations__"), slice=ast.Constant()
            ), _:
                pass
            case _:
                self._require(None, target)

    def _kind(self, node: ast.expr) -> str | None:
        # The class of the module that the expression names, or `_FUNCTION`; None for other values.
        if isinstance(node, ast.Attribute) and _dotted(node) in self._program.functions:
            return _FUNCTION
        names: list[str] = []
        while not isinstance(node, ast.Name):
            match node:
                case (
                    ast.Attribute(value=owner, attr=name)
                    | ast.Call(
                        func=ast.Name(id="getattr"),
                        args=[owner, ast.Constant(value=str(name))],
                    )
                ):
                    names.append(name)
                    node = owner
                case _:
                    return None
        kind = self._kinds.get(node.id)
        for name in reversed(names):
            declared = self._program.classes.get(kind or "")
            if declared is None:
                return None
            kind = self._class_named(declared.attributes.get(name, ""))
        return kind

    def _attribute(self, owner: ast.expr, name: str) -> str | None:
        # The declared type of a module's attribute; None for a constant.
        declared = self._program.classes.get(self._kind(owner) or "")
        if declared is None or not (
            name in declared.attributes or name in declared.constants
        ):
            raise _not_allowed(self._path, f"{ast.unparse(owner)}.{name}")
        return declared.attributes.get(name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        is_constants = _dotted(node.value) == "CONSTANTS"
        is_constant = is_constants and CONSTANT.fullmatch(node.attr)
        if not (is_constant or self._program.defines(_dotted(node))):
            self._attribute(node.value, node.attr)

    def visit_Name(self, node: ast.Name) -> None:
        self._require(node.id in self._kinds or node.id in TYPES, node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        # torch prints messages of the program to the terminal.
        is_text = isinstance(value, str) and value.replace("\n", "").isprintable()
        self._require(
            is_text or value is None or isinstance(value, bool | int | float),
            node,
        )

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in CALLS_WITH_TYPES:
            self._check_call_with_type(node, node.func.id)
        else:
            self._require(self._is_allowed(node.func), node.func)
        for arg in node.args:
            self.visit(arg)
        for keyword in node.keywords:
            self.visit(keyword.value)
            allowed = FIXED_KEYWORDS.get(keyword.arg or "")
            is_fixed = isinstance(
                keyword.value, ast.Constant
            ) and keyword.value.value in (allowed or ())
            self._require(
                keyword.arg in KEYWORDS if allowed is None else is_fixed,
                keyword,
            )

    def _is_allowed(self, function: ast.expr) -> bool:
        match function:
            case ast.Attribute(value=ast.Name(id="torch"), attr=name):
                return name in OPERATORS
            case ast.Attribute(
                value=ast.Attribute(value=ast.Name(id="ops"), attr="prim"), attr=name
            ):
                return name in PRIMITIVES
            case ast.Name(id=name):
                return name in BUILTINS or self._kinds.get(name) == _FUNCTION
            case ast.Attribute(value=owner, attr=name) if (
                kind := self._kind(owner)
            ) in self._program.classes:
                return name in self._program.classes[kind or ""].methods
        return _dotted(function) in self._program.functions

    def _check_call_with_type(self, node: ast.Call, name: str) -> None:
        # Check a call of which one argument is a type, but no class of the program, or an attribute.
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
                raise _not_allowed(self._path, ast.unparse(node))
        is_type = not any(
            isinstance(each, ast.Attribute | ast.Call) for each in ast.walk(type_node)
        )
        self._require(is_type and not node.keywords, node)
        if name == "unchecked_cast":
            # Operators check simple types, and an argument that is not None is known.
            type_text, value = ast.unparse(type_node), node.args[1]
            declared = (
                self._optional.get(value.id) if isinstance(value, ast.Name) else None
            )
            is_known = declared == f"Optional[{type_text}]"
            self._require(is_known or CASTABLE.fullmatch(type_text), node)


def _dotted(node: ast.expr) -> str | None:
    # The name of a chain of attributes, like `__torch__.torch.nn.functional.pad`.
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _module_name(path: str) -> str:
    # The qualified name of a file, whose path has to be that of a module of a program.
    parts = path.removesuffix(".py").split("/")
    _require(
        parts[0] == "__torch__" and all(map(IDENTIFIER.fullmatch, parts)),
        path,
        "its name",
    )
    name = ".".join(parts)
    _require(not f"{name}.".startswith(f"{CUSTOM_CLASSES}."), path, "its name")
    return name


def _declared_class(name: str, node: ast.ClassDef, path: str) -> ModuleClass:
    attributes: dict[str, str] = {}
    constants: set[str] = set()
    for each in node.body:
        match each:
            case ast.AnnAssign(
                target=ast.Name(id=attribute), annotation=annotation, value=value
            ):
                is_constant = value is not None
            case ast.Assign(
                targets=[
                    ast.Subscript(
                        ast.Name(id="__annotations__"),
                        ast.Constant(value=str(attribute)),
                    )
                ],
                value=annotation,
            ):
                is_constant = False
            case _:
                continue
        _require(
            attribute not in attributes and attribute not in constants,
            path,
            f"{name}.{attribute} twice",
        )
        if is_constant:
            constants.add(attribute)
        else:
            attributes[attribute] = ast.unparse(annotation)
    methods = frozenset(
        each.name for each in node.body if isinstance(each, ast.FunctionDef)
    )
    return ModuleClass(attributes, frozenset(constants), methods)


def _require(condition: object, path: str, what: str) -> None:
    if not condition:
        raise _not_allowed(path, what)


def _not_allowed(path: str, what: str) -> ProgramRefused:
    return ProgramRefused(
        f"its code in {path} uses {what[:100]}, and exported classifiers never do"
    )
