"""Every advice of a message can be followed where it is given: its options, arguments and commands exist there."""

import functools
import inspect
import re

import pytest
from advices import Messages, read_modules

import mcc_keras as mk
from mcc_keras.cli.language import translate
from mcc_keras.cli.parser import COMMANDS, build_parser

OPTION = re.compile(r"(?<![\w-])--(?P<name>[a-z][\w-]*)(?: (?P<value>[\w.,:]+))?")
KEYWORD = re.compile(r"(?<![\w/.=<-])(?<!\w\()(?P<name>[a-z]\w*)=(?!=)")
# Arguments and commands between backticks that a message tells the reader to use, as "Make them with `prepare`."
USED = re.compile(r"\b(?:[Gg]ive|[Ss]et|[Pp]ass|with|or) `(?P<name>[a-z]\w*)`")
COMMAND = re.compile(r"(?:mcc-keras |(?=train with --))(?P<name>[a-z]\w*)")
SENTENCE = re.compile(r"[a-z]{2,}[ .]")
PAGES = tuple(
    f"mcc_keras.{name}"
    for name in ("reporting.html", "reporting.curves", "evaluation.page", "checks.page", "viewing.document")
)
READ_BACK = (
    "train",
    "preview",
    "evaluate",
    "segment",
    "explain",
    "export",
    "compare",
)  # commands that read values which others have checked

# Why an advice about an argument needs no option, by the name of the argument.
PYTHON_ONLY = {
    "multiclass": "no command sets the arguments of a loss",
    "cache": "the commands leave the choice to the data set",
    "ignore_class": "records hold no label to ignore",
    "pool": "no command sets the arguments of a loss or metric",
    "from_logits": "the networks of `train` return probabilities",
    "smooth": "it names an argument of MCCLoss to somebody who looks at empty masks",
    "weighting": "surface measures of commands are of 3 axes",
    "deep_supervision": "no command wraps a network in another one",
    "oversize": "no command cuts patches, but a recipe written in Python may",
}
# Why an advice cannot appear in a command that reaches it, by command and name.
NEVER = {
    ("score", "nonfinite"): "scans are read with zero; masks are read by `read_mask_file`, whose advice is another",
    ("evaluate", "foreground"): "`evaluate` gives another advice, since its labels are those of the run",
    ("score", "foreground"): "`score` has labels only, and none is chosen where pairs are found",
    ("evaluate", "labels"): "its labels are those of the run",
    **{(command, name): "no mask is read" for command in ("segment",) for name in ("foreground", "labels")},
    **{(command, "channels"): "the case can be left out" for command in ("evaluate", "score", "segment")},
    **{(command, name): "a preprocessing is written valid" for command in READ_BACK for name in ("size", "spacing_mm")},
    **{
        (command, "take_over"): "`prepare` alone asks for it"
        for command in ("train", "evaluate", "score", "export", "compare")
    },
    **{
        ("compare", name): "its cases are read as they were prepared"
        for name in ("foreground", "labels", "channels", "affine", "nonfinite")
    },
    **{("compare", name): "`--set` takes it as it is spelled" for name in ("precision", "schedule", "init")},
    **{(command, "window_size"): "windows are not chosen there" for command in ("explain", "export")},
    ("compare", "accept_loss"): "it accepts what `prepare` has accepted",
    ("compare", "validation"): "it refuses so few patients by itself",
}


@functools.cache
def messages():
    return Messages(read_modules())


@functools.cache
def parsers():
    subparsers = next(action for action in build_parser()._actions if action.dest not in ("help", "version"))
    return subparsers.choices


def advices(command=None):
    """Return the messages with a way out. What was `expected` or found somewhere is none; pages hold HTML."""
    found = messages().of_command(command) if command else messages().of_all()
    return sorted(
        (where, text)
        for where, text in found
        if not where.startswith(PAGES) and not text.startswith("expected ") and SENTENCE.search(text)
    )


def accepts(parser, name, value):
    """Return whether a parser has an option and, if one is given, takes the value."""
    action = parser._option_string_actions.get(f"--{name}")
    if action is None or value is None or action.nargs == 0:
        return action is not None
    try:
        return action.choices is None or parser._get_value(action, value.rstrip(".,")) in action.choices
    except Exception:
        return False


def options_that_fail(text, parser):
    """Return the options of a text that a command lacks; those after `mcc-keras NAME` belong to that command."""
    named = COMMAND.search(text)
    other = parsers().get(named["name"]) if named else None
    return [found[0] for found in OPTION.finditer(text) if not accepts(other or parser, found["name"], found["value"])]


def named_arguments(text):
    """Return the arguments that a text tells the reader to use, but those of Python calls."""
    return {found["name"] for found in (*KEYWORD.finditer(text), *USED.finditer(text))} - set(COMMANDS)


def arguments_that_stay(command, spoken):
    """Return the arguments that are still arguments in the words of a command, unless there is a reason."""
    return [name for name in named_arguments(spoken) if name not in PYTHON_ONLY and (command, name) not in NEVER]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])  # it makes its own data and settings
def test_every_advice_can_be_followed_in_the_commands_that_give_it(command):
    parser = parsers()[command]
    failing = []
    for where, text in advices(command):
        if not where.startswith("mcc_keras.cli."):  # whose strings are checked by argparse and by the next test
            spoken = translate(text, parser)
            problems = [*options_that_fail(spoken, parser), *arguments_that_stay(command, spoken)]
            failing += [(where, text, problem) for problem in problems]
    assert not failing


def test_every_option_and_command_that_a_message_names_exists():
    failing = []
    for where, text in advices():
        named = [found["name"] for found in COMMAND.finditer(text)]
        failing += [(where, name) for name in named if name not in COMMANDS]
        known = {option for parser in parsers().values() for option in parser._option_string_actions}
        failing += [(where, found["name"]) for found in OPTION.finditer(text) if f"--{found['name']}" not in known]
    assert not failing


@functools.cache
def arguments():
    """Return the names of the arguments of everything public."""
    found = set()
    for home in (mk, mk.losses, mk.metrics, mk.models, mk.pipeline, mk.datasets):
        for name in dir(home):
            value = getattr(home, name)
            if callable(value) and not name.startswith("_"):
                found |= set(inspect.signature(value).parameters)
    return found


def test_every_argument_that_a_message_names_exists():
    failing = []
    for where, text in advices():
        failing += [(where, name) for name in named_arguments(text) if name not in arguments()]
    assert not failing


def test_no_exception_is_left_over():
    kept = set()
    for command in COMMANDS:
        for _, text in advices(command):
            kept |= {(command, name) for name in named_arguments(translate(text, parsers()[command]))}
    assert {name for _, name in kept} >= set(PYTHON_ONLY)
    assert kept >= set(NEVER)
