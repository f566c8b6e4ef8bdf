"""`train`: prepared records in, a run folder out; what can be refused is refused before TensorFlow is loaded."""

from mcc_keras.augmentation.presets import augmentation_policy
from mcc_keras.errors import UsageError
from mcc_keras.losses import get_loss
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs.run import refuse_used_folder

DEFAULT_EPOCHS = 100
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def train(
    work,
    run,
    *,
    loss="mcc",
    epochs=None,
    minutes=None,
    batch_size=2,
    learning_rate=2e-3,
    precision="float32",
    augment=True,
    seed=0,
    verbose="auto",
):
    """Train Dense V-Net on prepared records and keep the epoch with the best validation Dice.

    Two runs with the same arguments on the same machine and number of threads give the same weights: the seed is set
    for Python, NumPy and Keras, and TensorFlow is told to use deterministic kernels for the rest of the process. What
    is left is the order in which it adds three gradients, the first that is ready first; while other programs compete
    for the cores, only `TF_NUM_INTEROP_THREADS=1`, set before TensorFlow is imported, keeps that order.

    Args:
        work: Folder that `write_tfrecords` wrote.
        run: Run folder to write; one that is not empty is refused.
        loss: Name in `mcc_keras.losses.LOSSES`, or a `keras.losses.Loss` for probabilities.
        epochs: Passes over the training part (100 if `minutes` is not given either).
        minutes: Instead of `epochs`, the time to train for; the learning rate reaches 0 when it is over.
        batch_size: Volumes a step.
        learning_rate: Largest learning rate, > 0.
        precision: `"float32"`, `"mixed_bfloat16"` (faster where the processor has it, refused where it has not) or
            `"mixed_float16"` (for GPUs).
        augment: `True`, `False`, a preset's name or an `Augmentation`. Axes that are flipped in training are flipped
            and averaged in prediction, too.
        seed: Integer seed of weights, order and augmentation.
        verbose: As in `model.fit`; `"auto"` is a bar on a terminal and a line an epoch elsewhere.

    Returns:
        The `Run`. Its history and TensorBoard's log tell the volumes a second and the share of a step spent waiting for
        data (`waiting_share`) of each epoch, its `settings["speed"]` those of the run.

    Raises:
        UsageError: An argument makes no sense, an unknown loss for example; nothing has been written.
        OutputExistsError: The run folder is not empty.
        RecordError: `work` holds no records, or damaged ones.
        RunError: The loss was NaN from the start.
        EnvironmentFailure: bfloat16 on a processor where TensorFlow sums it wrongly.

    Example:

    >>> train("work", "run", loss="mcc", epochs=40, minutes=10)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: Expected epochs or minutes, received both: epochs=40, minutes=10.
    """
    budget = _budget(epochs, minutes, learning_rate, precision)
    policy = augmentation_policy(augment)
    refuse_used_folder(run)
    manifest = read_manifest(work)
    loss_function = get_loss(loss) if isinstance(loss, str) else loss
    from mcc_keras.training.fit import fit  # here, so that no refusal above waits for TensorFlow

    return fit(
        manifest,
        run,
        loss=loss,
        loss_function=loss_function,
        budget=budget,
        batch_size=batch_size,
        learning_rate=learning_rate,
        precision=precision,
        policy=policy,
        seed=seed,
        verbose=verbose,
    )


def _budget(epochs, minutes, learning_rate, precision):
    if epochs is not None and minutes is not None:
        raise UsageError(f"Expected epochs or minutes, received both: epochs={epochs}, minutes={minutes}.")
    for name, value in {"epochs": epochs, "minutes": minutes, "learning_rate": learning_rate}.items():
        if value is not None and not value > 0:
            raise UsageError(f"Expected a positive number. Received: {name}={value!r}.")
    if precision not in PRECISIONS:
        raise UsageError(f"Expected one of {', '.join(PRECISIONS)}. Received: precision={precision!r}.")
    if minutes is None:
        return {"epochs": epochs or DEFAULT_EPOCHS, "minutes": None}
    return {"epochs": 10**6, "minutes": minutes}  # the schedule ends the run
