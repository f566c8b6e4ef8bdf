"""`Task`: the meaning of the labels of a mask and of the channels of an image."""

import dataclasses
import itertools
import re

import numpy as np

from mcc_keras.errors import UsageError, printable

MAX_CLASSES, MAX_LABEL = 255, 65535
_SIDES = {"left": "left", "l": "left", "lh": "left", "right": "right", "r": "right", "rh": "right"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The labels of each class, the names of the classes, and the channels of an image.

    Args:
        labels: One tuple of mask labels for each foreground class; the labels of a tuple are merged.
        background: Mask labels that count as background. Any other label is an error when a mask is read.
        names: Name of each foreground class; by default its labels, joined by "+".
        channel_names: Name of each channel, in order.
        sided: Pairs of class numbers, from 1, that are left and right of each other: a flip must swap them. Names that
            differ only in left and right are found here; `prepare` adds pairs whose masks are mirror images.

    Raises:
        UsageError: A label in two classes, a class without labels, a class that no mask file can hold.

    Example:

    >>> task = Task(labels=((1, 2), (4,)), names=("tumour", "cyst"))
    >>> task.num_classes, task.label_values, task.mask_dtype
    (3, (0, 1, 4), 'uint8')
    >>> Task(labels=((1, 2), (4,))).names
    ('1+2', '4')
    >>> Task(labels=((1,), (2,), (3,)), names=("right lung", "heart", "left lung")).sided
    ((1, 3),)
    """

    labels: tuple[tuple[int, ...], ...] = ((1,),)
    background: tuple[int, ...] = (0,)
    names: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ("image",)
    sided: tuple[tuple[int, int], ...] = ()

    def __post_init__(self):
        flat = [value for values in (*self.labels, self.background) for value in values]
        if not self.labels or not all(self.labels) or len(set(flat)) != len(flat) or len(self.labels) > MAX_CLASSES:
            raise UsageError(
                "Each label must belong to one class, and each class must have one. "
                f"Received: labels={self.labels}, background={self.background}."
            )
        names = self.names or tuple("+".join(map(str, values)) for values in self.labels)
        if len(names) != len(self.labels) or len(set(names)) != len(names):
            raise UsageError(f"`names` must name each of {len(self.labels)} classes. Received: names={names}.")
        if not self.channel_names or len(set(self.channel_names)) != len(self.channel_names):
            raise UsageError(f"`channel_names` must differ. Received: channel_names={self.channel_names}.")
        if any(printable(text) != text for text in (*names, *self.channel_names)):
            received = f"names={names}, channel_names={self.channel_names}"
            raise UsageError(f"Names of classes and channels must be printable text. Received: {received}.")
        object.__setattr__(self, "names", names)
        values = self.label_values
        if len(set(values)) != len(values) or not 0 <= min(values) <= max(values) <= MAX_LABEL:
            raise UsageError(
                f"Masks are written with the first label of each class, which must be from 1 to {MAX_LABEL}; 0 is"
                f" background. Received: labels={self.labels}."
            )

        object.__setattr__(self, "sided", self._all_sided())

    def _all_sided(self):
        pairs = {tuple(sorted(pair)) for pair in self.sided}
        if not all(len(pair) == 2 and 1 <= pair[0] < pair[1] <= len(self.labels) for pair in pairs):
            rule = f"`sided` must hold pairs of class numbers from 1 to {len(self.labels)}."
            raise UsageError(f"{rule} Received: sided={self.sided}.")
        without = [_without_side(name) for name in self.names]
        named = itertools.combinations(range(1, len(without) + 1), 2)
        pairs |= {(a, b) for a, b in named if _are_sides(without[a - 1], without[b - 1])}
        return tuple(sorted(pairs))

    def class_number(self, label):
        """Return the number, from 1, of the class of a mask label or of a name.

        Raises:
            UsageError: There is no such class.

        Example:

        >>> task = Task(labels=((1, 2), (4,)), names=("tumour", "cyst"))
        >>> task.class_number(2), task.class_number("Cyst")
        (1, 2)
        """
        if isinstance(label, str):
            names = [name.lower() for name in self.names]
            found = [names.index(label.lower())] if label.lower() in names else []
        else:
            found = [index for index, labels in enumerate(self.labels) if label in labels]
        if not found:
            known = f"the labels {', '.join(str(x) for labels in self.labels for x in labels)}"
            raise UsageError(f"A label must be one of {known}, or {', '.join(self.names)}. Received: {label!r}.")
        return found[0] + 1

    @property
    def num_classes(self):
        """Channels of the network's output: 1 for one foreground class, else background and one for each class."""
        return len(self.labels) + 1 if len(self.labels) > 1 else 1

    @property
    def label_values(self):
        """Values of a written mask for class 0, 1, …: 0 and 1 for one class, else the first label of each class."""
        return (0, 1) if len(self.labels) == 1 else (0, *(labels[0] for labels in self.labels))

    @property
    def mask_dtype(self):
        """The smaller of uint8 and uint16 that holds `label_values`."""
        return "uint8" if max(self.label_values) <= np.iinfo(np.uint8).max else "uint16"

    @property
    def known_labels(self):
        """All labels that a mask may hold, ascending."""
        return tuple(sorted(value for values in (*self.labels, self.background) for value in values))


def _without_side(name):
    """Return the words of a name without left and right, and which of the two they are.

    >>> _without_side("Lung_L"), _without_side("leftKidney"), _without_side("liver")
    ((('lung',), ('left',)), (('kidney',), ('left',)), (('liver',), ()))
    """
    words = [word.lower() for word in _WORD.findall(name)]
    sides = tuple(_SIDES[word] for word in words if word in _SIDES)
    return tuple(word for word in words if word not in _SIDES), sides


def _are_sides(first, second):
    return first[0] == second[0] and sorted((*first[1], *second[1])) == ["left", "right"] and len(first[1]) == 1
