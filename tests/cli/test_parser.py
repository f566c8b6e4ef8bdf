"""The options of each command match the functions behind it; wrong usage is one line."""

import argparse
import inspect
import re
import shlex
from pathlib import Path

import pytest

import mcc_keras as mk
from mcc_keras.augmentation import PRESETS
from mcc_keras.cli import build_parser

FUNCTIONS = {
    "demo": (mk.run_demo,),
    "check": (mk.find_cases, mk.check_cases),
    "prepare": (mk.find_cases, mk.Preprocessing, mk.write_tfrecords),
    "verify": (mk.verify_records,),
    "preview": (mk.find_cases, mk.preview_augmentation),
    "view": (mk.view,),
    "train": (mk.Recipe, mk.train),
    "runs": (mk.list_runs,),
    "evaluate": (mk.evaluate, mk.try_mask_options),
    "compare": (mk.compare_losses,),
    "score": (mk.score,),
    "segment": (mk.segment, mk.segment_many, mk.segment_remote, mk.segment_many_remote),
    "explain": (mk.explain,),
    "export": (mk.export_saved_model,),
    "info": (mk.describe_environment,),
}
# Set by the command line itself (cases and preprocessing come from other options, progress is always shown, pictures
# belong to a page), or useful in Python only.
ELSEWHERE = {"callbacks", "cases", "command", "preprocessing", "progress", "pictures", "verbose", "changes", "report"}
ELSEWHERE |= {"options"}  # of `--try`
ELSEWHERE |= {"model_arguments", "loss_arguments"}  # of a recipe, until they have options
ELSEWHERE |= {"patches", "window"}  # of a recipe, each with options for its own fields


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
        expected = {None if default is inspect.Parameter.empty else default, argparse.SUPPRESS}
        assert options[name].default in expected, name


def test_every_command_is_compared_with_its_functions():
    subparsers = next(action for action in build_parser()._actions if action.dest not in ("help", "version"))
    assert set(subparsers.choices) == set(FUNCTIONS)


def test_the_commands_of_the_readme_are_commands():
    readme = Path(__file__).parents[2] / "README.md"
    lines = re.findall(r"^ {4}(?:\S*/)?mcc-keras (.*)", readme.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {shlex.split(line, comments=True)[0] for line in lines} == set(FUNCTIONS)
    for line in lines:
        build_parser().parse_args(shlex.split(line, comments=True))


def test_the_readme_lists_every_loss():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [name for name in mk.losses.LOSSES if f"`{name}`" not in readme] == []


def test_the_losses_to_choose_from_are_the_registry():
    assert list(options_of("train")["loss"].choices) == sorted(mk.losses.LOSSES)


def test_help_names_the_presets():
    assert f"{', '.join([*PRESETS][:-1])} or {[*PRESETS][-1]}" in options_of("preview")["augment"].help


def test_augmentation_is_on_named_or_off():
    parse = build_parser().parse_args
    words = ([], ["--augment", "light"], ["--no-augment"])
    found = [vars(parse(["train", "work", "run", *word])).get("augment") for word in words]
    assert found == [None, "light", False]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "work", "run", "--loss", "mc"], "'mcc'"),
        (["train", "work", "run", "--epochs", "2", "--minutes", "2"], "--minutes"),
        (["train", "work", "run", "--precision", "float8"], "float8"),
        (["train", "work", "run", "--patches-per-volume", "2"], "--patch-size 64"),
        (["train", "work", "run", "--patch-size", "64,64"], "size=(64, 64)"),
        (["train", "work", "run", "--patch-size", "64", "--overlap", "1"], "overlap"),
        (["train", "work", "run", "--augment", "strnog"], "paper, strong"),
        (["prepare", "source", "work", "--size", "48,48"], "size"),
        (["prepare", "source", "work", "--size", "big"], "big"),
        (["prepare", "source", "work"], "size"),
        (["prepare", "source", "work", "--size", "48", "--labels", "1", "--foreground", "1"], "--foreground"),
        (["segment", "--run", "run", "scan.nii.gz"], "--output"),
        (["sgement", "run", "scan.nii.gz"], "segment"),
        ([], "COMMAND"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_as_usage(arguments, named, complaints):
    code, lines = complaints(*arguments)
    assert (code, len(lines)) == (2, 1)
    assert named in lines[0]
