"""Flips and side labels: a left kidney that is flipped is a right one."""

import dataclasses

from mcc_keras.errors import UsageError


def refuse_sided_flip(policy, task):
    """Refuse to flip left and right if that turns one side into the other without swapping their labels.

    Args:
        policy: `Augmentation`, or None for no augmentation. Its `swap_labels` are labels or names of the task.
        task: `Task`, whose `sided` pairs must be swapped or not flipped.

    Raises:
        UsageError: A pair that the policy flips and does not swap, or a swap of labels that are no class.

    Example:

    >>> from mcc_keras.augmentation import Augmentation
    >>> from mcc_keras.task import Task
    >>> task = Task(labels=((1,), (2,)), names=("left lung", "right lung"))
    >>> refuse_sided_flip(Augmentation(swap_labels=((1, 2),)), task)
    >>> refuse_sided_flip(Augmentation(), task)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: The augmentation flips left and right, but `left lung` and `right lung` are sides...
    """
    if policy is None:
        return
    swapped = {tuple(sorted(pair)) for pair in _class_pairs(policy, task)}
    kept = [pair for pair in task.sided if pair not in swapped] if policy.flip[0] else []
    if kept:
        first, second = (task.names[number - 1] for number in kept[0])
        labels = [task.labels[number - 1][0] for number in kept[0]]
        more = f", as are {len(kept) - 1} more pairs" if len(kept) > 1 else ""
        raise UsageError(
            f"The augmentation flips left and right, but `{first}` and `{second}` are sides of each other{more}. Swap "
            f"them: --swap-labels {labels[0]}:{labels[1]} (Augmentation(swap_labels=(({labels[0]}, {labels[1]}),))); "
            "or do not flip: --no-flip (Augmentation(flip=(False, False, False)))."
        )


def with_class_numbers(policy, task):
    """Return a policy whose `swap_labels` are class numbers, as the masks of records hold them; None stays None.

    Raises:
        UsageError: As `refuse_sided_flip`.

    Example:

    >>> from mcc_keras.augmentation import Augmentation
    >>> from mcc_keras.task import Task
    >>> task = Task(labels=((7,), (9,)), names=("left", "right"))
    >>> with_class_numbers(Augmentation(swap_labels=((7, "right"),)), task).swap_labels
    ((1, 2),)
    """
    refuse_sided_flip(policy, task)
    if policy is None or not policy.swap_labels:
        return policy
    return dataclasses.replace(policy, swap_labels=_class_pairs(policy, task))


def _class_pairs(policy, task):
    pairs = tuple(tuple(task.class_number(label) for label in pair) for pair in policy.swap_labels)
    numbers = [number for pair in pairs for number in pair]
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"Each class must be swapped once. Received: swap_labels={policy.swap_labels}.")
    return pairs
