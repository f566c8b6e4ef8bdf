"""Trainings that begin with the weights of another run, keep layers, or are only planned."""

import keras
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import RunError, UsageError
from mcc_keras.models import DenseVNet
from mcc_keras.runs.run import MODEL
from mcc_keras.training.starting import freeze_layers

THIN = {"depths": (1, 1, 1)}
SETTINGS = {"epochs": 1, "model_arguments": THIN, "augment": False, "verbose": 0}


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """Records with one foreground class, and with two."""
    folder, box = tmp_path_factory.mktemp("starting"), mk.Preprocessing(size=16)
    scans = {"num_cases": 6, "size": (16, 16, 16), "layout": "pairs", "foreground_fraction": 0.05, "num_labels": 2}
    source = write_synthetic(folder / "scans", **scans)
    for name, labels in {"one": {"foreground": (1, 2)}, "two": {"labels": (1, 2)}}.items():
        cases = find_cases(source, **labels)
        settings = {"preprocessing": box, "split": (0.6, 0.4, 0), "workers": 1, "accept_loss": True}
        mk.write_tfrecords(cases, folder / name, **settings)
    return folder


@pytest.fixture(scope="module")
def first(works, tmp_path_factory):
    return mk.train(works / "one", tmp_path_factory.mktemp("runs") / "first", **SETTINGS)


def test_weights_of_a_run_with_other_classes_are_taken_and_frozen_layers_keep_them(works, first, tmp_path):
    before = keras.models.load_model(first.folder / MODEL)
    patterns = [layer.name for layer in before.layers if layer.trainable_weights][:2]
    run = mk.train(works / "two", tmp_path / "run", **SETTINGS | {"init": first.folder, "freeze": patterns})
    after = keras.models.load_model(run.folder / MODEL)
    for name in patterns:
        for old, new in zip(before.get_layer(name).weights, after.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(old, new)
    assert after.output_shape[-1] == 3
    assert run.recipe.init == str(first.folder)


def test_a_plan_writes_nothing_and_estimates_the_whole(works, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(works.rglob("*"))
    plan = mk.plan_training(works / "one", epochs=40, model_arguments=THIN, augment=False)
    assert sorted(works.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []
    assert plan.seconds_per_step > 0 and plan.validation_seconds > 0 and plan.peak_memory > 100e6
    text = str(plan)
    assert "4 training and 2 validation cases, 16×16×16 voxels" in text
    assert "s per step, about" in text and "without validation" not in text
    assert "GiB" in text


def test_a_recipe_is_given_by_its_name_and_changed_by_keywords(works):
    plan = mk.plan_training(works / "one", recipe="fast", steps=4, model_arguments={"width": 0.125}, augment=False)
    assert plan.recipe == mk.Recipe(model="residual_unet", steps=4, model_arguments={"width": 0.125}, augment=False)
    assert "network   residual_unet, " in str(plan)


def test_runs_and_networks_that_do_not_fit_are_refused_before_anything_is_written(works, first, tmp_path):
    for init, problem in ((tmp_path, "expected a finished run"), (tmp_path / "none", "expected a finished run")):
        with pytest.raises(RunError, match=problem):
            mk.train(works / "one", tmp_path / "run", init=init, **SETTINGS)
    with pytest.raises(UsageError, match="must be the same kind of network"):
        other = SETTINGS | {"model": "vnet", "model_arguments": {"width": 0.125}}
        mk.train(works / "one", tmp_path / "run", init=first.folder, **other)
    assert not (tmp_path / "run").exists()


def test_a_pattern_that_freezes_nothing_or_all_is_refused():
    with pytest.raises(UsageError, match=r"must name layers with weights to train. Received: 'encoder\*'. Layers: "):
        freeze_layers(DenseVNet((16, 16, 16, 1), **THIN), ["encoder*"])
    with pytest.raises(UsageError, match="must leave weights to train"):
        freeze_layers(DenseVNet((16, 16, 16, 1), **THIN), ["*"])
