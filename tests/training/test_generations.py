"""Generations on a disk that fills up, or written over a damaged one."""

import errno
import os

import numpy as np
import pytest

from mcc_keras.training import generations
from mcc_keras.training.generations import TrainingState, latest_state, list_generations, write_generation

KNOWN = {"seconds": 0.0, "best_epoch": None, "best_value": None, "history": (), "speed": {}}


def state(step):
    return TrainingState(step=step, epoch=0, epoch_step=step, **KNOWN)


def test_a_full_disk_leaves_the_last_generation_whole(tmp_path, monkeypatch):
    write_generation(tmp_path, state(1), {"weight": np.arange(3)})

    def fill(path, **arrays):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(generations.np, "savez", fill)
    with pytest.raises(OSError, match="No space left"):
        write_generation(tmp_path, state(2), {"weight": np.arange(3) + 1})
    found, arrays, _ = latest_state(tmp_path)
    assert found.step == 1 and arrays["weight"].tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / generations.FOLDER).iterdir()] == ["000000-000001"]


def test_a_damaged_generation_is_written_again_and_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 3):
        write_generation(tmp_path, state(step), {"weight": np.full(3, step)})
    assert [path.name for path in list_generations(tmp_path)] == ["000000-000002", "000000-000003"]
    (list_generations(tmp_path)[-1] / "arrays.npz").write_bytes(b"damaged")
    write_generation(tmp_path, state(3), {"weight": np.full(3, 3)})
    assert latest_state(tmp_path)[1]["weight"].tolist() == [3, 3, 3]
