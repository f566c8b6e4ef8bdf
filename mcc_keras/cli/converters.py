"""From the text of an option to its value. `__name__` is what argparse prints for a wrong value."""

import json
import os
import re


def label(text):
    """Return a mask label, or the name of one.

    Example:

    >>> label("2"), label("core")
    (2, 'core')
    """
    return int(text) if text.lstrip("-").isdecimal() else text


def named_labels(text):
    """Return labels or names, or a dict from names to labels.

    Example:

    >>> named_labels("1,2"), named_labels("liver,tumor"), named_labels("liver=1,tumor=2+3")
    ((1, 2), ('liver', 'tumor'), {'liver': (1,), 'tumor': (2, 3)})
    """
    if "=" not in text:
        return list_of(label)(text)
    pairs = [part.partition("=")[::2] for part in text.split(",")]
    return {name: tuple(int(value) for value in values.split("+") if values) for name, values in pairs}


named_labels.__name__ = "list of labels"


def swapped_pair(text):
    """Return the two labels or names that `L:L` joins.

    Example:

    >>> swapped_pair("1:2"), swapped_pair("left lung:right lung")
    ((1, 2), ('left lung', 'right lung'))
    """
    first, second = text.split(":")
    return label(first), label(second)


def shard(text):
    """Return k and n of `K/N`.

    Example:

    >>> shard("2/8")
    (2, 8)
    """
    first, number = text.split("/")
    return int(first), int(number)


def arguments(text):
    """Return keyword arguments: numbers, true, false, null, lists in brackets, and other words as text.

    Example:

    >>> arguments("width=0.5,normalization=group,channels=[8,16]")
    {'width': 0.5, 'normalization': 'group', 'channels': [8, 16]}
    """
    found = {}
    for part in re.split(r",(?=\s*[A-Za-z_]\w*=)", text):
        name, equals, value = part.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ValueError(part)
        try:
            found[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            found[name.strip()] = value
    return found


arguments.__name__ = "list of NAME=VALUE"


def axis(text):
    """Return the name of a field and its values: numbers, true, false, null, and other words as text.

    Example:

    >>> axis("batch_size=1,4"), axis("loss=mcc,dice"), axis("model_arguments.width=0.5")
    (('batch_size', (1, 4)), ('loss', ('mcc', 'dice')), ('model_arguments.width', (0.5,)))
    """
    name, equals, values = text.partition("=")
    if not equals or not values or not name.replace(".", "_").isidentifier():
        raise ValueError(text)
    return name, tuple(map(_plain, values.split(",")))


axis.__name__ = "FIELD=VALUE,VALUE"


def setting(text):
    """Return the name of a field and its value, which may be a list in brackets.

    Example:

    >>> setting("augment=light"), setting("model_arguments.depths=[1,1,1]")
    (('augment', 'light'), ('model_arguments.depths', [1, 1, 1]))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.replace(".", "_").isidentifier():
        raise ValueError(text)
    return name, _plain(value)


setting.__name__ = "FIELD=VALUE"


def sweep_of(text):
    """Return the name of a field and the texts of its values, as a mapping.

    Example:

    >>> sweep_of("learning_rate=x0.3,x1")
    {'learning_rate': ('x0.3', 'x1')}
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise ValueError(text)
    return {name: tuple(values.split(","))}


sweep_of.__name__ = "FIELD=VALUE,VALUE"


def _plain(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def list_of(convert):
    """Return a converter of values separated by commas.

    Example:

    >>> list_of(int)("1,2")
    (1, 2)
    """

    def read(text):
        return tuple(convert(part) for part in text.split(","))

    read.__name__ = f"list of {convert.__name__}"
    return read


def or_word(word, convert):
    """Return a converter that also takes one word; "none" is `None`.

    Example:

    >>> or_word("median", float)("median"), or_word("none", float)("none"), or_word("none", float)("2")
    ('median', None, 2.0)
    """

    def read(text):
        if text == word:
            return None if word == "none" else word
        return convert(text)

    read.__name__ = f"{convert.__name__} or {word}"
    return read


def one_or_three(convert):
    """Return a converter of one value, or of three separated by commas.

    Example:

    >>> one_or_three(int)("48"), one_or_three(int)("96,96,32")
    (48, (96, 96, 32))
    """

    def read(text):
        values = list_of(convert)(text)
        return values[0] if len(values) == 1 else values

    read.__name__ = f"{convert.__name__}, or three of them with commas between,"
    return read


def shares_or_file(text):
    """Return three shares, or the name of a .json file or of a WORK folder.

    Example:

    >>> shares_or_file("0.7,0.2,0.1"), shares_or_file("split.json")
    ((0.7, 0.2, 0.1), 'split.json')
    """
    try:
        return list_of(float)(text)
    except ValueError:
        if not (text.endswith(".json") or os.path.isdir(text)):
            raise
        return text


shares_or_file.__name__ = "three shares, a .json file or a WORK folder"
