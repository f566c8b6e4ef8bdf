"""The command line: options that match the functions behind them, one line a problem, nothing half written."""

import inspect
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.augmentation import PRESETS
from mcc_keras.cli import build_parser, main
from mcc_keras.datasets.splits import read_split

FUNCTIONS = {
    "demo": (mk.run_demo,),
    "check": (mk.find_cases, mk.check_cases),
    "prepare": (mk.find_cases, mk.Preprocessing, mk.write_tfrecords),
    "verify": (mk.verify_records,),
    "augment": (mk.find_cases, mk.preview_augmentation),
    "train": (mk.train,),
    "evaluate": (mk.evaluate,),
    "predict": (mk.segment,),
    "export": (mk.export_saved_model,),
    "client": (mk.segment_remote,),
}
# What the command line says for itself (cases and preprocessing come from other options, it shows progress, and takes
# pictures for a page only), and what only makes sense in Python.
ELSEWHERE = {"cases", "command", "preprocessing", "progress", "pictures", "verbose"}


def options_of(command):
    subparsers = next(action for action in build_parser()._actions if action.dest not in ("help", "version"))
    return {action.dest: action for action in subparsers.choices[command]._actions if action.dest != "help"}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_the_options_are_the_arguments_of_the_functions_with_their_defaults(command):
    options = options_of(command)
    parameters = {n: p for function in FUNCTIONS[command] for n, p in inspect.signature(function).parameters.items()}
    assert set(parameters) - set(options) - ELSEWHERE == set()
    for name in set(options) & set(parameters):
        default = parameters[name].default
        assert options[name].default == (None if default is inspect.Parameter.empty else default), name


def test_every_command_is_compared_with_its_functions():
    subparsers = next(action for action in build_parser()._actions if action.dest not in ("help", "version"))
    assert set(subparsers.choices) == set(FUNCTIONS)


def test_the_commands_of_the_readme_are_commands():
    readme = Path(__file__).parents[1] / "README.md"
    lines = re.findall(r"^ {4}(?:\S*/)?mcc-keras (.*)", readme.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {shlex.split(line, comments=True)[0] for line in lines} == set(FUNCTIONS)
    for line in lines:
        build_parser().parse_args(shlex.split(line, comments=True))


def test_the_readme_tells_of_every_loss():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert [name for name in mk.losses.LOSSES if f"`{name}`" not in readme] == []


def test_the_losses_to_choose_from_are_the_registry():
    assert list(options_of("train")["loss"].choices) == sorted(mk.losses.LOSSES)


def test_the_presets_that_help_names_are_the_presets():
    assert f"{', '.join([*PRESETS][:-1])} or {[*PRESETS][-1]}" in options_of("augment")["augment"].help
    parse = build_parser().parse_args
    found = [
        parse(["train", "work", "run", *words]).augment for words in ([], ["--augment", "light"], ["--no-augment"])
    ]
    assert found == [True, "light", False]


def complaints(capsys, *arguments):
    """Run a command that must fail; return its exit code and the lines it complains with."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stopped:  # argparse
        code = stopped.code
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in lines)
    return code, [line for line in lines if not line.startswith("warning: ")]


@pytest.fixture
def prepare(write_pairs, tmp_path):
    """Return a function that writes pairs, lets `spoil` change the folder, and names the command that prepares it."""

    def command(spoil=lambda folder: None, *options):
        folder = write_pairs()
        spoil(folder)
        return ["prepare", folder, tmp_path / "work", "--size", 16, *options]

    return command


def spoil_shape(folder):
    save_like(folder / "case3_mask.nii.gz", np.zeros((16, 16, 15), np.uint8))


def spoil_labels(folder):
    save_like(folder / "case3_mask.nii.gz", np.full((16, 16, 16), 2, np.uint8))


def spoil_voxels(folder):
    voxels = np.ones((16, 16, 16), np.float32)
    voxels[1, 2, 3] = np.nan
    save_like(folder / "case3.nii.gz", voxels)


def spoil_stream(folder):
    path = folder / "case3.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])


def save_like(path, array):
    nib.save(nib.Nifti1Image(array, nib.load(path).affine), path)


@pytest.mark.parametrize("spoil", [spoil_shape, spoil_labels, spoil_voxels, spoil_stream])
def test_a_bad_file_is_one_line_that_names_it_and_leaves_no_records(spoil, prepare, tmp_path, capsys):
    code, lines = complaints(capsys, *prepare(spoil, "--workers", 1))
    assert (code, len(lines)) == (3, 1)
    assert "case3" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_two_bad_files_are_two_lines(prepare, capsys):
    def spoil(folder):
        spoil_stream(folder)
        shutil.copy(folder / "case3.nii.gz", folder / "case1.nii.gz")

    code, lines = complaints(capsys, *prepare(spoil, "--workers", 1))
    assert (code, len(lines)) == (3, 2)
    assert "case1" in lines[0]
    assert "case3" in lines[1]


def test_the_check_lists_the_bad_file_and_exits_as_data(write_pairs, capsys):
    folder = write_pairs()
    spoil_voxels(folder)
    assert main(["check", str(folder), "--workers", "1"]) == 3
    assert "case3" in capsys.readouterr().out


def test_the_check_of_good_files_exits_as_done_and_writes_a_page(write_pairs, tmp_path, capsys):
    folder = write_pairs()
    assert main(["check", str(folder), "--workers", "1", "--html", str(tmp_path / "check.html")]) == 0
    assert "case3" in capsys.readouterr().out
    assert "case3" in (tmp_path / "check.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [["check"], ["prepare", "--size", "16"]])
@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_a_source_that_is_missing_or_empty_is_named(command, exists, tmp_path, capsys):
    source = tmp_path / "source"
    if exists:
        source.mkdir()
    places = [source, tmp_path / "work"][: 2 if "prepare" in command else 1]
    code, lines = complaints(capsys, command[0], *places, *command[1:])
    assert (code, len(lines)) == (3, 1)
    assert str(source) in lines[0]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_a_folder_without_a_run_is_named(command, write_pairs, tmp_path, capsys):
    rest = {"evaluate": [], "export": [tmp_path / "served"], "predict": [write_pairs() / "case0.nii.gz", "-o", "m.nii"]}
    code, lines = complaints(capsys, command, tmp_path / "run", *rest[command])
    assert (code, len(lines)) == (3, 1)
    assert str(tmp_path / "run") in lines[0]
    assert [path.name for path in tmp_path.iterdir() if path.name != "pairs"] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "work", "run", "--loss", "mc"], "'mcc'"),
        (["train", "work", "run", "--epochs", "2", "--minutes", "2"], "--minutes"),
        (["train", "work", "run", "--precision", "float8"], "float8"),
        (["prepare", "source", "work", "--size", "48,48"], "size"),
        (["prepare", "source", "work", "--size", "big"], "big"),
        (["prepare", "source", "work"], "size"),
        (["prepare", "source", "work", "--size", "48", "--labels", "1", "--foreground", "1"], "--foreground"),
        (["predict", "run", "scan.nii.gz"], "--output"),
        (["predcit", "run", "scan.nii.gz"], "predict"),
        ([], "COMMAND"),
    ],
)
def test_a_command_that_makes_no_sense_is_one_line_and_exits_as_usage(arguments, named, capsys):
    code, lines = complaints(capsys, *arguments)
    assert (code, len(lines)) == (2, 1)
    assert named in lines[0]


def test_records_of_other_settings_are_kept(prepare, tmp_path, capsys):
    command = prepare(lambda folder: None, "--workers", 1)
    assert main([str(word) for word in command]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "work").iterdir()}
    capsys.readouterr()
    code, lines = complaints(capsys, *command, "--seed", 5)
    assert (code, len(lines)) == (2, 1)
    assert str(tmp_path / "work") in lines[0]
    assert {path.name: path.read_bytes() for path in (tmp_path / "work").iterdir()} == before


def test_the_same_line_again_prepares_nothing_and_says_so(prepare, tmp_path, capsys):
    command = [str(word) for word in prepare(lambda folder: None, "--workers", 1)]
    assert main(command) == 0
    assert "3 train, 1 validation, 1 test (5 prepared, 0 were there)" in capsys.readouterr().out
    assert main([*command[:-2], "--workers=2", "--overwrite"]) == 0
    assert "nothing to prepare" in capsys.readouterr().out
    noted = json.loads((tmp_path / "work" / "manifest.json").read_text())["command"]
    assert noted == f"mcc-keras prepare {tmp_path / 'pairs'} WORK --size 16"


def test_a_stored_split_is_taken_and_held_to_the_patients(prepare, tmp_path, capsys):
    parts = {"train": ["case0", "case1"], "validation": ["case2", "case4"], "test": ["case3"]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    command = prepare(lambda folder: None, "--workers", 1, "--split", tmp_path / "split.json")
    run(*command)
    assert read_split(tmp_path / "work" / "split.json") == {part: tuple(ids) for part, ids in parts.items()}
    parts["test"].append("case2")
    (tmp_path / "split.json").write_text(json.dumps(parts))
    code, lines = complaints(capsys, *command)
    assert (code, len(lines)) == (3, 1)
    assert "case2" in lines[0]


def test_a_place_that_cannot_be_written_exits_as_environment(write_pairs, capsys):
    if not Path("/sys/kernel").is_dir():
        pytest.skip("no /sys, where nobody may write")
    code, lines = complaints(capsys, "check", write_pairs(), "--workers", 1, "--html", "/sys/kernel/check.html")
    assert (code, len(lines)) == (5, 1)
    assert "/sys/kernel" in lines[0]


def test_an_interrupted_command_says_so(tmp_path):
    # A shell that runs the tests in the background lets its children ignore the signal.
    listening = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{listening}from mcc_keras.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "demo", str(tmp_path / "demo")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "demo").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 4, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors


@pytest.fixture(scope="module")
def whole_way(tmp_path_factory):
    """Prepare and train on the smallest scale through the command line; return the folder."""
    folder = tmp_path_factory.mktemp("way")
    (folder / "pairs").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        mask = np.zeros((16, 16, 16), np.uint8)
        mask[4:11, 5:12, 3 + index % 4 : 10 + index % 4] = 1
        voxels = (rng.normal(100, 10, mask.shape) + 100 * mask).astype(np.int16)
        for name, array in ((f"case{index}.nii.gz", voxels), (f"case{index}_mask.nii.gz", mask)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "pairs" / name)
    run("prepare", folder / "pairs", folder / "work", "--size", 16, "--split", "0.5,0.25,0.25", "--workers", 1)
    run("train", folder / "work", folder / "run", "--epochs", 1, "--no-augment")
    return folder


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def test_the_commands_go_the_whole_way_and_print_what_they_wrote(whole_way, capsys):
    scan = whole_way / "pairs" / "case0.nii.gz"
    run("evaluate", whole_way / "run")
    assert "dice" in capsys.readouterr().out.lower()
    run("predict", whole_way / "run", scan, "-o", whole_way / "mask.nii.gz")
    assert str(whole_way / "mask.nii.gz") in capsys.readouterr().out
    assert nib.load(whole_way / "mask.nii.gz").shape == (16, 16, 16)
    run("export", whole_way / "run", whole_way / "served" / "cube")
    assert (whole_way / "served" / "cube" / "1" / "saved_model.pb").is_file()


def test_a_run_folder_that_is_full_is_refused_and_kept(whole_way, capsys):
    before = sorted(whole_way.rglob("run/*"))
    code, lines = complaints(capsys, "train", whole_way / "work", whole_way / "run", "--epochs", 1)
    assert (code, len(lines)) == (2, 1)
    assert str(whole_way / "run") in lines[0]
    assert sorted(whole_way.rglob("run/*")) == before


def test_a_mask_that_exists_is_kept_and_a_missing_scan_is_named(whole_way, capsys):
    kept = whole_way / "kept.nii.gz"
    kept.write_bytes(b"mine")
    code, lines = complaints(capsys, "predict", whole_way / "run", whole_way / "pairs" / "case0.nii.gz", "-o", kept)
    assert (code, len(lines), kept.read_bytes()) == (2, 1, b"mine")
    code, lines = complaints(capsys, "predict", whole_way / "run", whole_way / "no.nii.gz", "-o", whole_way / "no2.nii")
    assert (code, len(lines)) == (3, 1)
    assert "no.nii.gz" in lines[0]
    assert not (whole_way / "no2.nii").exists()
