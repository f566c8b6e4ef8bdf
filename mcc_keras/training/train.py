"""`train`: prepared records in, a run folder out; what can be refused is refused before TensorFlow is loaded."""

import dataclasses

from mcc_keras.errors import UsageError
from mcc_keras.losses import LOSSES
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs.recipe import Recipe
from mcc_keras.runs.run import refuse_used_folder


def train(work, run, *, recipe=None, verbose="auto", **changes):
    """Train a network on prepared records and keep the epoch with the best validation Dice.

    Two runs with the same arguments on the same machine and number of threads give the same weights: the seed is set
    for Python, NumPy and Keras, and TensorFlow uses deterministic kernels for the rest of the process. What is left is
    the order in which it adds three gradients, the first that is ready first; while other programs compete for the
    cores, only `TF_NUM_INTEROP_THREADS=1`, set before TensorFlow is imported, keeps that order.

    Args:
        work: Folder that `write_tfrecords` wrote.
        run: Run folder to write; one that is not empty is refused.
        recipe: `Recipe` with all settings; `None` is `Recipe()`.
        verbose: As in `model.fit`; `"auto"` is a bar on a terminal and a line per epoch elsewhere.
        **changes: Fields of `Recipe` that differ from `recipe`, as `loss="dice", epochs=40, seed=7`. `loss` may also be
            a `keras.losses.Loss` for probabilities, and `model` a `keras.Model`, which is trained from its weights.

    Returns:
        The `Run`. Its history and TensorBoard's log hold the volumes per second and the share of a step spent waiting
        for data (`waiting_share`) of each epoch, its `result.speed` those of the run.

    Raises:
        UsageError: An unknown or invalid setting; nothing has been written.
        OutputExistsError: The run folder is not empty.
        RecordError: `work` holds no records, or damaged ones.
        RunError: The loss was NaN from the start.
        EnvironmentFailure: bfloat16 on a processor where TensorFlow sums it wrongly.

    Example:

    >>> train("work", "run", loss="mcc", epochs=40, minutes=10)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Give `epochs` or `minutes`. Received both: epochs=40, minutes=10.
    """
    given = {name: changes.pop(name) for name in ("model", "loss") if not isinstance(changes.get(name, ""), str | dict)}
    recipe = _changed(recipe, changes)
    refuse_used_folder(run)
    manifest = read_manifest(work)
    from mcc_keras.training.fit import fit  # here, so that no refusal above waits for TensorFlow

    return fit(manifest, run, recipe=recipe, verbose=verbose, **given)


def _changed(recipe, changes):
    """Return the `Recipe` with some fields changed."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise UsageError(f"Unknown settings: {', '.join(unknown)}. Fields of Recipe are {', '.join(sorted(known))}.")
    if isinstance(changes.get("loss"), str) and changes["loss"] not in LOSSES:
        names = ", ".join(sorted(LOSSES))
        raise UsageError(f"`loss` must be one of {names}. Received: loss={changes['loss']!r}.")
    if recipe is None:
        return Recipe(**changes)
    if changes.get("minutes") is not None or changes.get("epochs") is not None:  # one takes the place of the other
        changes = {"epochs": None, "minutes": None} | changes
    return dataclasses.replace(recipe, **changes)
