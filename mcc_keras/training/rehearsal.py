"""What a training will cost: some of its steps, with weights and an optimizer that are dropped."""

import resource
import statistics
import sys
import time

from mcc_keras.pipeline.reading import record_errors
from mcc_keras.training.build import compile_model
from mcc_keras.training.fit import open_data, prepare_process, with_objects
from mcc_keras.training.gradients import released_gradients
from mcc_keras.training.plan import TIMED_STEPS, TrainingPlan, describe_plan
from mcc_keras.training.state import build_state
from mcc_keras.training.validation import WindowedValidation


def rehearse(manifest, recipe, *, model=None, loss=None):
    """Return the `TrainingPlan` of a recipe; nothing is written, and a model that is given keeps its weights.

    Args:
        manifest: `Manifest`.
        recipe: `Recipe`.
        model: A `keras.Model` in place of the recipe's.
        loss: A `keras.losses.Loss` in place of the recipe's.
    """
    recipe = with_objects(recipe, model=model, loss=loss)
    prepare_process(recipe)
    with released_gradients(), record_errors(manifest):
        model = compile_model(manifest, recipe, loss=loss)
        data, validation = open_data(manifest, recipe)
        build_state(model, data)
        seconds = _seconds_per_step(model.train_on_batch, data)
        scoring = _validation_seconds(model, validation) if validation else 0.0
    lines = tuple(describe_plan(manifest, recipe, model, steps=len(data)))
    return TrainingPlan(
        recipe=recipe,
        lines=lines,
        steps=len(data),
        seconds_per_step=seconds,
        validation_seconds=scoring,
        peak_memory=_peak_memory(),
    )


def _seconds_per_step(step, data):
    """Return the median time of ten steps after the first, which compiles."""
    times = []
    for image, mask in data.repeat().take(TIMED_STEPS + 1):
        begun = time.perf_counter()
        step(image, mask)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def _validation_seconds(model, validation):
    if not isinstance(validation, WindowedValidation):
        return _seconds_per_step(model.test_on_batch, validation) * len(validation)
    validation.set_model(model)
    for _ in range(2):  # the first compiles
        begun = time.perf_counter()
        validation.validate(most=1)
        seconds = time.perf_counter() - begun
    return seconds * validation.count_windows() / validation.count_windows(most=1)


def _peak_memory():
    """Return the most bytes that this process has had in memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
