"""The user's choice from a data set: labels for each class, and channels, by number or by name."""

from dataclasses import replace

import numpy as np

from mcc_keras.errors import CaseError, UsageError, raise_all


def choose_labels(foreground, labels, regions):
    """Return one tuple of labels for each class, and the labels that a choice by name makes background.

    Args:
        foreground: Labels or names of regions that are merged into one class, or None.
        labels: Labels or names kept apart, one class each; a tuple in it is merged into one class. Or None.
        regions: Dict from the names that a layout declares to their labels.

    Returns:
        `(classes, rest)`: classes is None where nothing was chosen; rest are the declared labels outside the chosen
        regions where everything was chosen by name, since the name of a region implies what it leaves out.

    >>> choose_labels("core", None, {"whole": (1, 2, 4), "core": (1, 4)})
    (((1, 4),), (2,))
    >>> choose_labels(None, (1, (2, 3)), {})
    (((1,), (2, 3)), ())
    """
    if foreground is not None and labels is not None:
        raise UsageError(f"Give `foreground` or `labels`, not both. Received: {foreground=}, {labels=}")
    if foreground is None and labels is None:
        return None, ()
    name = "labels" if foreground is None else "foreground"
    chosen = [_several(values) for values in _several(labels)] if foreground is None else [_several(foreground)]
    classes = tuple(tuple(x for value in values for x in _values(value, name, regions)) for values in chosen)
    by_name = all(isinstance(value, str) for values in chosen for value in values)
    taken = {value for values in classes for value in values}
    declared = {value for values in regions.values() for value in values}
    return classes, tuple(sorted(declared - taken)) if by_name and any(chosen) else ()


def whole_number(value, name):
    """Return a label as a Python integer, or refuse it."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"`{name}` must hold whole numbers. Received: {value!r}")
    return int(value)


def refuse_overlap(classes, source):
    """Refuse a data set that declares overlapping regions unless the user has chosen (`classes` is None)."""
    if classes is None:
        raise UsageError(f"{source} declares regions that overlap. Choose with `foreground` or `labels`.")


def name_classes(classes, regions):
    """Return a name for each class: that of the declared region with its labels, of its labels, or the labels.

    >>> name_classes(((1, 4), (2,), (3, 5)), {"core": (1, 4), "oedema": (2,)})
    ('core', 'oedema', '3+5')
    """
    known = {frozenset(labels): name for name, labels in regions.items()}
    single = {value: known.get(frozenset((value,)), str(value)) for values in classes for value in values}
    return tuple(known.get(frozenset(values), "+".join(single[value] for value in values)) for values in classes)


def choose_channels(cases, channels):
    """Return the cases with the channels of these names, in this order; None: all.

    Raises:
        CaseError: A case lacks a requested channel, or one that another case has.
        UsageError: A name twice, a name that no case has, or a choice from one file that holds all channels.
    """
    names = _channel_names(cases, channels)
    raise_all(
        CaseError(
            case.case_id,
            f"expected the channels {', '.join(names)}, found {', '.join(case.task.channel_names)}",
            "Choose channels that every case has with `channels`, or leave the case out.",
        )
        for case in cases
        if not set(names) <= set(case.task.channel_names)
    )
    return [pick_channels(case, names) for case in cases]


def match_channels(case, names):
    """Return a case with the channels of a network, selected by name if the case has all of these names."""
    return pick_channels(case, names) if set(names) <= set(case.task.channel_names) else case


def pick_channels(case, names):
    """Return a case with the channels of these names, in this order."""
    if tuple(names) == case.task.channel_names:
        return case
    if len(case.images) != len(case.task.channel_names):
        raise UsageError(
            f"{case.images[0]} holds all channels in one file, so they cannot be chosen. Received: channels={names}"
        )
    images = tuple(case.images[case.task.channel_names.index(name)] for name in names)
    return replace(case, images=images, task=replace(case.task, channel_names=tuple(names)))


def _channel_names(cases, channels):
    known = tuple(dict.fromkeys(name for case in cases for name in case.task.channel_names))
    if channels is None:
        return known
    folded = {name.lower(): name for name in known} | {name: name for name in known}
    names = tuple(folded.get(str(name), folded.get(str(name).lower())) for name in _several(channels))
    if not names or None in names or len(set(names)) != len(names):
        raise UsageError(f"`channels` must name each channel once, of {', '.join(known)}. Received: {channels=}")
    return names


def _values(value, name, regions):
    if not isinstance(value, str):
        return (whole_number(value, name),)
    folded = {region.lower(): labels for region, labels in regions.items()}
    if value.lower() not in folded:
        known = f"the names {', '.join(regions)}" if regions else "no names"
        raise UsageError(f"`{name}` must hold whole numbers; this data set has {known}. Received: {value!r}")
    return folded[value.lower()]


def _several(values):
    return tuple(values) if isinstance(values, tuple | list | set | frozenset | range) else (values,)
