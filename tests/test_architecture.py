"""Imports between the folders of the package, its public names and its size."""

import ast
import inspect
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import scipy.fft

import convsolve

ROOT = Path(convsolve.__file__).parent

# Folders, or single files, from the bottom up. A row imports the rows above it in this list, never
# its neighbours. Within a folder imports form no circle.
ROWS = [
    {"errors", "lazy", "notation", "parallel", "text"},
    {"facts", "io", "looks", "parts", "progress"},
    {"linalg"},
    {"problem"},
    {"operators"},
    {"leastsquares"},
    {"inference"},
    {"identifiability", "solvers"},
    {"scoring", "noise"},
    {"components", "model", "solution_facts"},
    {"frames", "solution_file"},
    {"method"},
    {"solution", "traced"},
    {"api"},
    {"reference"},
    {"comparison", "held_out", "lag_choice", "subjects"},
    {"interop", "datasets", "plotting"},
    {"page", "sklearn", "extend"},
    {"cli"},
    {"__main__"},
]  # fmt: skip
ROW = {part: row for row, parts in enumerate(ROWS) for part in parts}
# The first row of modules for other libraries, figures and pages.
OPTIONAL = ROW["plotting"]


def name_of(path):
    """The name of a module inside the package, "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in PATHS.items()}
MODULES = [name for name in PATHS if name]  # the package itself imports by name only, see below


def part_of(name):
    """Return the folder or the single file of a module."""
    return name.partition(".")[0]


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def at_run_time(node, inside_function=False):
    """(node, whether it is inside a function) of all that is not under TYPE_CHECKING."""
    yield node, inside_function
    inside_function |= isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from at_run_time(child, inside_function)


def absolute(name, node):
    """What ``from … import`` imports from, written out as "convsolve.x"."""
    if not node.level:
        return node.module
    package = ["convsolve", *filter(None, name.split("."))]
    if PATHS[name].name != "__init__.py":
        package.pop()
    base = package[: len(package) - (node.level - 1)]
    return ".".join(base + ([node.module] if node.module else []))


def everywhere(node):
    """As `at_run_time`, with what is under TYPE_CHECKING."""
    return ((inner, False) for inner in ast.walk(node))


@cache
def imports(name, nodes=at_run_time):
    """(module, whether inside a function) of every import at run time, written out."""
    return [*_imports(name, nodes)]


def _imports(name, nodes):
    for node, inside in nodes(TREES[name]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(name, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix("convsolve.")
                yield (f"convsolve.{inner}" if inner in PATHS else base), inside


def own_imports(name, nodes=at_run_time):
    return {
        module.removeprefix("convsolve").removeprefix(".")
        for module, _ in imports(name, nodes)
        if module.split(".")[0] == "convsolve"
    }


@cache
def code_names(name):
    """Every name and attribute in the code of a module, dotted; not its comments and docstrings."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, (ast.Name, ast.Attribute)):
            found.add(ast.unparse(node))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.name for alias in node.names}
    return found


def test_every_module_has_a_row():
    assert [name for name in MODULES if part_of(name) not in ROW] == []
    # The reading of imports itself: relative ones, packages, and those under TYPE_CHECKING.
    assert {"problem.records", "problem.spec"} <= own_imports("problem.problem")
    assert {"leastsquares.regression", "solvers.base"} <= own_imports("solvers.direct")
    assert {"identifiability.wording", "solvers.base"} <= own_imports("api")


def test_rows_import_downwards():
    def is_below(other, name):
        # The package itself, "", holds the version and no more.
        own = part_of(other) == part_of(name)
        return other == "" or own or ROW[part_of(other)] < ROW[part_of(name)]

    upwards = {
        (name, other)
        for name in MODULES
        for other in own_imports(name)
        if not is_below(other, name)
    }
    assert upwards == set()


def calls(name, function):
    """The calls of a function in a module, as code, with the functions that contain them."""
    found = []
    for outer in ast.walk(TREES[name]):
        if isinstance(outer, ast.FunctionDef):
            inner = (node for node in ast.walk(outer) if isinstance(node, ast.Call))
            found += [
                f"{outer.name}: {ast.unparse(node)}"
                for node in inner
                if ast.unparse(node.func).endswith(function)
            ]
    return found


def test_nothing_else_is_imported_by_a_string():
    """Imports by strings are invisible to the tests of rows and circles."""
    known = {
        "": ["__getattr__: import_module(f'.{home or name}', __name__)"],
        "lazy": ["plot: import_module('.plotting.figures', __package__)"],
        "solution": ["to_html: import_module('.page', __package__)"],
    }
    words = {"import_module", "__import__", "importlib", "exec", "eval"}
    by_name = {name for name in PATHS if words & code_names(name)}
    assert {name: calls(name, "import_module") for name in by_name} == {
        name: known.get(name) for name in by_name
    }
    run("import sys, convsolve as cs; cs.Problem.plot; assert 'matplotlib' not in sys.modules")


def test_imports_are_not_circular():
    """Imports inside functions and for type checkers included."""
    # A package imports its parts; parts never import their package.
    sorter = TopologicalSorter({name: own_imports(name, everywhere) - {""} for name in MODULES})
    sorter.prepare()


def users_of(package):
    """(module, whether inside a function) of all imports of another package."""
    return {
        (name, inside)
        for name in PATHS
        for module, inside in imports(name)
        if module.split(".")[0] == package
    }


OPTIONAL_PACKAGES = [
    "argcomplete", "dask", "h5py", "matplotlib", "mne", "pandas", "tqdm", "xarray", "zarr",
]  # fmt: skip
# Progress bars are drawn and dask arrays are read in all rows.
EVERYWHERE = {"progress", "io", "operators.data", "frames"}


@pytest.mark.parametrize("package", OPTIONAL_PACKAGES)
def test_optional_packages_are_imported_when_used(package):
    found = users_of(package)
    assert found, f"{package} is imported nowhere"
    assert all(inside or name == "interop.events" for name, inside in found)
    below = {name for name, _ in found if ROW[part_of(name)] < OPTIONAL}
    assert below <= EVERYWHERE


def test_one_file_imports_scikit_learn_and_no_file_imports_it():
    assert users_of("sklearn") == {("sklearn", False)}
    assert not any("sklearn" in own_imports(name) for name in PATHS)


ALLOWED = {
    "argcomplete", "convsolve", "dask", "jax", "numpy", "optax", "pandas", "scipy", "sklearn",
    "h5py", "matplotlib", "mne", "threadpoolctl", "tqdm", "xarray", "zarr",
    *sys.stdlib_module_names,
}  # fmt: skip


def test_nothing_else_is_imported():
    found = {name: {module.split(".")[0] for module, _ in imports(name)} for name in PATHS}
    assert {name: used - ALLOWED for name, used in found.items() if used - ALLOWED} == {}


def test_global_configuration_is_left_alone():
    updating = {name for name in PATHS if any("config.update" in u for u in code_names(name))}
    setting = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(ast.unparse(t).startswith(("jax.", "os.environ")) for t in node.targets)
    }
    assert updating | setting == set()


# --- the public interface


SUBMODULES = ["datasets", "extend", "interop", "io", "sklearn"]


def run(code):
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_convsolve_imports_nothing_heavy():
    run(
        "import sys, convsolve; convsolve.__version__; dir(convsolve); "
        "heavy = {'jax', 'jaxlib', 'numpy', 'scipy', 'optax', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )


def test_a_solve_imports_no_optimization():
    run(
        "import sys, convsolve as cs; "
        "cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2)); "
        "found = {'scipy.optimize', 'scipy.stats', 'jax', 'optax'} & set(sys.modules); "
        "assert not found, found"
    )


def test_public_names_are_resolved_and_documented():
    assert dir(convsolve) == sorted([*convsolve.__all__, *SUBMODULES])
    for name in convsolve.__all__:
        value = getattr(convsolve, name)
        assert value.__doc__.strip()
        assert value.__name__ == name
        assert name in dir(convsolve)
        assert name not in {module.rpartition(".")[2] for module in MODULES}
    with pytest.raises(AttributeError, match="convsolve has no attribute 'solver'"):
        _ = convsolve.solver


def test_type_checkers_find_public_names():
    tree = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8"))
    for node in (node for node in tree.body if isinstance(node, ast.ImportFrom)):
        assert node.level == 1
        for alias in node.names:
            assert alias.asname == alias.name
            if node.module:
                value = getattr(import_module(f"convsolve.{node.module}"), alias.name)
                assert value is getattr(convsolve, alias.name)
    assert (ROOT / "py.typed").is_file()


# --- sizes

# Nodes of the syntax tree of every part, without docstrings, and numbers of files. They measure the
# amount of code however it is laid out. They may be lowered at any time.
LIMITS = {
    "problem": 28_902,
    "linalg": 9_483,
    "operators": 41_000,
    "leastsquares": 16_800,
    "inference": 52_100,
    "solvers": 20_300,
    "identifiability": 13_200,
    "plotting": 14_700,
    "cli": 5_600,
    "interop, formats, io, datasets": 6_200,
    "top level": 36_900,
    "package": 244_000,
    "tests": 213_000,
    "files": 138,
    "files at the top": 31,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def nodes(source):
    """The number of nodes of the syntax tree, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return sum(1 for _ in ast.walk(tree))


def size_part(path):
    """The row of the table of sizes that a file of the package belongs to."""
    name = path.relative_to(ROOT).parts[0]
    data = next(row for row in LIMITS if row.startswith("interop"))
    if name.removesuffix(".py") in data.split(", "):
        return data
    return name if name in LIMITS else "top level"


def test_the_package_is_no_larger_than_its_limits():
    counts = Counter(dict.fromkeys(LIMITS, 0))
    for path in PATHS.values():
        found = nodes(path.read_text(encoding="utf-8"))
        counts.update({size_part(path): found, "package": found, "files": 1})
        counts["files at the top"] += path.parent == ROOT
    tests = Path(__file__).parent.rglob("*.py")
    counts["tests"] = sum(nodes(path.read_text(encoding="utf-8")) for path in tests)
    assert {part: n for part, n in counts.items() if n > LIMITS[part]} == {}


def test_few_functions_are_between_a_call_and_its_first_fft(monkeypatch):
    """Who follows `solve` in a debugger passes one function for every stage."""
    x, stacks, rfft = np.random.default_rng(0).standard_normal((4000, 4)), [], scipy.fft.rfft

    def noted(*given, **named):
        stacks.append([f.filename for f in inspect.stack(0) if str(ROOT) in f.filename])
        return rfft(*given, **named)

    monkeypatch.setattr(scipy.fft, "rfft", noted)
    convsolve.solve(convsolve.Problem(x, x[:, :2], lags=(0, 19)))
    assert len(stacks[0]) <= 15
