"""`Task`: what the labels of a mask and the channels of an image mean."""

import dataclasses

import numpy as np

from mcc_keras.errors import UsageError

MAX_CLASSES, MAX_LABEL = 255, 65535


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Which labels of a mask become which class, what the classes are called, and which channels an image has.

    Args:
        labels: One tuple of mask labels for each foreground class; the labels of a tuple are merged.
        background: Mask labels that count as background. Any other label is an error when a mask is read.
        names: Name of each foreground class; by default its labels, joined by "+".
        channel_names: Name of each channel, in order.

    Raises:
        UsageError: A label in two classes, a class without labels, a class that no mask file can hold.

    Example:

    >>> task = Task(labels=((1, 2), (4,)), names=("tumour", "cyst"))
    >>> task.num_classes, task.label_values, task.mask_dtype
    (3, (0, 1, 4), 'uint8')
    >>> Task(labels=((1, 2), (4,))).names
    ('1+2', '4')
    """

    labels: tuple[tuple[int, ...], ...] = ((1,),)
    background: tuple[int, ...] = (0,)
    names: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ("image",)

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
        object.__setattr__(self, "names", names)
        values = self.label_values
        if len(set(values)) != len(values) or not 0 <= min(values) <= max(values) <= MAX_LABEL:
            raise UsageError(
                f"Masks are written with the first label of each class, which must be from 1 to {MAX_LABEL}; 0 is"
                f" background. Received: labels={self.labels}."
            )

    @property
    def num_classes(self):
        """Channels of the network's output: 1 for one foreground class, else background and one for each class."""
        return len(self.labels) + 1 if len(self.labels) > 1 else 1

    @property
    def label_values(self):
        """What a written mask holds for class 0, 1, …: 0 and 1 for one class, else the first label of each class."""
        return (0, 1) if len(self.labels) == 1 else (0, *(labels[0] for labels in self.labels))

    @property
    def mask_dtype(self):
        """The smaller of uint8 and uint16 that holds `label_values`."""
        return "uint8" if max(self.label_values) <= np.iinfo(np.uint8).max else "uint16"

    @property
    def known_labels(self):
        """All labels that a mask may hold, ascending."""
        return tuple(sorted(value for values in (*self.labels, self.background) for value in values))
