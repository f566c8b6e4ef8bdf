"""The first epochs of Dense V-Net on rare foreground, with and without the bias of its head at the log-odds.

    python benchmarks/initialization.py     about three minutes on two quiet cores

Synthetic scans of 32³ voxels, 1 % of them organ: 24 to train on, 8 to judge by. Half as wide a network is trained with
Adam under MCC, Dice and cross-entropy, once as it is and once with `foreground_fraction=0.01`, from the same weights
and in the same order. Prints the training loss and the Dice score of the 8 scans after each epoch, epoch 0 being
before the first step, as means over the seeds, with the range of the last Dice. It makes no claim, so it ends with
no ratio; tables so small tell how training begins, not which loss is better.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import time

import mcc_keras as mk  # before keras, so that it uses oneDNN on every processor
import keras
import numpy as np

from mcc_keras.datasets.phantom import random_volume
from mcc_keras.losses import get_loss
from mcc_keras.metrics import DiceScore
from mcc_keras.models import DenseVNet
from mcc_keras.preprocessing import Preprocessing

SIDE, SHARE, SEEDS, EPOCHS, BATCH = 32, 0.01, (0, 1, 2), 8, 2
TRAINING, JUDGED = 24, 8
LOSSES = ("mcc", "dice", "cross_entropy")


def volumes(seeds):
    """Images and masks of one scan a seed."""
    preprocessing = Preprocessing(size=SIDE)
    images, masks = [], []
    for seed in seeds:
        scan = random_volume(seed, size=(SIDE,) * 3, foreground_fraction=SHARE)
        grid = preprocessing.grid(scan.image, scan.affine)
        images.append(preprocessing.apply(scan.image, grid))
        masks.append(preprocessing.apply_mask(scan.mask, grid, num_labels=1))
    return np.stack(images), np.stack(masks)[..., None].astype("float32")


def first_epochs(loss, foreground_fraction, seed, training, judged):
    """Training loss and Dice score of each epoch, the untrained network first."""
    keras.utils.set_random_seed(seed)
    model = DenseVNet((SIDE, SIDE, SIDE, 1), 1, width=0.5, foreground_fraction=foreground_fraction)
    model.compile(keras.optimizers.Adam(1e-3), get_loss(loss), metrics=[DiceScore(name="dice")])
    before = model.evaluate(*training, batch_size=BATCH, verbose=0, return_dict=True)
    untrained = model.evaluate(*judged, batch_size=BATCH, verbose=0, return_dict=True)
    history = model.fit(*training, batch_size=BATCH, epochs=EPOCHS, validation_data=judged, verbose=0).history
    return [before["loss"], *history["loss"]], [untrained["dice"], *history["val_dice"]]


def row(label, values, note=""):
    print(f"{label:38}{''.join(f'{value:8.3f}' for value in values)}{note}", flush=True)


def main():
    print(mk.describe_environment().header(), end="\n\n")
    start = time.perf_counter()
    training, judged = volumes(range(TRAINING)), volumes(range(TRAINING, TRAINING + JUDGED))
    print(f"foreground: {100 * training[1].mean():.2f} % of the voxels; means over {len(SEEDS)} seeds\n")
    print(f"{'loss, start of the bias':38}{''.join(f'{epoch:8}' for epoch in range(EPOCHS + 1))}")
    for loss in LOSSES:
        for share in (None, SHARE):
            runs = np.array([first_epochs(loss, share, seed, training, judged) for seed in SEEDS])
            low, high = runs[:, 1, -1].min(), runs[:, 1, -1].max()
            label = f"{loss}, {'0' if share is None else f'log-odds of {share}'}"
            row(f"{label}: loss", runs[:, 0].mean(axis=0))
            row(f"{' ' * len(label)}  Dice", runs[:, 1].mean(axis=0), f"   {low:.2f}-{high:.2f}")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
