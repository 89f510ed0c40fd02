"""The architecture, held by walking the imports of every file: who may import whom, and one door for each third party.

Imports under TYPE_CHECKING are free; those inside functions count like any other.
"""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROWS = (  # a file imports from rows above its own here, and from its own package; "data/" is a whole package
    ("", "records", "errors", "log", "process_settings"),  # "" is bioemb/__init__.py: the version
    ("compression",),
    ("flags", "files", "blocks", "tables", "locking", "pooling", "distributed", "card_data"),
    # the last three are strangers to all of these
    ("processes", "config/", "manifest", "model_card", "data/", "losses/", "mining/", "packed_linear"),
    ("model_folder", "encoding", "engines", "gradcache", "attention_parts", "lineage"),
    ("packed_attention",),
    ("packing",),
    ("encoder", "hub_upload"),
    ("cross_encoder", "onnx_graph"),
    ("averaging", "batch_targets", "checkpoint", "held_out", "lora", "optimisation", "run_log", "updates", "watching"),
    ("run_state",),
    ("trainer", "evaluation/", "demo/", "report/"),
    ("stages/",),
    ("cli",),
    ("__main__",),
)
STRANGERS = {  # package: all that it may import of bioemb, and of third parties
    "data/": ({"records", "errors", "log", "files", "tables"}, {"numpy", "pyarrow", "datasets", "lxml", "rensa"}),
    "losses/": ({"records", "errors", "log"}, {"torch"}),
    "mining/": ({"records", "errors", "log"}, {"numpy", "faiss"}),
}
DOORS = {  # third party: the files or packages that may import it; numpy and torch are everywhere but among strangers
    "accelerate": {"trainer", "stages/train", "stages/train_accelerator"},
    "bm25s": {"evaluation/"},
    "deepspeed": {"engines"},
    "datasets": {"tables", "data/dataset", "data/hub_rows", "stages/mining_tables", "evaluation/"},
    "faiss": {"mining/faiss_search"},
    "huggingface_hub": {"model_folder", "hub_upload", "evaluation/"},
    "lxml": {"data/"},
    "matplotlib": {"report/charts"},
    "mteb": {"evaluation/"},
    "onnx_ir": {"onnx_graph"},
    "onnxruntime": {"onnx_graph"},
    "onnxscript": {"onnx_graph"},
    "peft": {"lora"},
    "pyarrow": {"files", "tables", "data/dataset", "stages/mining_tables", "stages/search_corpus"},
    "pytrec_eval": {"evaluation/"},
    "rensa": {"data/identity"},
    "safetensors": {"encoder", "cross_encoder", "checkpoint"},
    "Stemmer": {"evaluation/"},
    "tokenizers": {"demo/"},
    "tqdm": {"log"},
    "scipy": {"evaluation/bootstrap"},
    "transformers": {"encoder", "cross_encoder", "packing", "packed_attention", "optimisation", "demo/model"},
    "yaml": {"flags", "model_card", "stages/run"},
    "zstandard": {"compression"},
}
DISTRIBUTIONS = {"yaml": "PyYAML", "Stemmer": "PyStemmer", "faiss": "faiss-cpu"}  # where the names differ
BROUGHT_ALONG = {
    "onnx_ir": "onnxscript",
    "huggingface_hub": "transformers",
    "tokenizers": "transformers",
    "pytrec_eval": "mteb",
}
HEAVY = ("torch", "transformers", "numpy", "datasets", "pyarrow", "lxml", "mteb", "accelerate", "faiss", "yaml", "tqdm")


class Import(NamedTuple):
    """One file imports one module: a file of bioemb, as 'data/text', or a third party by its first name."""

    by: str
    line: int
    module: str
    is_ours: bool


def name_of(path: Path, package: Path) -> str:
    """'data/text' of bioemb/data/text.py, 'data/' of bioemb/data/__init__.py, '' of bioemb/__init__.py."""
    name = path.relative_to(package).with_suffix("").as_posix()
    return name.removesuffix("__init__")


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    """Everything that a file of the package imports at runtime, the standard library apart."""
    tree, by = ast.parse(path.read_text(encoding="utf-8")), name_of(path, package)
    for node in _runtime_nodes(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: imports are absolute here"
            modules = [_submodule(node.module, alias.name, package) for alias in node.names]
        else:
            continue
        for module in modules:
            first, *rest = module.split(".")
            if first == "bioemb":
                yield Import(by, node.lineno, _file_name("/".join(rest), package), True)
            elif first not in sys.stdlib_module_names:
                yield Import(by, node.lineno, first, False)


def _runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        children = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _runtime_nodes(child)


def _submodule(module: str, name: str, package: Path) -> str:
    """`from bioemb.data import text` imports the file bioemb.data.text where there is one."""
    folder = package.parent / module.replace(".", "/")
    is_file = (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()
    return f"{module}.{name}" if module.split(".")[0] == "bioemb" and is_file else module


def _file_name(name: str, package: Path) -> str:
    return f"{name}/" if name and (package / name / "__init__.py").exists() else name


def is_in(name: str, part: str) -> bool:
    """Whether a file is this file, or of this package."""
    return name == part or (part.endswith("/") and name.startswith(part))


def row_of(name: str) -> int | None:
    return next((number for number, row in enumerate(ROWS) if any(is_in(name, part) for part in row)), None)


def package_of(name: str) -> str:
    """'data/' of 'data/text', '' of 'files'."""
    return name[: name.find("/") + 1]


def complaints(imports: list[Import]) -> list[str]:
    """What breaks the layer table, the strangers' list or the doors, a line each."""
    result = []
    for by, line, module, is_ours in imports:
        where = f"bioemb/{by or '__init__'}, line {line}:"
        ours, others = next((lists for part, lists in STRANGERS.items() if is_in(by, part)), (None, None))
        own_package = package_of(by) != "" and package_of(by) == package_of(module)
        if is_ours and not own_package:
            if row_of(module) is None or row_of(by) is None:
                result.append(f"{where} {by!r} or {module!r} stands in no row of the layer table")
            elif row_of(module) >= row_of(by):
                result.append(f"{where} imports {module!r}, which does not stand below it")
            elif ours is not None and module not in ours:
                result.append(f"{where} imports {module!r}, and {package_of(by)} knows only {sorted(ours)}")
        if not is_ours and others is not None and module not in others:
            result.append(f"{where} imports {module}, and {package_of(by)} knows only {sorted(others)}")
        doors = DOORS.get(module, {""} if module in ("numpy", "torch") else set())
        if not is_ours and "" not in doors and not any(is_in(by, door) for door in doors):
            result.append(f"{where} imports {module}, whose door is {', '.join(sorted(doors)) or 'nowhere yet'}")
    return result


def all_imports(package: Path) -> list[Import]:
    return [found for path in sorted(package.rglob("*.py")) for found in imports_of(path, package)]


def cycle_in(imports: list[Import]) -> list[str]:
    """The files of one import cycle, none if there is none."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.is_ours and found.module != found.by:
            graph.setdefault(found.by, set()).add(found.module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


# The architecture


def test_every_file_imports_only_what_stands_below_it_and_through_its_door():
    found = all_imports(REPOSITORY / "bioemb")
    assert len({each.by for each in found}) > 30  # the walk saw the package
    assert complaints(found) == []


def test_no_files_import_each_other_in_a_circle():
    assert cycle_in(all_imports(REPOSITORY / "bioemb")) == []


def test_every_third_party_that_is_imported_is_declared():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    lines = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    declared = {line.split(">")[0].strip() for lines_of in lines for line in lines_of.splitlines()}
    imported = {found.module for found in all_imports(REPOSITORY / "bioemb") if not found.is_ours}
    wanted = {BROUGHT_ALONG.get(module, DISTRIBUTIONS.get(module, module)) for module in imported}
    assert wanted - declared == set()


def test_train_py_is_an_entry_and_nothing_more():
    imported = {found.module for found in imports_of(REPOSITORY / "train.py", REPOSITORY)}
    assert imported == {"cli"}


# What is loaded


def loaded_by(code: str) -> set[str]:
    """Which heavy modules a fresh Python has loaded after this code."""
    code = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return set(HEAVY) & set(done.stdout.splitlines()[-1].split())


HELP = """
import bioemb.cli as cli
for words in [[], ['--help'], ['--version'], *([name, '--help'] for name in cli.COMMANDS)]:
    try:
        assert cli.main(words) == 0
    except SystemExit as end:
        assert end.code == 0
"""


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import bioemb", set()),
        (HELP, set()),
        ("import bioemb.data, bioemb.records, bioemb.errors, bioemb.log, bioemb.config, bioemb.files", set()),
        ("import bioemb.mining", {"numpy"}),
    ],
    ids=["bioemb", "help", "words", "mining"],
)
def test_what_is_light_stays_light(code, allowed):
    assert loaded_by(code) <= allowed


# The walk itself


def tree(folder: Path, files: dict[str, str]) -> Path:
    """A package `bioemb` with the packages of the strangers and these files, name to text."""
    packages = {f"{part}__init__": "" for part in ("", *STRANGERS)}
    for name, text in {**packages, **files}.items():
        path = folder / "bioemb" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "bioemb"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("data/text", "from bioemb.mining import search", "imports 'mining/', which does not stand below it"),
        ("losses/mine", "import bioemb.data", "imports 'data/', which does not stand below it"),
        ("mining/search", "def f():\n    from bioemb.losses import x", "line 2: imports 'losses/'"),
        ("losses/mine", "from bioemb.files import x", "and losses/ knows only ['errors', 'log', 'records']"),
        ("losses/mine", "import numpy", "imports numpy, and losses/ knows only ['torch']"),
        ("data/text", "import torch.nn", "imports torch, and data/ knows only"),
        ("files", "from bioemb import config", "imports 'config/', which does not stand below it"),
        ("encoder", "try:\n    import faiss\nexcept ImportError:\n    pass", "whose door is mining/faiss_search"),
        ("stages/mine", "import mteb.abstasks as tasks", "imports mteb, whose door is evaluation/"),
        ("encoder", "import sklearn", "imports sklearn, whose door is nowhere yet"),
        ("novelty", "from bioemb import errors", "'novelty' or 'errors' stands in no row"),
    ],
)
def test_each_kind_of_breach_is_found(tmp_path, name, text, said):
    package = tree(tmp_path, {"config/__init__": "", "errors": "", "stages/__init__": "", name: text})
    (found,) = complaints(all_imports(package))
    assert said in found


def test_what_is_allowed_is_not_complained_of(tmp_path):
    files = {
        "data/text": "import re, json\nfrom bioemb.records import Pair\nfrom bioemb.data import pairs\nimport numpy",
        "data/pairs": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bioemb.encoder import Encoder",
        "mining/faiss_search": "def f():\n    import faiss",
        "encoder": "import torch\nfrom bioemb import errors\nfrom bioemb.files import read_records",
        "records": "",
        "errors": "",
        "files": "",
    }
    found = all_imports(tree(tmp_path, files))
    assert complaints(found) == [] and cycle_in(found) == []
    assert Import("data/text", 3, "data/pairs", True) in found and Import("encoder", 2, "errors", True) in found


def test_a_circle_is_found_even_through_functions(tmp_path):
    files = {
        "data/a": "from bioemb.data import b",
        "data/b": "def f():\n    import bioemb.data.c",
        "data/c": "from bioemb.data.a import x",
    }
    assert set(cycle_in(all_imports(tree(tmp_path, files)))) == {"data/a", "data/b", "data/c"}
