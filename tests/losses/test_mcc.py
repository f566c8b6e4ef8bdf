import subprocess
import sys

import keras
import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from mcc_keras.errors import UsageError
from mcc_keras.losses import MCCLoss


def test_the_published_example():
    y_true = np.array([[[1, 0], [1, 1]]], "float32")[..., None]
    y_pred = np.array([[[1, 0], [0, 1]]], "float32")[..., None]
    assert float(MCCLoss(smooth=0.0)(y_true, y_pred)) == pytest.approx(1 - 0.57735, abs=1e-5)


@pytest.mark.parametrize("foreground", [0.001, 0.1, 0.5, 0.99])
def test_hard_masks_give_the_number_of_scikit_learn(foreground):
    generator = np.random.default_rng(3)
    truth = generator.random(8000) < foreground
    prediction = np.where(generator.random(8000) < 0.2, ~truth, truth)
    loss = MCCLoss(smooth=0.0)(*(x.reshape(1, 20, 20, 20, 1).astype("float32") for x in (truth, prediction)))
    assert 1 - float(loss) == pytest.approx(matthews_corrcoef(truth, prediction), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_hard_labels_of_many_classes_give_the_number_of_scikit_learn(classes):
    generator = np.random.default_rng(4)
    truth, prediction = generator.integers(0, classes, (2, 1000))
    prediction = np.where(generator.random(1000) < 0.5, truth, prediction)
    y_pred = np.eye(classes, dtype="float32")[prediction].reshape(1, 10, 10, 10, classes)
    loss = MCCLoss(smooth=0.0)(truth.reshape(1, 10, 10, 10, 1), y_pred)
    assert 1 - float(loss) == pytest.approx(matthews_corrcoef(truth, prediction), abs=1e-6)


def test_labels_and_their_one_hot_form_are_the_same():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 4, (2, 6, 6, 6, 1))
    y_pred = generator.dirichlet(np.ones(4), (2, 6, 6, 6)).astype("float32")
    one_hot = np.eye(4, dtype="float32")[labels[..., 0]]
    for multiclass in ("rk", "per_class"):
        loss = MCCLoss(multiclass=multiclass, reduction=None)
        expected = loss(one_hot, y_pred)
        np.testing.assert_allclose(loss(labels, y_pred), expected, rtol=1e-6)
        np.testing.assert_allclose(loss(labels[..., 0], y_pred), expected, rtol=1e-6)


def test_two_channels_give_the_value_of_one_channel():
    generator = np.random.default_rng(6)
    y_true = (generator.random((2, 6, 6, 6, 1)) < 0.2).astype("float32")
    p = generator.random((2, 6, 6, 6, 1)).astype("float32")
    one = MCCLoss(reduction=None)(y_true, p)
    for multiclass in ("rk", "per_class"):
        two = MCCLoss(multiclass=multiclass, reduction=None)(y_true.astype(int), np.concatenate([1 - p, p], -1))
        np.testing.assert_allclose(two, one, rtol=2e-6)


def test_pooling_makes_one_sample_of_the_batch():
    generator = np.random.default_rng(7)
    y_true = (generator.random((3, 4, 4, 4, 1)) < 0.2).astype("float32")
    p = generator.random((3, 4, 4, 4, 1)).astype("float32")
    one = MCCLoss()(y_true.reshape(1, 12, 4, 4, 1), p.reshape(1, 12, 4, 4, 1))
    np.testing.assert_allclose(MCCLoss(pool="batch", reduction=None)(y_true, p), [float(one)] * 3, rtol=1e-6)


def test_an_empty_mask_has_loss_zero_only_if_nothing_is_predicted():
    empty = np.zeros((1, 8, 8, 8, 1), "float32")
    assert float(MCCLoss()(empty, empty)) == pytest.approx(0, abs=1e-6)
    assert float(MCCLoss()(empty, empty + 0.5)) > 0.5


def test_a_weight_of_zero_is_a_voxel_cut_away():
    generator = np.random.default_rng(8)
    y_true = (generator.random((2, 6, 6, 6, 1)) < 0.4).astype("float32")
    p = generator.random((2, 6, 6, 6, 1)).astype("float32")
    weight = np.ones_like(p)
    weight[:, 4:] = 0
    expected = MCCLoss(reduction=None)(y_true[:, :4], p[:, :4])
    np.testing.assert_allclose(MCCLoss(reduction=None)(y_true, p, sample_weight=weight), expected, rtol=1e-5)
    ignored = np.where(weight > 0, y_true, 255)
    np.testing.assert_allclose(MCCLoss(reduction=None, ignore_class=255)(ignored, p), expected, rtol=1e-5)


def test_a_weight_for_each_sample_multiplies_its_value():
    generator = np.random.default_rng(9)
    y_true = (generator.random((2, 6, 6, 6, 1)) < 0.4).astype("float32")
    p = generator.random((2, 6, 6, 6, 1)).astype("float32")
    values = np.array(MCCLoss(reduction=None)(y_true, p))
    for shape in [(2,), (2, 1), (2, 1, 1, 1, 1)]:
        weighted = MCCLoss()(y_true, p, sample_weight=np.array([1.0, 3.0]).reshape(shape))
        assert float(weighted) == pytest.approx((values[0] + 3 * values[1]) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"smooth": -1.0}, "smooth=-1.0"),
        ({"multiclass": "mean"}, "multiclass='mean'"),
        ({"pool": "all"}, "pool='all'"),
        ({"class_weights": [1, 2]}, "multiclass='per_class'"),
        ({"class_weights": [1, -2], "multiclass": "per_class"}, "-2"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, text):
    with pytest.raises(UsageError, match=text):
        MCCLoss(**arguments)


def test_a_mask_without_its_channel_axis_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 4\).*\(2, 4, 4, 4, 1\).*channel axis"):
        MCCLoss()(np.zeros((2, 4, 4, 4)), np.zeros((2, 4, 4, 4, 1)))


def test_labels_beyond_the_channels_are_an_error():
    with pytest.raises(UsageError, match=r"labels from 0 to 3"):
        MCCLoss()(np.array([[0, 1, 3]]), np.full((1, 3, 3), 1 / 3, "float32"))


def test_nan_in_the_prediction_is_nan_in_the_loss():
    p = np.full((2, 4, 4, 4, 1), 0.5, "float32")
    p[1, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(MCCLoss(reduction=None)(np.ones_like(p), p)), [False, True])


def test_it_trains_any_keras_model_and_is_reloaded_in_a_process_that_only_imports_the_package(tmp_path):
    model = keras.Sequential([keras.layers.Input((4, 4, 4, 1)), keras.layers.Conv3D(1, 3, padding="same")])
    model.compile("adam", loss=MCCLoss(smooth=2.0, from_logits=True))
    x = np.random.default_rng(0).random((2, 4, 4, 4, 1)).astype("float32")
    y = (x > 0.5).astype("float32")
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "batch.npz", x=x, y=y)
    code = (
        "import keras, mcc_keras, numpy, sys; batch = numpy.load(sys.argv[2]);"
        "model = keras.models.load_model(sys.argv[1]);"
        "print(model.loss.smooth, model.evaluate(batch['x'], batch['y'], verbose=0));"
        "model.fit(batch['x'], batch['y'], verbose=0)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras"), str(tmp_path / "batch.npz")]
    smooth, value = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert float(smooth) == 2.0
    assert float(value) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)
