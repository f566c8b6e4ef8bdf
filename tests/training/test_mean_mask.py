"""The Dice of the mean training mask, against a plain computation and the metric that trainings show."""

import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.metrics import DiceScore
from mcc_keras.pipeline.arrays import read_arrays
from mcc_keras.records.manifest import read_manifest
from mcc_keras.training import mean_mask
from mcc_keras.training.mean_mask import SHARES, mean_dice, score_mean_mask


@pytest.fixture(scope="module", params=["one", "several"])
def manifest(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    labels = {"foreground": (1,)} if request.param == "one" else {"labels": (1, 2)}
    several = {"num_labels": 2} if request.param == "several" else {}
    source = write_synthetic(folder / "scans", num_cases=12, size=(12, 12, 8), layout="pairs", **several)
    box = mk.Preprocessing(size=(12, 12, 8))
    return mk.write_tfrecords(
        find_cases(source, **labels), folder / "work", preprocessing=box, split=(0.6, 0.4, 0), workers=1
    )


def test_the_dice_is_that_of_the_metric_for_the_best_of_nine_thresholds(manifest):
    classes = len(manifest.task.labels)
    train = np.stack([record.mask for record in read_arrays(manifest, "train", images=False)])
    shares = np.stack([(train == number + 1).mean(axis=0) for number in range(classes)])
    frequent = shares.argmax(axis=0) + 1

    def score(part, share):
        metric = DiceScore(empty="exclude", only_present=True)
        predicted = np.where(shares.max(axis=0) >= share - 1e-9, frequent, 0)
        predicted = predicted[..., None] if classes == 1 else np.eye(classes + 1)[predicted]
        for record in read_arrays(manifest, part):
            metric.update_state(record.mask[None, ..., None], predicted[None].astype(np.float32))
        return float(metric.result())

    best = SHARES[np.argmax([score("train", share) for share in SHARES])]
    found = score_mean_mask(manifest)
    assert found.share == best
    assert found.dice == pytest.approx(score("validation", best), abs=1e-6)
    assert 0 < found.dice < 1


def test_without_any_organ_there_is_no_such_dice():
    empty = np.zeros((2, 2, 2), int)
    assert np.isnan(mean_dice([empty], empty + 1, empty, classes=1)).all()


def test_volumes_without_the_organ_do_not_count():
    mask, level = np.array([0, 1, 1]), np.array([0, 9, 9])
    scores = mean_dice([mask, np.zeros(3, int)], np.ones(3, int), level, classes=1)
    assert scores.tolist() == [1.0] * 9


def test_counts_that_take_too_much_memory_are_not_made(manifest, monkeypatch):
    monkeypatch.setattr(mean_mask, "MOST_BYTES", 100)
    assert score_mean_mask(read_manifest(manifest.work)) is None
