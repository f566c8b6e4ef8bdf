"""Plans and results of comparisons with planted scores, without files."""

from mcc_keras.comparison.arms import build_arms
from mcc_keras.comparison.cells import CaseScore, CellResult
from mcc_keras.comparison.length import Pace
from mcc_keras.comparison.plan import Design, Plan
from mcc_keras.evaluation.measures import SCORES

SPLITS = ({"train": (), "validation": (), "test": ()},) * 2


def design(losses=("mcc", "dice"), seeds=(0, 1), folds=2, **changes):
    settings = {"protocol": "folds", "split_seed": 0, "stratify": None, "steps": 10, "minutes_per_cell": None}
    arms = build_arms(losses=losses)
    shared = {"work": "w", "manifest_sha256": "0", "sweep": None, "measure": "dice", "reference": losses[0]}
    return Design(**{"arms": arms, "folds": folds, "seeds": seeds, **settings, **shared, **changes})


def row(case, dice, group=None, counted_as="scored", name="organ"):
    scores = dict.fromkeys(SCORES) | {"dice": dice}
    numbers = {"true_ml": 1.0, "predicted_ml": 1.0, "counted_as": counted_as}
    return CaseScore(case=case, group=group or case, name=name, scores=scores, **numbers)


def result(arm, fold, seed, *rows, state="finished", **numbers):
    numbers = (
        {"seconds": 60.0, "steps": 10, "curve": ((5, 0.4), (10, 0.8))} | numbers if state == "finished" else numbers
    )
    return (arm, fold, seed), CellResult(arm=arm, fold=fold, seed=seed, state=state, scores=rows, **numbers)


def plan(design):
    splits = ({"train": (), "validation": (), "test": ()},) * design.folds
    pace = Pace(seconds_per_step=0.1, validation_seconds=1.0, steps_per_epoch=5, peak_memory=0)
    names = [arm.name for arm in design.trained]
    settings = {"paces": dict.fromkeys(names, pace), "steps": dict.fromkeys(names, 10), "processor": "abacus"}
    return Plan(design=design, splits=splits, ratio=1 / 3, **settings)


def planted(design, effects, noise=0.0, patients=4):
    """Return results in which the Dice of a patient is 0.5, plus that of its fold and its arm, plus or minus noise."""
    return dict(
        result(
            arm.name,
            fold,
            seed,
            *(
                row(f"p{fold}{n}", 0.5 + 0.02 * n + 0.01 * fold + effects[arm.name][fold] + noise * (-1) ** seed)
                for n in range(patients)
            ),
        )
        for arm in design.trained
        for fold in range(design.folds)
        for seed in design.seeds
    )
