"""Messages of Python functions in the words of the command line: `--foreground 1,2` for `foreground=(1, 2)`."""

import ast
import re

from mcc_keras.errors import printable

MOST_PATHS = 3
# An argument with its value, or the name of one between backticks; parts of paths and of calls are neither.
_VALUE = r"""\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\]|'[^']*'|"[^"]*"|[-+]?\w+(?:\.\w+)*"""
ARGUMENT = re.compile(rf"(?<![\w/.=-])(?<!\w\()(?P<name>[a-z]\w*)=(?P<value>{_VALUE})(?![\w/])|`(?P<quoted>[a-z]\w*)`")


def translate(text, parser):
    """Return a message with the options of `parser` in place of the arguments that they stand for.

    Example:

    >>> import argparse
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--foreground")
    >>> _ = parser.add_argument("--overwrite", action="store_true")
    >>> translate("Choose labels with foreground=(1, 2), or pass overwrite=True. `foreground` is required.", parser)
    'Choose labels with --foreground 1,2, or pass --overwrite. `--foreground` is required.'
    """
    actions = {}
    for action in parser._actions:
        actions.setdefault(action.dest, []).append(action)
    return ARGUMENT.sub(lambda found: _translated(found, actions), text)


def _translated(found, actions):
    name = found["name"] or found["quoted"]
    if name not in actions:
        return found[0]
    action = actions[name][0]
    option = action.option_strings[-1] if action.option_strings else action.metavar
    if found["quoted"]:
        return f"`{option}`"
    value = _value(found["value"])
    for flag in actions[name]:
        if flag.nargs == 0 and flag.const is value:
            return flag.option_strings[-1]
    if value is None or value is False:
        return f"no {option}"
    return f"{option} {_spelled(value)}" if action.option_strings else _spelled(value)


def _value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _spelled(value):
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def list_problems(error):
    """Return one line per problem of a `DataErrors`, in the order of their paths; equal problems share a line.

    What stands in parentheses, such as a number of voxels, does not make two problems different.

    Example:

    >>> from mcc_keras.errors import DataErrors, LabelError
    >>> labels = [LabelError(f"{case}.nii", f"found 2 ({case} voxels)", "Choose labels.") for case in (7, 8, 9, 5, 6)]
    >>> list_problems(DataErrors([*labels, LabelError("1.nii", "found 3 (1 voxel)")]))
    ['1.nii: found 3 (1 voxel).', '5.nii, 6.nii, 7.nii and 2 more: found 2. Choose labels.']
    """
    groups = {}
    for each in sorted(error.errors, key=lambda each: str(each.path)):
        groups.setdefault((re.sub(r" \([^()]*\)", "", each.problem), each.way_out), []).append(each)
    return [_line(*key, group) for key, group in groups.items()]


def _line(problem, way_out, group):
    if len(group) == 1:
        return str(group[0])
    paths = [str(each.path) for each in group]
    more = f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else ""
    return printable(f"{', '.join(paths[:MOST_PATHS])}{more}: {problem}. {way_out}".rstrip())
