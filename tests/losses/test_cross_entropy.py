import numpy as np
import pytest
from sklearn.metrics import log_loss

from mcc_keras.losses import CrossEntropyLoss


def volumes(classes, *, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, max(classes, 2), (1, 4, 4, 4, 1))
    if classes == 1:
        return labels, generator.uniform(0.05, 0.95, (1, 4, 4, 4, 1))
    return labels, generator.dirichlet(np.ones(classes), (1, 4, 4, 4)).clip(0.01).astype("float32")


@pytest.mark.parametrize("classes", [1, 4])
def test_it_is_the_log_loss_of_scikit_learn(classes):
    labels, p = volumes(classes)
    p = p if classes == 1 else p / p.sum(-1, keepdims=True)
    flat = p.ravel() if classes == 1 else p.reshape(-1, classes)
    expected = log_loss(labels.ravel(), flat, labels=range(max(classes, 2)))
    assert float(CrossEntropyLoss()(labels, p.astype("float32"))) == pytest.approx(expected, rel=1e-5)


def test_class_weights_multiply_the_voxels_of_their_class():
    labels, p = volumes(1)
    entropy = -np.where(labels == 1, 3 * np.log(p), 0.5 * np.log(1 - p))
    loss = CrossEntropyLoss(class_weights=[0.5, 3])
    assert float(loss(labels, p.astype("float32"))) == pytest.approx(entropy.mean(), rel=1e-5)


def test_labels_and_their_one_hot_form_are_the_same():
    labels, p = volumes(4)
    p = p / p.sum(-1, keepdims=True)
    loss = CrossEntropyLoss(class_weights=[1, 2, 3, 4])
    assert float(loss(labels, p)) == pytest.approx(float(loss(np.eye(4)[labels[..., 0]], p)), rel=1e-5)


def test_logits_far_out_stay_exact():
    y_true, logits = np.array([[[1.0], [0.0]]]), np.array([[[-40.0], [40.0]]], "float32")
    assert float(CrossEntropyLoss(from_logits=True)(y_true, logits)) == pytest.approx(40.0)


def test_logits_of_soft_targets_give_the_definition_also_where_it_is_small():
    generator = np.random.default_rng(1)
    y_true, logits = generator.random((1, 4, 4, 4, 1)), generator.uniform(-20, 20, (1, 4, 4, 4, 1))
    expected = np.mean(np.logaddexp(0, logits) - logits * y_true)
    loss = CrossEntropyLoss(from_logits=True)
    assert float(loss(y_true, logits.astype("float32"))) == pytest.approx(expected, rel=1e-6)
    certain = np.array([[[15.0], [-15.0]]], "float32")
    assert float(loss(np.array([[[1.0], [0.0]]]), certain)) == pytest.approx(np.log1p(np.exp(-15)), rel=1e-6)
