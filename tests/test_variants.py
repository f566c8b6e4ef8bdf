"""The parts of benchmarks/long/variants.py around its networks; the measurements themselves are run by hand."""

import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.segmentation.segmenter import Segmenter

PATH = Path(__file__).parents[1] / "benchmarks" / "long" / "variants.py"


@pytest.fixture(scope="module")
def bench():
    if not PATH.exists():
        pytest.skip("the package is installed without its source tree")
    spec = importlib.util.spec_from_file_location("variants", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["variants"] = module  # where dataclasses look for annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules["variants"]


@pytest.fixture(scope="module")
def segmenter():
    """One convolution, which is not symmetric, with a flip, on a coarser grid than the scan's."""
    inputs = keras.Input((8, 8, 8, 1))
    layer = keras.layers.Conv3D(1, 3, padding="same", activation="sigmoid", kernel_initializer="random_normal")
    model = keras.Model(inputs, layer(inputs))
    weights = [(variable, variable.value) for variable in model.variables]
    return Segmenter(model, mk.Preprocessing(size=8), flip_axes=(0,), weights=weights)


def test_masks_of_a_network_beside_the_graph_are_those_of_segment(bench, segmenter, tmp_path):
    rng = np.random.default_rng(0)
    volume = mk.Volume(rng.normal(size=(12, 9, 10, 1)).astype(np.float32), np.diag([-1.0, 1.5, 2.0, 1.0]))
    _, predict = bench.write_saved_model(bench.with_variables(segmenter), tmp_path / "float32")
    around = bench.Around(segmenter)
    found = around.mask(volume, predict(around.box(volume)))
    expected = segmenter.segment(volume.array, volume.affine.astype(np.float32))["mask"].numpy()
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(found, expected)


def test_dice_is_the_mean_over_the_classes(bench):
    truth, mask = np.array([0, 1, 1, 2, 2, 2]), np.array([0, 1, 2, 2, 2, 0])
    assert bench.dice(truth, mask, 4) == pytest.approx((2 / 3 + 4 / 6 + 1) / 3)


def test_what_is_not_installed_is_left_out_by_name(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    assert bench.openvino_variants("nowhere", Path("nowhere"), list) == []
    assert "openvino and nncf cannot be imported" in capsys.readouterr().out
