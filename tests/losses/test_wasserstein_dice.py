import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.losses import BRATS_DISTANCES, DiceLoss, GeneralizedWassersteinDiceLoss


def wasserstein(labels, p, matrix, *, weighting="default", smooth=0.0):
    """The definition, voxel by voxel, in float64."""
    matrix = np.array(matrix, "float64")
    distance = (matrix[labels] * p).sum(-1)
    if weighting == "gdl":
        alpha = 1 / (np.bincount(labels, minlength=len(matrix)) + 1)
        true, below = (alpha[labels] * (1 - distance)).sum(), (alpha[labels] * (2 - distance)).sum()
        return 1 - (2 * true + smooth) / (below + smooth)
    true = (matrix[0][labels] * (1 - distance)).sum()
    return 1 - (2 * true + smooth) / (2 * true + distance.sum() + smooth)


@pytest.mark.parametrize("weighting", ["default", "gdl"])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_the_definition_with_the_distances_of_brats(weighting, smooth):
    generator = np.random.default_rng(0)
    labels, p = generator.integers(0, 5, 64), generator.dirichlet(np.ones(5), 64)
    loss = GeneralizedWassersteinDiceLoss(distance_matrix=BRATS_DISTANCES, weighting=weighting, smooth=smooth)
    expected = wasserstein(labels, p, BRATS_DISTANCES, weighting=weighting, smooth=smooth)
    value = loss(labels.reshape(1, 4, 4, 4), p.reshape(1, 4, 4, 4, 5).astype("float32"))
    assert float(value) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_with_two_classes_it_is_plain_dice(channels):
    generator = np.random.default_rng(1)
    y_true = (generator.random((3, 5, 5, 5, 1)) < 0.3).astype("float32")
    p = generator.random((3, 5, 5, 5, 1)).astype("float32")
    dice = DiceLoss(reduction=None)(y_true, p)
    prediction = p if channels == 1 else np.concatenate([1 - p, p], -1)
    np.testing.assert_allclose(GeneralizedWassersteinDiceLoss(reduction=None)(y_true, prediction), dice, atol=1e-6)


@pytest.mark.parametrize("matrix", [[[0, 1]], [[0, 1], [2, 0]], [[1, 1], [1, 0]], [[0, -1], [-1, 0]], [[0, 0], [0, 0]]])
def test_a_matrix_that_measures_no_distance_is_refused(matrix):
    with pytest.raises(UsageError, match="symmetric, 0 on the diagonal"):
        GeneralizedWassersteinDiceLoss(distance_matrix=matrix)


def test_a_matrix_of_another_number_of_classes_is_refused():
    with pytest.raises(UsageError, match=r"\(3, 3\).*5 rows"):
        GeneralizedWassersteinDiceLoss(distance_matrix=BRATS_DISTANCES)(np.zeros((1, 4, 1)), np.ones((1, 4, 3)) / 3)
