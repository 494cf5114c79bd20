"""Hostile model files are refused before torch reads them, and what torch reads is what was checked."""

import io
import os
import struct
import zipfile
from collections.abc import Callable, Mapping

import pytest
import torch
from support.artifacts import tiny_artifact
from support.scenes import zip_of
from support.threads import in_threads
from torch import Tensor

from tagger.errors import ModelRefused
from tagger.model.artifact import check_program, checked_archive, file_digest, load_module, read_manifest
from tagger.model.model_code import FIXED_KEYWORDS, KEYWORDS, OPERATORS, ProgramRefused
from tagger.registry import check_model_file

CODE = "archive/code/__torch__/support/artifacts.py"
DATA = "archive/data.pkl"
LARGE_BYTES = 2**25
FIRST_LINE = "    images: Tensor) -> Tensor:\n"


class _WritesInForward(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: Tensor) -> Tensor:
        return torch.from_file(self.path, True, 8).zero_() + images.sum()


class _WritesWhenLoaded(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save([1], self.path)

    def forward(self, images: Tensor) -> Tensor:
        return images


@pytest.mark.parametrize("kind", [_WritesInForward, _WritesWhenLoaded])
def test_a_model_that_writes_files_is_refused_and_writes_nothing(kind, tmp_path):
    written, file = tmp_path / "written", tmp_path / "hostile.pt"
    torch.jit.save(torch.jit.script(kind(str(written))), file)
    written.unlink(missing_ok=True)
    with pytest.raises(ModelRefused, match=r"from_file|__(get|set)state__"):
        load_module(file, file_digest(file))
    assert not written.exists()
    torch.jit.load(file)(torch.zeros(1))
    assert written.exists()


def test_allowed_operators_exist_and_take_no_files():
    schemas = [schema for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")]
    allowed = [schema for schema in schemas if schema.name.removeprefix("aten::") in OPERATORS]
    assert len({schema.name for schema in allowed}) == len(OPERATORS)
    arguments = [each for schema in allowed for each in schema.arguments]
    named = {each.name for each in arguments if each.kwarg_only and not each.is_out}
    assert named - {"names"} | {"out"} == KEYWORDS
    assert FIXED_KEYWORDS.keys() <= KEYWORDS
    texts = [each.name for each in arguments if "str" in str(each.type)]
    assert not [name for name in texts if "file" in name or "path" in name]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("artifact") / "tiny.pt"
    tiny_artifact(path)
    return path.read_bytes()


def _edited(artifact: bytes, edits: Mapping[str, Callable[[bytes], bytes]]) -> bytes:
    edited = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(artifact)) as source, zipfile.ZipFile(edited, "w") as target:
        for entry in source.infolist():
            before = source.read(entry)
            after = edits.get(entry.filename, bytes)(before)
            assert (after != before) == (entry.filename in edits)
            target.writestr(entry, after)
    return edited.getvalue()


def _with_code(artifact: bytes, lines: str) -> bytes:
    added = "".join(f"    {line}\n" for line in lines.split("\n"))
    return _edited(
        artifact, {CODE: lambda code: code.replace(FIRST_LINE.encode(), (FIRST_LINE + added).encode(), 1)}
    )


@pytest.mark.parametrize(
    "lines",
    [
        'x = torch.from_file("f", True, 8)',
        'torch.save(images, "f")',
        'images.save("f")',
        'x = [torch.zeros([1]), torch.from_file("f", True, 8)]',
        'x = images[torch.load("f")]',
        'ops.aten.save(images, "f")',
        "x = ops.prim.CallFunction(images)",
        "x = torch.ops.aten.relu(images)",
        "x = __torch__.torch.classes.quantized.Conv2dPackedParamsBase()",
        "x : __torch__.torch.classes.quantized.Conv2dPackedParamsBase = images",
        'f, g = torch.save, 1\nf(images, "f")',
        'torch = images\ntorch.save("f")',
        'm = images\nm = self\nm.save("f")',
        'for m in range(1):\n  m.save("f")',
        'x = getattr(images, "save")',
        'x = torch.\uff46rom_file("f")',
        'x = torch.\\\nfrom_file("f", True, 8)',
        'x = [torch.save(y, "f") for y in [images]]',
        'x = (lambda: torch.save(images, "f"))()',
        "print(images)",
        "x = fork(self.forward, images)",
        'x = open("f")',
        "x = unchecked_cast(Tuple[int, int], (1, 2, 3))",
        "x : Any = images",
        "x = uninitialized(__torch__.support.artifacts.MeanColours)",
        "self.forward = images",
        "import os",
        "with images as x:\n  pass",
        'x = f"{images}"',
        "x = CONSTANTS.save",
        "x = __torch__.support.artifacts.MeanColours()",
        'torch.warn("\\x1b[2J")',
        "def inner(x: Tensor) -> Tensor:\n  return x",
        "n = 1\nx = torch.repeat_interleave(torch.tensor([9, -8]), output_size=n)",
        "x = torch.empty([2, 2], dtype=6, layout=3)",
        "x = torch.topk(images, 1, values=images, indices=images)",
        "x = torch.relu(**images)",
        "x = torch.lstm(images, [images], [images], True, 1, 0., False, True, True)",
        f"x = {'torch.relu(' * 500}images{')' * 500}",
        "a = b = images",  # its kind would be looked up for each of the variables
        "x = annotate(annotate(int, 1), 1)",
    ],
)  # fmt: skip
def test_code_with_other_operators_or_syntax_is_refused(artifact, lines):
    with pytest.raises(ProgramRefused, match=r"support/artifacts\.py"):
        checked_archive(_with_code(artifact, lines))


def test_functions_that_pass_results_on_are_allowed():
    class Normalised(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            zeros = torch.zeros([2], dtype=torch.float32, layout=torch.strided)
            repeated = torch.repeat_interleave(zeros, torch.tensor([1, 2]))
            return torch.nn.functional.normalize(images) + repeated.sum()

    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Normalised()), file)
    with zipfile.ZipFile(file) as archive:
        code = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".py"))
    assert b"out=out" in code
    assert b"layout=0" in code
    checked_archive(file.getvalue())


def test_the_refusal_names_the_operator_and_the_file_or_that_torch_refuses_it(artifact, tmp_path):
    file = tmp_path / "hostile.pt"
    file.write_bytes(_with_code(artifact, 'x = torch.from_file("f", True, 8)'))
    with pytest.raises(ModelRefused) as refused:
        load_module(file, file_digest(file))
    for words in ("hostile.pt", "torch.from_file", "support/artifacts.py", "trainer export"):
        assert words in str(refused.value)
    file.write_bytes(_with_code(artifact, "x = torch.relu(1)"))
    with pytest.raises(ModelRefused, match="torch cannot read it"):
        load_module(file, file_digest(file))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(Module):\n", b"(Module):\n  x : Final[int] = torch.load('f')\n"),
        (b"images: Tensor)", b"images: Tensor=torch.zeros([1]))"),
        (b"  def forward", b"  def __setstate__(self, x: int) -> int:\n    return x\n  def forward"),
        (b"class Mean", b"@torch.save\nclass Mean"),
        (b"class Mean", b"class Other(NamedTuple):\n  x : int\nclass Mean"),
        (b"class Mean", b"class Other(Enum):\n  x = 1\nclass Mean"),
        (b"  nearness : float\n", b"  nearness : int\n"),
        (b"  nearness : float\n", b"  nearness : float\n  more : int\n"),
        (b"  colours : Tensor\n", b"  colours : __torch__.support.artifacts.MeanColours\n"),
        (b"\n", b"\xff\n"),
        (b"class ", b"clas "),
    ],
)  # fmt: skip
def test_hostile_declarations_are_refused(artifact, old, new):
    with pytest.raises(ProgramRefused):
        checked_archive(_edited(artifact, {CODE: lambda code: code.replace(old, new, 1)}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x04K\x03t", b"K\x40K\x03t"),  # a tensor larger than its storage
        (b"K\x0ct", b"K\x40t"),  # a storage larger than its data
        (b"ctorch\nFloatStorage\n", b"ctorch\nDoubleStorage\n"),
        (b"ctorch\nFloatStorage\n", b"cos\nsystem\n"),
        (b"M\x10'", b"N"),  # None for an int
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n"),
        (b"ub", b"ubN"),
        (b"ub", b"uK\x00b"),
        (b"}", b"}q\x7f"),
        (b"\x80\x02", b"\x80\x02\x80\x02"),
        (b"X\x03\x00\x00\x00cpu", b"X\x04\x00\x00\x00cuda"),
        (b"X\x07\x00\x00\x00storage", b"X\x07\x00\x00\x00storager\xff\xff\xff\xff"),  # would fill the memory
    ],
)
def test_hostile_data_is_refused(artifact, old, new):
    with pytest.raises(ProgramRefused, match=r"data\.pkl"):
        checked_archive(_edited(artifact, {DATA: lambda data: data.replace(old, new, 1)}))


@pytest.mark.parametrize(
    "constants",
    [
        b"\x80\x02K\x00)R.", b"\x80\x02(K\x01t.", b"\x80\x02cos\nsystem\n.", b"",
        b"\x80\x02h\x00.", b"\x80\x02t.",
    ],
)  # fmt: skip
def test_hostile_constants_are_refused(artifact, constants):
    with pytest.raises(ProgramRefused, match=r"constants\.pkl"):
        checked_archive(_edited(artifact, {"archive/constants.pkl": lambda _: constants}))


def test_another_format_and_keys_that_python_cannot_hash_are_refused(artifact):
    with pytest.raises(ProgramRefused, match=r"unknown format \(version"):
        checked_archive(_edited(artifact, {"archive/version": lambda _: b"old"}))
    # The hash of a deep tuple overflows the stack: without the check, this process dies.
    deep = b"\x80\x02}()" + b"\x85" * 100_000 + b"Nu."
    with pytest.raises(ProgramRefused, match=r"data\.pkl"):
        checked_archive(_edited(artifact, {DATA: lambda _: deep}))


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _typed(value: bytes, type_text: str) -> bytes:
    return b"ctorch.jit._pickle\nrestore_type_tag\n" + value + _text(type_text) + b"\x86R"


def _shared_values(container: str, levels: int) -> bytes:
    """A list or dictionary that has a tuple twice, which has one that has a tuple twice, and so on."""
    data, type_text = b"K\x01\x85q\x00", "Tuple[int]"
    for level in range(levels):
        tuple_before = b"h" + bytes([level])
        if container == "List":
            twice, type_text = b"](" + tuple_before * 2 + b"e", f"List[{type_text}]"
        else:
            twice = b"}(K\x00" + tuple_before + b"K\x01" + tuple_before + b"u"
            type_text = f"Dict[int, {type_text}]"
        data += twice + b"\x85q" + bytes([level + 1])
        type_text = f"Tuple[{type_text}]"
    return data + _typed(b"](h" + bytes([levels]) + b"e", f"List[{type_text}]")


def _long_shared_list(uses: int) -> bytes:
    """A list that is compared with a type again and again."""
    listed = b"](" + b"K\x01" * 200_000 + b"e"
    return b"ctorch.jit._pickle\nbuild_intlist\nq\x00" + listed + b"\x85q\x01" + b"h\x00h\x01R" * uses


def _storage(kind: str, items: int) -> bytes:
    names = _text("storage") + f"ctorch\n{kind}\n".encode() + _text("0") + _text("cpu")
    return b"(" + names + b"J" + struct.pack("<i", items) + b"t"


def _long_shape(uses: int) -> bytes:
    """A tuple of many numbers as the size and the strides of many tensors."""
    ones = b"(" + b"K\x01" * 200_000 + b"tq\x00"
    storage = _storage("FloatStorage", LARGE_BYTES // 4) + b"Q"
    values = b"(" + storage + b"K\x00h\x00h\x00\x89ccollections\nOrderedDict\n)Rtq\x01"
    return ones + values + b"ctorch._utils\n_rebuild_tensor_v2\nq\x02" + b"h\x02h\x01R" * uses


def _long_type(uses: int) -> bytes:
    nested = _text("List[" * 30_000 + "int" + "]" * 30_000)
    pair = b"]" + nested + b"\x86q\x01"
    return b"ctorch.jit._pickle\nrestore_type_tag\nq\x00" + pair + b"h\x00h\x01R" * uses


def _long_class_name(uses: int) -> bytes:
    return b"c__torch__\n" + b"a" * 500_000 + b"\nq\x00" + b"h\x00)\x81" * uses


def _shared_storage(uses: int) -> bytes:
    return _storage("BoolStorage", LARGE_BYTES) + b"q\x00" + b"h\x00Q" * uses


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(_shared_values("List", 60), id="tuples in lists"),
        pytest.param(_shared_values("Dict", 60), id="tuples in dictionaries"),
        pytest.param(_long_shared_list(100_000), id="list", marks=pytest.mark.slow),
        pytest.param(_long_shape(20_000), id="shape"),
        pytest.param(_long_type(100_000), id="type"),
        pytest.param(_long_class_name(100_000), id="class", marks=pytest.mark.slow),
        pytest.param(_shared_storage(100_000), id="storage"),
        pytest.param(b"N" * 100_000 + b"(t" * 50_000, id="marks"),
        pytest.param(
            b")q\x00" + b"".join(b"h%c\x85q%c" % (at, at + 1) for at in range(255)), id="memo chain"
        ),
    ],
)
def test_values_that_are_shared_many_times_are_refused(artifact, pickled):
    """Without bounds, the check of most of these takes between minutes and the age of the universe."""
    edits = {DATA: lambda _: b"\x80\x02" + pickled + b"."}
    if b"Storage" in pickled:
        edits["archive/data/0"] = lambda _: bytes(LARGE_BYTES)
    with pytest.raises(ProgramRefused, match=r"data\.pkl|more values"):
        checked_archive(_edited(artifact, edits))


def test_entries_that_share_their_data_are_refused(artifact):
    """A file that names the same data a thousand times would be read for as long as a thousand files."""
    hostile = io.BytesIO(artifact)
    with zipfile.ZipFile(hostile, "a") as archive:
        archive.writestr("archive/data/9", bytes(2**20))
        large = archive.infolist()[-1]
        archive.filelist.extend([large] * 1000)
    with pytest.raises(ProgramRefused, match="share their data"):
        checked_archive(hostile.getvalue())


@pytest.mark.parametrize("entry", ["extra/manifest.json", "code/__torch__/support/artifacts.py"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_and_unusual_compression_is_refused(artifact, tmp_path, entry, compression):
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(artifact)) as source, zipfile.ZipFile(packed, "w") as target:
        for each in source.infolist():
            is_packed = each.filename.endswith(entry)
            target.writestr(
                each.filename, source.read(each), compression if is_packed else zipfile.ZIP_STORED
            )
    damaged = bytearray(packed.getvalue())
    start = damaged.index(f"archive/{entry}".encode()) + len(f"archive/{entry}")
    damaged[start + 20 : start + 60] = bytes(40)
    path = tmp_path / "hostile.pt"
    path.write_bytes(damaged)
    with pytest.raises(ModelRefused, match="hostile"):
        check_model_file(path)


@pytest.mark.parametrize("entry", ["archive/extra/manifest.json", "archive/data/0", CODE, DATA])
def test_a_small_file_that_states_gigabytes_is_refused_before_they_are_read(artifact, tmp_path, entry):
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / "hostile.pt"
    path.write_bytes(zip_of(entries | {entry: entries[entry] + b"\n" * 2**21}))
    for read in (read_manifest, lambda path: load_module(path, file_digest(path))):
        with pytest.raises(ModelRefused, match="more than 2 MiB of code, pickles or compressed data"):
            read(path)


def test_what_torch_reads_is_what_was_checked(artifact):
    file = io.BytesIO(artifact)
    with zipfile.ZipFile(file, "a") as archive:
        for name in ("archive/bytecode.pkl", "archive/model.json", "archive/code/x.py", "archive/../x", "x"):
            archive.writestr(name, b"x")
    commented = _edited(file.getvalue(), {CODE: lambda code: b"# torch.save\n" + code + b"\n# end\n"})
    with zipfile.ZipFile(checked_archive(b"prefix" + commented)) as rebuilt:
        assert b"#" not in rebuilt.read(CODE)
        names = set(rebuilt.namelist())
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        before = {
            name for name in archive.namelist() if "/extra/" not in name and "serialization" not in name
        }
    assert {CODE, DATA, "archive/constants.pkl", "archive/data/0", "archive/byteorder"} < names <= before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_entries_of_one_name_the_one_that_was_checked_is_loaded(artifact):
    file = io.BytesIO(artifact)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(CODE, b"import os")
    with pytest.raises(ProgramRefused, match=r"support/artifacts\.py"):
        checked_archive(file.getvalue())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(CODE, zipfile.ZipFile(io.BytesIO(artifact)).read(CODE))
    with zipfile.ZipFile(checked_archive(file.getvalue())) as rebuilt:
        assert rebuilt.namelist().count(CODE) == 1
        assert b"import os" not in rebuilt.read(CODE)


@pytest.mark.parametrize("read", [file_digest, read_manifest, check_program], ids=lambda read: read.__name__)
def test_a_pipe_is_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(ModelRefused, match="pipe or a device"):
        read(tmp_path / "pipe.pt")


def test_files_are_checked_in_many_threads_at_once(tmp_path):
    """Python 3.11 fails now and then to parse in two threads at the same time."""
    tiny_artifact(tmp_path / "tiny.pt")
    data = (tmp_path / "tiny.pt").read_bytes()

    def check() -> None:
        for _ in range(5):
            checked_archive(data)

    in_threads([check] * 6)
