"""Cells of a comparison that train nothing: scores with a known effect of the arm, the fold, the seed and the patient.

Each call of `run` adds a line to FOLDER.log, so that a test can see what ran again. A file named DIVERGE, FAIL or STOP
beside it decides how the cell ends.
"""

import zlib
from pathlib import Path

import numpy as np

from mcc_keras.comparison.cells import DIVERGED, FAILED, FINISHED, STOPPED, CaseScore, CellResult
from mcc_keras.comparison.length import Pace
from mcc_keras.evaluation.measures import SCORES
from mcc_keras.records.manifest import read_manifest

EFFECTS = {"mcc": 0.0, "dice": 0.001, "cross_entropy": -0.3}
ENDS = {"DIVERGE": DIVERGED, "FAIL": FAILED, "STOP": STOPPED}
KINDS = {"training": ("fake_cells:run", "fake_cells:pace")}


def run(cell):
    folder = Path(cell.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.log", "a", encoding="utf-8") as file:
        file.write("run\n")
    identity = {"arm": cell.arm.name, "fold": cell.fold, "seed": cell.seed, "processor": "abacus"}
    for word, state in ENDS.items():
        if (folder.parent / f"{word}-{folder.name}").exists():
            return CellResult(**identity, state=state, problem=f"planted {word}")
    if not cell.scored:  # of a sweep: the best rate of mcc is the lowest, that of the others the highest
        value = -cell.recipe.learning_rate if cell.arm.name == "mcc" else cell.recipe.learning_rate
        return CellResult(**identity, state=FINISHED, steps=cell.recipe.steps, seconds=1.0, best_value=0.5 + value)
    cases = read_manifest(cell.work).cases("test")
    noise = _rng(cell.arm.name, cell.fold, cell.seed).normal(0, 0.01)
    rows = []
    for case in cases:
        dice = 0.6 + EFFECTS[cell.arm.name] + noise + _rng(case.group).normal(0, 0.02)
        scores = dict.fromkeys(SCORES) | {"dice": float(dice), "mcc": float(dice)}
        row = {"case": case.case_id, "group": case.group, "name": "organ", "counted_as": "scored", "scores": scores}
        rows.append(CaseScore(**row, true_ml=10.0, predicted_ml=11.0, dice_at_threshold=float(dice)))
    numbers = {"steps": cell.recipe.steps, "seconds": 60.0, "best_epoch": 2, "best_value": 0.7, "threshold": 0.4}
    numbers |= {"calibration": 0.1, "calibration_with_temperature": 0.05, "temperature": 1.5}
    curve = ((cell.recipe.steps // 2, 0.5), (cell.recipe.steps, 0.7))
    return CellResult(**identity, state=FINISHED, scores=tuple(rows), curve=curve, **numbers)


def pace(work, arm):
    return Pace(seconds_per_step=0.1 * arm.batch, validation_seconds=1.0, steps_per_epoch=10, peak_memory=2**20)


def _rng(*words):
    return np.random.default_rng([zlib.crc32(str(word).encode()) for word in words])
