"""The package as a whole: its imports, its registration with Keras, words that are banned from it."""

import ast
import configparser
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mcc_keras as mk

PACKAGE = Path(mk.__file__).parent
ROOT = PACKAGE.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def run_python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("code", ["import mcc_keras", "from mcc_keras.cli import build_parser; build_parser()"])
def test_the_package_and_its_command_line_start_with_two_small_libraries(code):
    top = "{name.partition('.')[0] for name in sys.modules}"
    finished = run_python(f"import sys; before = {top}\n{code}\nprint(*sorted({top} - before))")
    libraries = set(finished.stdout.split()) - set(sys.stdlib_module_names)
    assert libraries == {"lazy_loader", "mcc_keras", "wrapt"}, finished.stderr


def test_reading_a_volume_starts_neither_keras_nor_tensorflow(write_pairs):
    scan = write_pairs(count=1) / "case0.nii.gz"
    code = "import sys, mcc_keras as mk; mk.read_volume(sys.argv[1]); print({'keras', 'tensorflow'} & {*sys.modules})"
    finished = run_python(code, str(scan))
    assert finished.stdout.strip() == "set()", finished.stderr


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """A compiled network as a file, and how many weights it has."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model = mk.DenseVNet((16, 16, 16, 1), num_classes=1, depths=(1, 1, 1))
    model.compile("adam", loss=mk.MCCLoss(), metrics=[mk.metrics.MatthewsCorrelationCoefficient()])
    model.save(path)
    return path, model.count_params()


@pytest.mark.parametrize("imports", ["import keras, mcc_keras", "import mcc_keras, keras"])
def test_a_saved_model_loads_in_a_fresh_process_in_either_order_of_imports(saved_model, imports):
    path, count = saved_model
    code = f"import sys\n{imports}\nmodel = keras.models.load_model(sys.argv[1])"
    code += "\nprint(model.loss.name, model.count_params())"
    finished = run_python(code, str(path))
    assert finished.stdout.split() == ["mcc_loss", str(count)], finished.stderr


@pytest.mark.parametrize("module", ["confusion", "models.blocks", "losses.mcc"])
def test_a_module_that_others_build_on_can_be_imported_before_keras(module):
    finished = run_python(f"import mcc_keras.{module}, sys; print('keras' in sys.modules)")
    assert finished.stdout.strip() == "True", finished.stderr


@pytest.mark.parametrize(
    "words",
    [
        r"\bpickle\b|joblib\.(load|dump)\b|allow_pickle=True",
        r"safe_mode=False|enable_unsafe_deserialization",
        r"\bTODO\b|\bFIXME\b|\bXXX\b",
    ],
    ids=["pickle", "unsafe loading", "unfinished"],
)
def test_banned_words_are_absent_from_the_package(words):
    lines = [(path, line) for path in SOURCES for line in path.read_text(encoding="utf-8").splitlines()]
    assert [f"{path.name}: {line}" for path, line in lines if re.search(words, line)] == []


def test_only_the_abstract_loss_and_metric_leave_a_method_unimplemented():
    unfinished = {path.name for path in SOURCES if "NotImplementedError" in path.read_text(encoding="utf-8")}
    assert unfinished <= {"volume_loss.py", "counting.py"}


def test_no_module_is_longer_than_400_lines():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_every_library_that_is_imported_is_declared():
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    homes = metadata.packages_distributions()
    declared = {spelled(re.split(r"[<>=;\s]", line)[0]) for line in metadata.requires("mcc_keras")}
    undeclared = imported - {*sys.stdlib_module_names, "mcc_keras"}
    assert {name for name in undeclared if not declared & {spelled(home) for home in homes.get(name, [name])}} == set()


def spelled(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_changelog_lists_this_version():
    if not (ROOT / "CHANGELOG.md").exists():
        pytest.skip("the package is installed without its source tree")
    assert f"\n## {mk.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_module_has_its_place_in_the_import_order():
    if not (ROOT / "setup.cfg").exists():
        pytest.skip("the package is installed without its source tree")
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    contract = config["importlinter:contract:layers"]
    placed = set(re.findall(r"\w+", contract["layers"] + contract["exhaustive_ignores"]))
    top = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert top - {"__init__"} - placed == set()
