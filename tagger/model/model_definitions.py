"""What the files of a model's program define, and which operators, arguments, types and names their code may use.

See model_code, which checks the code.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_OPERATORS = """
__and__ __contains__ __getitem__ __is__ __isnot__ __not__ __or__ __xor__ _native_multi_head_attention _set_item
_upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d abs abs_ adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool2d add add_ addcmul addmm all amax amin any append arange argmax argmin argsort avg_pool1d
avg_pool2d avg_pool3d baddbmm batch_norm bernoulli_ bitwise_and bitwise_not bitwise_or bitwise_xor bmm cat ceil
ceil_ celu celu_ channel_shuffle chunk clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clone col2im
concat constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose2d copy copy_ cos cosine_similarity cumprod
cumsum detach dim div div_ dot dropout dropout_ einsum elu elu_ empty eq erf exp exp_ expand expand_as extend
fill_ flatten flip floor floor_ floor_divide floordiv fmod format full full_like gather ge ge_ gelu glu
group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ im2col index index_add index_fill
index_fill_ index_put index_put_ index_select insert instance_norm is_autocast_enabled is_floating_point
is_grad_enabled isfinite isinf isnan item keys layer_norm le leaky_relu leaky_relu_ len lerp linalg_vector_norm
linear linspace list log log10 log1p log2 log_softmax logical_and logical_not logical_or logsumexp lt
masked_fill masked_fill_ matmul max max_pool1d max_pool2d max_pool3d maximum mean meshgrid min minimum mish
mish_ mm movedim mul mul_ mv nan_to_num narrow ne neg neg_ new_empty new_full new_ones new_zeros norm normal_
numel ones ones_like outer pad permute pixel_shuffle pixel_unshuffle pow prelu prod rand rand_like reciprocal
relu relu6 relu6_ relu_ remainder repeat repeat_interleave reshape reshape_as rms_norm roll round round_ rsqrt
rsub scaled_dot_product_attention scatter select selu selu_ sigmoid sigmoid_ sign silu silu_ sin size slice
softmax softplus sort split split_with_sizes sqrt sqrt_ square squeeze stack std std_mean sub sub_ sum swapaxes
t tanh tanh_ tensor threshold tile to topk transpose tril tril_ triu triu_ true_divide type_as unbind unflatten
unfold uniform_ unsqueeze unsqueeze_ upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
upsample_nearest2d upsample_nearest3d upsample_trilinear3d values var var_mean view view_as warn where zero_
zeros zeros_like
"""
OPERATORS = frozenset(_OPERATORS.split())
"""The operators of all networks of torchvision and timm that can be exported, and their siblings. None reaches files, processes or raw memory.

`lstm` is not one of them: it writes outside of its memory if the shapes of its arguments do not match.
"""
_KEYWORDS = """
alpha approximate beta copy correction decimals descending device dim dtype enable_gqa generator implicit indexing
keepdim layout memory_format non_blocking out output_size path pin_memory reduce requires_grad rounding_mode scale
sparse_grad stable value
"""
KEYWORDS = frozenset(_KEYWORDS.split())
"""The arguments of the operators that have to be named, and `out`, which `torch.nn.functional.normalize` passes on."""
FIXED_KEYWORDS: Mapping[str, tuple[object, ...]] = {"layout": (None, 0), "output_size": (None,)}
"""The only values of arguments with which operators would use memory that they do not check: only dense tensors (0), and
no promise about the sum of `repeat_interleave`."""
PRIMITIVES = frozenset(
    {"RaiseException", "abs", "device", "dtype", "is_nested", "max", "min", "requires_grad", "type"}
)
BUILTINS = frozenset({"bool", "float", "int", "range", "str"})
_TYPES = "Device NoneType Tensor bool float int str Dict Final List Optional Tuple Union"
TYPES = frozenset({*_TYPES.split(), "inf", "nan"})
"""The names that stand for something else than a variable: types, and two numbers."""
CASTABLE = re.compile(r"(List\[)?(Device|Tensor|bool|float|int|str)\]?")
"""The types that values are cast to without a check. The operators check these themselves, but not tuples and modules."""
CALLS_WITH_TYPES = frozenset({"annotate", "getattr", "isinstance", "unchecked_cast", "uninitialized"})
CONSTANT = re.compile(r"c\d+", re.ASCII)
RESERVED = frozenset({"torch", "ops", "__torch__", "CONSTANTS", *CALLS_WITH_TYPES, *BUILTINS})
CUSTOM_CLASSES = "__torch__.torch.classes"
DUNDER = re.compile(r"__\w+__")
METHODS_OF_MODULES = frozenset({"__contains__", "__getitem__", "__iter__", "__len__"})
"""Others with two underscores at both ends have a meaning: `__setstate__` is called when the file is loaded."""
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYNTAX = """
Assign AnnAssign Expr For If Pass Return While Attribute Call Constant List Name Subscript Tuple UnaryOp USub Load
"""
SYNTAX = tuple(getattr(ast, name) for name in _SYNTAX.split())
"""What is in functions and declarations."""


class ProgramRefused(Exception):
    """The program of a model file does something that no classifier needs; the text says what."""


def not_allowed(path: str, what: str) -> ProgramRefused:
    """The refusal of a part of a program."""
    return ProgramRefused(f"its code in {path} uses {what[:100]}, and exported classifiers never do")


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

    def __contains__(self, name: object) -> bool:
        return name in self.classes or name in self.enums or name in self.functions

    def add_file(self, path: str, tree: ast.Module) -> None:
        module = module_name(path)
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue  # refused later
            name = f"{module}.{node.name}"
            _require(name not in self and IDENTIFIER.fullmatch(node.name), path, f"the name {node.name}")
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
        raise not_allowed(path, what)
