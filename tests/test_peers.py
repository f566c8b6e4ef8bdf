"""Our numbers beside MONAI's and surface-distance's, where the definitions meet.

The peers need torch, so they run in a process of their own: in this environment if it has them, or in the one whose
interpreter MCC_KERAS_PEERS_PYTHON names. Where definitions do not meet: MONAI's losses on several classes count the
background unless told not to and take the mean where ours weigh; its generalised Dice weighs per sample and caps the
weights of absent classes otherwise; its metrics answer NaN where ours have `empty`.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from mcc_keras import metrics
from mcc_keras.losses import BRATS_DISTANCES, get_loss
from mcc_keras.metrics import surface

PYTHON = os.environ.get("MCC_KERAS_PEERS_PYTHON", sys.executable)
PEERS = """
import json, sys
import numpy as np, torch
from monai import losses, metrics
import surface_distance
given = np.load(sys.argv[1])
first = {key: torch.from_numpy(np.moveaxis(given[key], -1, 1).copy()) for key in ("y1", "p1", "y5", "p5", "l1", "l5")}
exact = {"smooth_nr": 0.0, "smooth_dr": 0.0, "reduction": "none"}
five = {"include_background": False}
flat = lambda x: x.reshape(len(x), -1).mean(1).tolist()
distances = torch.from_numpy(given["matrix"])
labels = first["y5"].argmax(1, keepdim=True)
found = {
    "mcc": flat(losses.MCCLoss(**exact)(first["p1"], first["y1"])),
    "mcc_per_class": flat(losses.MCCLoss(**exact, **five)(first["p5"], first["y5"])),
    "dice": flat(losses.DiceLoss(**exact)(first["p1"], first["y1"])),
    "dice_5": flat(losses.DiceLoss(**exact, **five)(first["p5"], first["y5"])),
    "dice_squared": flat(losses.DiceLoss(**exact, squared_pred=True)(first["p1"], first["y1"])),
    "tversky": flat(losses.TverskyLoss(**exact, alpha=0.3, beta=0.7)(first["p1"], first["y1"])),
    "generalized_dice": flat(losses.GeneralizedDiceLoss(**exact, **five)(first["p5"], first["y5"])),
    "focal": flat(losses.FocalLoss(reduction="none")(first["l1"], first["y1"])),
    "focal_5": flat(5 * losses.FocalLoss(reduction="none", use_softmax=True)(first["l5"], first["y5"])),
    "cross_entropy": flat(torch.nn.functional.cross_entropy(first["l5"], labels[:, 0], reduction="none")),
}
for mode in ("default", "GDL"):
    loss = losses.GeneralizedWassersteinDiceLoss(distances, weighting_mode=mode, **exact)
    found["gwd_" + mode.lower()] = loss(first["l5"], labels).tolist()
a, b = (torch.from_numpy(given[key])[None, None].float() for key in ("truth", "prediction"))
spacing = given["spacing"].tolist()
for name, percentile in (("hausdorff", None), ("hausdorff95", 95)):
    found[name] = float(metrics.compute_hausdorff_distance(b, a, percentile=percentile, spacing=spacing))
found["average"] = float(metrics.compute_average_surface_distance(b, a, symmetric=True, spacing=spacing))
found["surface_dice"] = float(metrics.compute_surface_dice(b, a, [1.5], spacing=spacing))
for key in ("blobs", "balls", "plane"):
    one, other = given[key]
    between = given["spacing"].tolist()[: one.ndim]
    distances = surface_distance.compute_surface_distances(one, other, between)
    average = surface_distance.compute_average_surface_distance(distances)
    found[key] = [
        *map(float, average),
        *(float(surface_distance.compute_robust_hausdorff(distances, percent)) for percent in (50, 95, 100)),
        float(surface_distance.compute_surface_dice_at_tolerance(distances, 1.0)),
        float(distances["surfel_areas_gt"].sum()),
        float(distances["surfel_areas_pred"].sum()),
    ]
hard = torch.nn.functional.one_hot(first["p5"].argmax(1), 5).movedim(-1, 1)
cells = metrics.get_confusion_matrix(hard, first["y5"], include_background=False)
names = {"Sensitivity": "sensitivity", "Precision": "precision", "MatthewsCorrelationCoefficient": "mcc"}
names |= {"DiceScore": "f1 score", "JaccardScore": "threat score"}
for ours, name in names.items():
    found[ours] = metrics.compute_confusion_matrix_metric(name, cells).tolist()
found["DiceScore again"] = metrics.compute_dice(hard, first["y5"], include_background=False).tolist()
found["JaccardScore again"] = metrics.compute_iou(hard, first["y5"], include_background=False).tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def given():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, (3, 6, 5, 4))
    logits = generator.normal(size=(3, 6, 5, 4, 5)).astype("float32")
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    y1 = (generator.random((3, 6, 5, 4, 1)) < 0.3).astype("float32")
    x, y, z = np.indices((24, 24, 24))
    balls = [(x - c) ** 2 + (y - c) ** 2 + (z - 11) ** 2 < 60 for c in (12, 10)]
    blobs = ndimage.gaussian_filter(generator.normal(size=(2, 20, 18, 16)), (0, 1.5, 1.5, 1.5)) > 0.05
    return {
        "y1": y1,
        "p1": 1 / (1 + np.exp(-logits[..., :1])),
        "l1": logits[..., :1],
        "y5": np.eye(5, dtype="float32")[labels],
        "p5": softmax,
        "l5": logits,
        "matrix": np.array(BRATS_DISTANCES),
        "balls": np.array(balls),
        "blobs": blobs,
        "plane": blobs[:, 4],
        "truth": balls[0],
        "prediction": balls[1],
        "spacing": np.array([0.5, 1.0, 2.0]),
    }


@pytest.fixture(scope="module")
def theirs(given, tmp_path_factory):
    path = tmp_path_factory.mktemp("peers") / "given.npz"
    np.savez(path, **given)
    done = subprocess.run([PYTHON, "-c", PEERS, path], capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"no MONAI in {PYTHON}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has it")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


EXACT = {"smooth": 0.0}
LOSSES = {
    "mcc": ("mcc", EXACT, "y1", "p1"),
    "mcc_per_class": ("mcc", {"multiclass": "per_class", **EXACT}, "y5", "p5"),
    "dice": ("dice", EXACT, "y1", "p1"),
    "dice_5": ("dice", EXACT, "y5", "p5"),
    "dice_squared": ("dice_squared", EXACT, "y1", "p1"),
    "tversky": ("tversky", EXACT, "y1", "p1"),
    "generalized_dice": ("generalized_dice", EXACT, "y5", "p5"),
    "focal": ("focal", {"from_logits": True}, "y1", "l1"),
    "cross_entropy": ("cross_entropy", {"from_logits": True}, "y5", "l5"),
    "gwd_default": ("gwd", {"distance_matrix": BRATS_DISTANCES, **EXACT}, "y5", "p5"),
    "gwd_gdl": ("gwd", {"distance_matrix": BRATS_DISTANCES, "weighting": "gdl", **EXACT}, "y5", "p5"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_those_of_monai(name, given, theirs):
    ours, arguments, y_true, y_pred = LOSSES[name]
    values = get_loss(ours, reduction=None, **arguments)(given[y_true], given[y_pred])
    np.testing.assert_allclose(values, theirs[name], atol=2e-6)


def test_distances_equal_those_of_monai(given, theirs):
    masks = given["truth"], given["prediction"], given["spacing"]
    assert surface.hausdorff_distance_mm(*masks) == pytest.approx(theirs["hausdorff"], abs=1e-6)
    assert surface.hausdorff_distance_mm(*masks, percentile=95) == pytest.approx(theirs["hausdorff95"], abs=1e-6)
    assert surface.average_surface_distance_mm(*masks) == pytest.approx(theirs["average"], abs=1e-6)
    assert surface.surface_dice(*masks, tolerance_mm=1.5) == pytest.approx(theirs["surface_dice"], abs=1e-6)


@pytest.mark.parametrize("key", ["blobs", "balls", "plane"])
def test_distances_by_area_equal_those_of_surface_distance(key, given, theirs):
    truth, prediction = given[key]
    found = surface.surface_distances(truth, prediction, given["spacing"][: truth.ndim], weighting="area")
    ways = (found.to_prediction_mm, found.truth_sizes), (found.to_truth_mm, found.prediction_sizes)
    near = sum(size[distance <= 1.0].sum() for distance, size in ways)
    ours = [
        *(np.average(distance, weights=size) for distance, size in ways),
        *(surface.hausdorff_of(found, percentile=percent) for percent in (50, 95, 100)),
        near / sum(size.sum() for _, size in ways),
        *(size.sum() for _, size in ways),
    ]
    np.testing.assert_allclose(ours, theirs[key], rtol=1e-6)
    dice = surface.surface_dice(truth, prediction, given["spacing"][: truth.ndim], tolerance_mm=1.0, weighting="area")
    assert dice == pytest.approx(theirs[key][5], rel=1e-6)


OVERLAPS = ["DiceScore", "JaccardScore", "Sensitivity", "Precision", "MatthewsCorrelationCoefficient"]


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlap_metrics_equal_those_of_monai(name, given, theirs):
    arguments = {"multiclass": "per_class"} if name.startswith("Matthews") else {}
    for index, sample in enumerate(theirs[name]):
        metric = getattr(metrics, name)(per_class=True, **arguments)
        metric.update_state(given["y5"][index : index + 1], given["p5"][index : index + 1])
        np.testing.assert_allclose(metric.result(), sample, atol=1e-6)
        if name + " again" in theirs:
            np.testing.assert_allclose(metric.result(), theirs[name + " again"][index], atol=1e-6)
