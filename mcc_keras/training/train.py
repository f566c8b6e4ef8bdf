"""`train`: prepared records in, a run folder out; all of it through `model.fit`.

The recipe, with the reason beside each default, found on hippocampus and prostate MRI on a CPU:

    AdamW 2e-3, weight decay 1e-4     batch norm everywhere keeps a bold rate stable, and budgets are short
    gradient norm clipped at 1        the MCC of a volume with few foreground voxels has rare, steep gradients
    50 warm-up steps, cosine to 0     the last epochs settle; the best epoch by validation Dice is nearly always late
    batch of 2 volumes                what fits; statistics of batch norm come from millions of voxels all the same
"""

import platform
import sys
from importlib import metadata

import keras
import tensorflow as tf

from mcc_keras.augmentation.presets import augmentation_policy
from mcc_keras.errors import RunError, UsageError
from mcc_keras.files import write_text
from mcc_keras.losses import get_loss
from mcc_keras.metrics import DiceScore, MatthewsCorrelationCoefficient
from mcc_keras.models import DenseVNet
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.throughput import watch
from mcc_keras.records.manifest import read_manifest
from mcc_keras.runs.run import HISTORY, LOGS, MODEL, PREPROCESSING, finish_run, start_run
from mcc_keras.training.callbacks import WARMUP_STEPS, BestModel, HistoryFile, Schedule, SpeedLog
from mcc_keras.training.precision import check_bfloat16

WEIGHT_DECAY, CLIP_NORM = 1e-4, 1.0
DEFAULT_EPOCHS = 100
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
MONITOR = "val_dice"


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
    if precision == "mixed_bfloat16":
        check_bfloat16()
    loss_function = get_loss(loss) if isinstance(loss, str) else loss
    manifest = read_manifest(work)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    policy = augmentation_policy(augment)
    data, clock = watch(load_dataset(work, "train", batch_size=batch_size, augment=policy or False, seed=seed))
    has_validation = bool(manifest.counts.get("validation"))
    validation = load_dataset(work, "validation", batch_size=batch_size) if has_validation else None
    model = _build(manifest, loss_function, learning_rate=learning_rate, precision=precision)
    folder = start_run(run)
    write_text(folder / PREPROCESSING, manifest.preprocessing.to_json())
    schedule = Schedule(learning_rate, total_steps=budget["epochs"] * len(data), minutes=minutes)
    best, history = BestModel(folder / MODEL, MONITOR if has_validation else None), HistoryFile(folder / HISTORY)
    board, speed = keras.callbacks.TensorBoard(folder / LOGS, write_graph=False, profile_batch=0), SpeedLog(clock)
    model.fit(
        data,
        validation_data=validation,
        epochs=budget["epochs"],
        callbacks=[speed, schedule, best, history, board, keras.callbacks.TerminateOnNaN()],
        shuffle=False,  # the dataset does it
        verbose=_verbosity(verbose),
    )
    if best.epoch is None:
        problem = "expected a finite loss, found NaN in the first epoch"
        raise RunError(folder, problem, "Try a smaller learning rate, or look at the data with `check`.")
    return finish_run(
        folder,
        {
            "schema": 1,
            "work": str(manifest.work.resolve()),
            "loss": loss if isinstance(loss, str) else keras.saving.serialize_keras_object(loss),
            **budget,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": WEIGHT_DECAY,
            "clip_norm": CLIP_NORM,
            "warmup_steps": WARMUP_STEPS,
            "precision": precision,
            "augment": policy.to_dict() if policy else None,
            "seed": seed,
            "network": {"name": model.name, "input_shape": manifest.image_shape, "parameters": model.count_params()},
            "labels": manifest.labels,
            "background": manifest.settings["background"],
            "label_values": manifest.label_values,
            "channel_names": manifest.channel_names,
            "flip_axes": policy.flip_axes if policy else (),
            "steps": schedule.step,
            "seconds": round(history.seconds, 1),
            "speed": speed.totals.to_dict(),
            "best": {"epoch": best.epoch, "val_dice": best.value},
            "versions": _versions(),
        },
    )


def _build(manifest, loss, *, learning_rate, precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = DenseVNet(manifest.image_shape, manifest.num_classes)
        optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM)
        metrics = [DiceScore(empty="exclude", name="dice"), MatthewsCorrelationCoefficient(name="mcc")]
        model.compile(optimizer, loss=loss, metrics=metrics)
    finally:
        keras.config.set_dtype_policy(before)
    return model


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


def _verbosity(verbose):
    if verbose != "auto":
        return verbose
    return 1 if sys.stdout.isatty() else 2


def _versions():
    packages = ("mcc_keras", "keras", "tensorflow", "numpy", "nibabel", "SimpleITK")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
