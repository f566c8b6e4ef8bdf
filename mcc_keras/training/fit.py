"""Everything of a training that needs Keras and TensorFlow, through `model.fit`.

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

from mcc_keras.errors import RunError
from mcc_keras.files import write_text
from mcc_keras.metrics import DiceScore, MatthewsCorrelationCoefficient
from mcc_keras.models import DenseVNet
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.throughput import watch
from mcc_keras.runs.run import HISTORY, LOGS, MODEL, PREPROCESSING, finish_run, start_run
from mcc_keras.training.callbacks import WARMUP_STEPS, BestModel, HistoryFile, Schedule, SpeedLog
from mcc_keras.training.precision import check_bfloat16

WEIGHT_DECAY, CLIP_NORM = 1e-4, 1.0
MONITOR = "val_dice"


def fit(
    manifest,
    run,
    *,
    loss,
    loss_function,
    budget,
    batch_size,
    learning_rate,
    precision,
    policy,
    seed,
    verbose,
):
    """Train on the records of a manifest with arguments that `train` has checked, and return the `Run`."""
    if precision == "mixed_bfloat16":
        check_bfloat16()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    data, clock = watch(load_dataset(manifest.work, "train", batch_size=batch_size, augment=policy or False, seed=seed))
    has_validation = bool(manifest.counts.get("validation"))
    validation = load_dataset(manifest.work, "validation", batch_size=batch_size) if has_validation else None
    model = _build(manifest, loss_function, learning_rate=learning_rate, precision=precision)
    folder = start_run(run)
    write_text(folder / PREPROCESSING, manifest.preprocessing.to_json())
    schedule = Schedule(learning_rate, total_steps=budget["epochs"] * len(data), minutes=budget["minutes"])
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


def _verbosity(verbose):
    if verbose != "auto":
        return verbose
    return 1 if sys.stdout.isatty() else 2


def _versions():
    packages = ("mcc_keras", "keras", "tensorflow", "numpy", "nibabel", "SimpleITK")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
