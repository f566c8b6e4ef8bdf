import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.losses import CrossEntropyLoss, FocalLoss


def volume(classes):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, max(classes, 2), (1, 4, 4, 4, 1))
    p = generator.uniform(0.05, 0.95, (1, 4, 4, 4, classes))
    return labels, p if classes == 1 else p / p.sum(-1, keepdims=True)


def of_the_label(labels, p):
    if p.shape[-1] == 1:
        return np.where(labels == 1, p, 1 - p)
    return np.take_along_axis(p, labels, axis=-1)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_it_is_the_published_formula(classes, gamma):
    labels, p = volume(classes)
    right = of_the_label(labels, p)
    weights = np.array([0.25, 0.75, 2.0])[: max(classes, 2)]
    expected = np.mean(weights[labels] * (1 - right) ** gamma * -np.log(right))
    loss = FocalLoss(gamma=gamma, class_weights=list(weights))
    assert float(loss(labels, p.astype("float32"))) == pytest.approx(expected, rel=1e-5)
    logits = np.log(p / (1 - p)) if classes == 1 else np.log(p)
    from_logits = FocalLoss(gamma=gamma, class_weights=list(weights), from_logits=True)
    assert float(from_logits(labels, logits.astype("float32"))) == pytest.approx(expected, rel=1e-5)


def test_with_an_exponent_of_zero_it_is_cross_entropy():
    labels, p = volume(3)
    p = p.astype("float32")
    assert float(FocalLoss(gamma=0)(labels, p)) == pytest.approx(float(CrossEntropyLoss()(labels, p)), rel=1e-6)


def test_a_negative_exponent_is_refused():
    with pytest.raises(UsageError, match="gamma=-1"):
        FocalLoss(gamma=-1)


@pytest.mark.parametrize("classes", [1, 3])
def test_of_a_soft_target_the_cross_entropy_decides_how_easy_a_voxel_is(classes):
    generator = np.random.default_rng(1)
    shares = generator.dirichlet(np.ones(max(classes, 2)), (1, 4, 4, 4))
    _, p = volume(classes)
    both = np.concatenate([1 - p, p], axis=-1) if classes == 1 else p
    entropy = -(shares * np.log(both)).sum(-1)
    y_true = shares[..., 1:] if classes == 1 else shares
    expected = np.mean((1 - np.exp(-entropy)) ** 2 * entropy)
    assert float(FocalLoss()(y_true.astype("float32"), p.astype("float32"))) == pytest.approx(expected, rel=1e-5)
