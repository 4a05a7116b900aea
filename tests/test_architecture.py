"""The shape of the code: imports point one way, the page is up before torch is, no file of a stranger runs code, and
modules stay short enough to be read in one go."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import techniques

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("model_zoo", "techniques", "ui", "spaces_config", "benchmarks")
SOURCES = [Path("app.py"), *sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
TECHNIQUES = [Path("techniques", f"{name}.py") for name in techniques.catalogue()]

# From the ground up: each may import what is as low as itself or lower. Whatever is not here may import everything.
LEVELS = ("model_zoo", "techniques.base", "techniques", "ui", "app")


def module_name(path: Path) -> str:
    """techniques/base/run.py -> techniques.base.run; a package's __init__.py -> the package."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in the source, in functions too; `from package import module` is that module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (longer if (longer := f"{module}.{alias.name}") in MODULES else module for alias in node.names)


def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def level(module: str) -> int | None:
    """The place of a module in LEVELS; None for what stands beside them."""
    found = [number for number, name in enumerate(LEVELS) if module == name or module.startswith(f"{name}.")]
    if module == "techniques.base" or module.startswith("techniques.base."):
        return LEVELS.index("techniques.base")
    return found[-1] if found else None


def backward(importer: str, imported: str) -> bool:
    """Whether an import points up, or out of the levels, or from one technique to another module of theirs."""
    if level(importer) is None:
        return False
    if imported.startswith("."):
        return True  # written out, the direction can be read
    if level(imported) is None:
        return imported.partition(".")[0] in ("spaces_config", "benchmarks", "tests")
    among_techniques = MODULES.get(importer) in TECHNIQUES and LEVELS[level(imported)] == "techniques"
    return level(imported) > level(importer) or among_techniques


@pytest.mark.parametrize(
    ("importer", "imported", "points_back"),
    [
        ("ui.page", "techniques", False),
        ("techniques.pgd", "techniques.base.attacks", False),
        ("techniques.__main__", "techniques", False),
        ("app", "ui.page", False),
        ("benchmarks.cases", "ui.page", False),
        ("model_zoo.loaded", "techniques.base", True),
        ("techniques.base.export", "techniques", True),
        ("techniques.pgd", "techniques.fgsm", True),
        ("techniques.pgd", "techniques", True),
        ("techniques.saliency", "ui.panels", True),
        ("ui.page", "app", True),
        ("ui.page", "tests.conftest", True),
        ("ui.page", ".panels", True),
    ],
)
def test_the_direction_of_an_import_is_told(importer, imported, points_back):
    assert backward(importer, imported) is points_back


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_one_way(path):
    assert [imported for imported in imports(tree_of(path)) if backward(module_name(path), imported)] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] in ("model_zoo", "techniques")], ids=str)
def test_gradio_is_known_to_the_page_alone(path):
    assert [imported for imported in imports(tree_of(path)) if imported.partition(".")[0] in ("gradio", "gradio_client", "spaces")] == []


SLOW = ("torch", "torchvision", "timm", "captum", "matplotlib", "scipy", "sklearn", "skimage")
BUILD_THE_PAGE = f"""
import sys, techniques, ui.page, ui.settings
techniques.catalogue()
in_catalogue = [name for name in {SLOW} if name in sys.modules]
ui.page.build(ui.settings.read_settings([]))
print(in_catalogue, [name for name in {SLOW} if name in sys.modules])
"""


def test_the_page_is_built_before_torch_or_anything_else_slow_is_imported():
    done = subprocess.run([sys.executable, "-c", BUILD_THE_PAGE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1:] == ["[] []"], done.stdout + done.stderr


# Nothing that reads a file may run what is in it. See "What is safe to upload" in README.

# bytes that a process made itself, moved to the process it has forked
OWN_PICKLES = {("ui/worker.py", "pickle.loads")}
RUNS_CODE = {
    "torch.jit.load", "torch.export.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "dill.loads",
    "eval", "exec",
}  # fmt: skip


def dangers(path: Path) -> list[str]:
    """Every call that could run code out of the data it is given."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            found += [name for name in (f"{node.module}.{alias.name}" for alias in node.names) if name in RUNS_CODE]
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {argument.arg: ast.unparse(argument.value) for argument in node.keywords}
        if called in RUNS_CODE:
            found.append(called)
        if called == "torch.load" and given.get("weights_only") != "True" or given.get("weights_only") == "False":
            found.append(f"{called} without weights_only=True")
        if given.get("allow_pickle", "False") != "False":
            found.append(f"{called} with allow_pickle")
    return [name for name in found if (path.as_posix(), name) not in OWN_PICKLES]


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "timm.load(path, weights_only=False)", "torch.jit.load(path)",
        "torch.export.load(path)", "pickle.load(file)", "from pickle import loads", "np.load(path, allow_pickle=True)", "eval(text)",
    ],
)  # fmt: skip
def test_what_could_run_code_is_seen(tmp_path, source):
    (tmp_path / "example.py").write_text(source)
    assert len(dangers(tmp_path / "example.py")) == 1


@pytest.mark.parametrize("source", ["torch.load(path, weights_only=True)", "np.load(path)", "pickle.dumps(answer)", "network.eval()"])
def test_what_is_harmless_is_let_pass(tmp_path, source):
    (tmp_path / "example.py").write_text(source)
    assert dangers(tmp_path / "example.py") == []


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_file_is_read_in_a_way_that_could_run_code_out_of_it(path):
    assert dangers(path) == []


# What a reader meets


@pytest.mark.parametrize("name", techniques.catalogue())
def test_the_docstring_of_a_technique_cites_its_paper_with_authors_and_year(name):
    docstring = ast.get_docstring(tree_of(Path("techniques", f"{name}.py")))
    missing = [word for word in re.findall(r"[\w:.]+", techniques.find(name).paper) if word not in docstring]
    assert missing == [] and re.search(r"\b(19|20)\d\d\b", docstring)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_module_begins_with_what_it_is_for(path):
    docstring = ast.get_docstring(tree_of(path)) or ""
    assert len(docstring.split()) >= 5


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_module_can_be_read_in_one_go(path):
    """A technique is read beside its paper, from top to bottom; one that needs more than 190 lines hides a part that is
    worth a module of its own. Other modules are looked things up in; above 300 lines they have two purposes."""
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= (190 if path in TECHNIQUES else 300)
