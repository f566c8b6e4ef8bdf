"""Every streaming metric, through every promise. A new metric is one line below.

Runs on the backend that KERAS_BACKEND names; tests/test_backends.py runs it on the others.
"""

import inspect

import keras
import numpy as np
import pytest
from keras import ops
from sklearn import metrics as sklearn_metrics

from mcc_keras import metrics
from mcc_keras.errors import UsageError
from mcc_keras.metrics import EMPTY

BACKEND = keras.backend.backend()
SIZE = (6, 5, 4)


def volume_share(truth, prediction):
    true, predicted = np.sum(truth), np.sum(prediction)
    return 1 - abs(true - predicted) / (true + predicted)


EXPECTED = {
    "DiceScore": sklearn_metrics.f1_score,
    "JaccardScore": sklearn_metrics.jaccard_score,
    "Sensitivity": sklearn_metrics.recall_score,
    "Precision": sklearn_metrics.precision_score,
    "VolumetricSimilarity": volume_share,
    "MatthewsCorrelationCoefficient": sklearn_metrics.matthews_corrcoef,
}
every_metric = pytest.mark.parametrize("name", EXPECTED)
every_pool = pytest.mark.parametrize("pool", ["sample", "all"])


def build(name, /, **kwargs):
    return getattr(metrics, name)(**kwargs)


def masks(*, seed=0):
    generator = np.random.default_rng(seed)
    truth = (generator.random((4, *SIZE, 1)) < 0.4).astype("float32")
    return truth, np.where(generator.random(truth.shape) < 0.25, 1 - truth, truth) * 0.8 + 0.1


def labels_and_scores(*, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, (4, *SIZE, 1)).astype("int32")
    return labels, (np.eye(4)[labels[..., 0]] + 1.5 * generator.random((4, *SIZE, 4))).astype("float32")


def result(metric, *batches):
    for batch in batches:
        metric.update_state(*batch)
    return np.array(ops.convert_to_numpy(metric.result()))


@every_metric
def test_it_agrees_with_scikit_learn_pooled_and_volume_by_volume(name):
    truth, p = masks()
    expected = EXPECTED[name](truth.ravel().astype(int), (p > 0.5).ravel().astype(int))
    assert result(build(name, pool="all"), (truth, p)) == pytest.approx(expected, abs=1e-6)
    each = [EXPECTED[name](t.ravel().astype(int), (q > 0.5).ravel().astype(int)) for t, q in zip(truth, p, strict=True)]
    assert result(build(name, pool="sample"), (truth, p)) == pytest.approx(np.mean(each), abs=1e-6)


@every_metric
def test_each_class_is_one_against_the_rest(name):
    labels, scores = labels_and_scores()
    arguments = {"multiclass": "per_class"} if name.startswith("Matthews") else {}
    found = result(build(name, pool="all", per_class=True, include_background=True, **arguments), (labels, scores))
    predicted = scores.argmax(-1).ravel()
    each = [EXPECTED[name]((labels.ravel() == k).astype(int), (predicted == k).astype(int)) for k in range(4)]
    np.testing.assert_allclose(found, each, atol=1e-6)
    mean = result(build(name, pool="all", **arguments), (labels, scores))
    assert mean == pytest.approx(np.mean(each[1:]), abs=1e-6)


@every_metric
@every_pool
def test_batches_add_up_and_reset_forgets(name, pool):
    truth, p = masks()
    metric = build(name, pool=pool)
    whole = result(metric, (truth, p))
    metric.reset_state()
    assert result(metric, (truth[:1], p[:1]), (truth[1:], p[1:])) == pytest.approx(whole, abs=1e-6)


@every_metric
@every_pool
def test_labels_one_hot_and_half_precision_are_the_same(name, pool):
    labels, scores = labels_and_scores()
    expected = result(build(name, pool=pool), (labels, scores))
    one_hot = np.eye(4, dtype="float32")[labels[..., 0]]
    for truth in (labels[..., 0], labels.astype("uint8"), one_hot):
        assert result(build(name, pool=pool), (truth, scores)) == expected
    truth, p = masks()
    assert result(build(name, pool=pool), (truth, p.astype("float16"))) == result(build(name, pool=pool), (truth, p))


@every_metric
@every_pool
def test_an_ignored_voxel_is_as_if_cut_out(name, pool):
    truth, p = masks()
    weight = np.ones((4, *SIZE), "float32")
    weight[:, 3:] = 0
    expected = result(build(name, pool=pool), (truth[:, :3], p[:, :3]))
    assert result(build(name, pool=pool), (truth, p, weight)) == pytest.approx(expected, abs=1e-6)
    assert result(build(name, pool=pool), (truth, p, weight[..., None])) == pytest.approx(expected, abs=1e-6)
    ignored = np.where(weight[..., None] > 0, truth, 255)
    assert result(build(name, pool=pool, ignore_class=255), (ignored, p)) == pytest.approx(expected, abs=1e-6)


@every_metric
def test_empty_masks_have_the_values_of_the_table(name):
    full, none = np.ones((1, *SIZE, 1), "float32"), np.zeros((1, *SIZE, 1), "float32")
    full[0, 0] = 0
    answers = EMPTY[name]
    pairs = {"truth": (none, full), "prediction": (full, none), "both": (none, none)}
    for which, pair in pairs.items():
        answer = getattr(answers, which)
        excluding = build(name, pool="sample", empty="exclude")
        value = result(excluding, pair)
        assert (np.isnan(value) and excluding.excluded.tolist() == [1]) if answer is None else value == answer
        default = result(build(name, pool="sample"), pair)
        answer = answers.empty if answer is None else answer
        assert np.isnan(default) if answer == "exclude" else default == answer


def update_compiled(metric, *arrays, xla=False):
    """Update a metric from within a compiled graph."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.function(metric.update_state, jit_compile=xla)(*map(tf.constant, arrays))
        return
    import jax

    updated = jax.jit(metric.stateless_update_state)([variable.value for variable in metric.variables], *arrays)
    for variable, value in zip(metric.variables, updated, strict=True):
        variable.assign(value)


@every_metric
@every_pool
@pytest.mark.skipif(BACKEND == "torch", reason="Keras compiles no graph on torch")
def test_it_counts_the_same_in_a_compiled_graph(name, pool):
    truth, p = masks()
    expected = result(build(name, pool=pool), (truth, p))
    for xla in (False, True) if BACKEND == "tensorflow" else (True,):
        metric = build(name, pool=pool)
        metric.update_state(truth, p)
        metric.reset_state()
        update_compiled(metric, truth, p, xla=xla)
        assert result(metric) == expected


@pytest.fixture(scope="module", params=["float32", "mixed_float16", "mixed_bfloat16"])
def evaluated(request):
    """Return image, truth, what `evaluate` found by metric and pool, and what the same network predicts."""
    keras.config.set_dtype_policy(request.param)
    try:
        keras.utils.set_random_seed(0)
        head = keras.layers.Conv3D(1, 1, activation="sigmoid")  # in half precision, as nobody should
        model = keras.Sequential([keras.Input((*SIZE, 1)), keras.layers.Conv3D(2, 1), head])
    finally:
        keras.config.set_dtype_policy("float32")
    pairs = [(name, pool) for name in EXPECTED for pool in ("sample", "all")]
    built = [build(name, pool=pool, name=f"{name}_{pool}") for name, pool in pairs]
    model.compile(loss="mse", metrics=built)
    image = np.random.default_rng(0).normal(size=(4, *SIZE, 1)).astype("float32")
    truth = masks()[0]
    return (
        truth,
        model.evaluate(image, truth, batch_size=2, verbose=0, return_dict=True),
        model.predict(image, verbose=0),
    )


@every_metric
@every_pool
def test_evaluate_counts_what_is_predicted_in_full_and_in_half_precision(name, pool, evaluated):
    truth, found, predicted = evaluated
    foreground = np.asarray(predicted, "float32") >= 0.5
    assert 0 < foreground.mean() < 1
    volumes = [(truth, foreground)] if pool == "all" else zip(truth, foreground, strict=True)
    each = [EXPECTED[name](t.ravel().astype(int), f.ravel().astype(int)) for t, f in volumes]
    assert found[f"{name}_{pool}"] == pytest.approx(np.mean(each), abs=1e-6)


@every_metric
def test_it_comes_back_from_its_config(name):
    metric = build(name, pool="sample", threshold=0.3, empty=0.5, ignore_class=7, per_class=True, name="mine")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.get_config() == metric.get_config()


@every_metric
def test_the_signature_lists_every_argument(name):
    arguments = {
        "pool",
        "threshold",
        "from_logits",
        "include_background",
        "per_class",
        "empty",
        "ignore_class",
        "dtype",
    }
    assert arguments <= set(inspect.signature(getattr(metrics, name)).parameters)


@every_metric
def test_shapes_that_do_not_fit_are_refused_with_both(name):
    with pytest.raises(UsageError, match=r"\(2, 4, 4, 4\).*\(2, 4, 4, 4, 1\)"):
        build(name).update_state(np.zeros((2, 4, 4, 4)), np.zeros((2, 4, 4, 4, 1)))


@every_metric
def test_labels_beyond_the_channels_are_an_error_or_nan_in_a_compiled_graph(name):
    labels, scores = labels_and_scores()
    labels[0, 0, 0, 0] = 4
    with pytest.raises(UsageError, match="labels from 0 to 4"):
        build(name).update_state(labels, scores)
    if BACKEND != "torch":
        metric = build(name)
        metric.update_state(labels[1:], scores[1:])
        update_compiled(metric, labels, scores)
        assert np.isnan(result(metric))


@every_metric
def test_a_weight_between_0_and_1_is_an_error_or_nan_in_a_compiled_graph(name):
    truth, p = masks()
    weight = np.ones((4, *SIZE), "float32")
    weight[0, 0, 0, 0] = 0.5
    with pytest.raises(UsageError, match=r"must be 0 or 1.*from 0.5 to 1.*`metrics`"):
        build(name).update_state(truth, p, weight)
    if BACKEND != "torch":
        metric = build(name)
        metric.update_state(truth, p)
        update_compiled(metric, truth, p, weight)
        assert np.isnan(result(metric))


@every_metric
def test_a_callback_in_auto_mode_looks_for_the_largest(name):
    metric = build(name)
    model = keras.Sequential([keras.Input((4, 1)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(loss="mse", metrics=[metric])
    model.evaluate(np.ones((1, 4, 1)), np.ones((1, 4, 1)), verbose=0)
    callback = keras.callbacks.EarlyStopping(f"val_{metric.name}")
    callback.set_model(model)
    callback._set_monitor_op()
    assert callback.monitor_op == ops.greater


@every_metric
@every_pool
def test_a_prediction_of_nan_is_a_score_of_nan(name, pool):
    truth, p = masks()
    p[1, 2, 2, 2] = np.nan
    for target in (truth, np.zeros_like(truth)):
        assert np.isnan(result(build(name, pool=pool), (target, p)))
    if BACKEND != "torch":
        metric = build(name, pool=pool)
        metric.update_state(truth[:1], p[:1])
        update_compiled(metric, truth, p)
        assert np.isnan(result(metric))


@every_metric
@pytest.mark.parametrize("from_logits", [False, True])
def test_a_probability_of_the_threshold_is_foreground_as_in_the_masks_that_are_written(name, from_logits):
    truth = masks()[0]
    at_the_threshold, below = (
        np.where(truth == 1, value, -5 if from_logits else 0.1)
        for value in ((0, -1e-3) if from_logits else (0.5, 0.4999))
    )
    perfect = result(build(name, from_logits=from_logits), (truth, at_the_threshold.astype("float32")))
    assert perfect == pytest.approx(1, abs=1e-6)
    assert not result(build(name, from_logits=from_logits), (truth, below.astype("float32"))) > 0


def test_keras_own_auc_works_on_volumes():
    truth, p = masks()
    metric = keras.metrics.AUC(num_thresholds=1000)
    metric.update_state(truth, p)
    assert float(metric.result()) == pytest.approx(sklearn_metrics.roc_auc_score(truth.ravel(), p.ravel()), abs=1e-3)
