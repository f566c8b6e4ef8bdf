"""From the results of cells to arrays: a score of each patient in each cell, and the cells that can be compared."""

import dataclasses

import numpy as np

from mcc_keras.comparison.cells import DIVERGED, FINISHED
from mcc_keras.errors import UsageError
from mcc_keras.evaluation.measures import CORRECTLY_EMPTY, FALSE_ALARM, MISSED, SCORES

# A measure by which arms are judged: one that counts an organ which is missed altogether, instead of leaving it out.
PRIMARY = tuple(name for name, each in SCORES.items() if each.better == "high" and MISSED not in each.empty)
NOTHING_FOUND = 0.0  # the value of each of them where nothing is predicted
COLLAPSED = 0.05  # a cell whose mean Dice is below is said to have collapsed


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Scores of the primary measure.

    Args:
        arms: Names of the arms.
        patients: For each fold the names of its test patients.
        seeds: For each fold the seeds for which every arm has a result; a fold without any is in no comparison.
        scores: For each fold an array (arms, seeds, patients), NaN for a blank; (arms, 0, patients) without seeds.
    """

    arms: tuple[str, ...]
    patients: tuple[tuple[str, ...], ...]
    seeds: tuple[tuple[int, ...], ...]
    scores: tuple[np.ndarray, ...]

    @property
    def folds(self):
        """Numbers of the folds that are compared."""
        return tuple(fold for fold, seeds in enumerate(self.seeds) if seeds)

    @property
    def cells(self):
        """Array (arms, folds): the mean of each fold over patients and seeds, of those that are compared."""
        found = [mean_of(self.scores[fold]) for fold in self.folds]
        return np.array(found).T if found else np.empty((len(self.arms), 0))

    def of_patients(self, arm):
        """Return the score of each patient by an arm, the mean over seeds."""
        index = self.arms.index(arm)
        return np.concatenate([_mean(self.scores[fold][index], axis=0) for fold in self.folds] or [np.empty(0)])

    def differences(self, rival, reference):
        """Return for each fold the array (seeds, patients) of differences, rival − reference."""
        rival, reference = self.arms.index(rival), self.arms.index(reference)
        return [self.scores[fold][rival] - self.scores[fold][reference] for fold in self.folds]


def check_measure(measure):
    """Refuse a measure by which arms cannot be judged."""
    if measure not in PRIMARY:
        raise UsageError(
            f"`measure` must be one of {', '.join(PRIMARY)}, which count a missed organ. Received: measure={measure!r}."
        )
    return measure


def build_table(design, splits, results):
    """Return the `Table` of a comparison.

    A cell whose training diverged counts as one that predicts nothing, since that is what the arm led to. A cell that
    is not there, or failed for a reason that is not the arm's, takes its seed out of the fold for all arms.

    Args:
        design: `Design`.
        splits: For each fold a dict part → case ids.
        results: (arm name, fold, seed) → `CellResult`, of the arms that are trained.
    """
    names = tuple(arm.name for arm in design.arms)
    own = {arm.name: arm.same_as or arm.name for arm in design.arms}
    patients, seeds, scores = [], [], []
    for fold in range(len(splits)):
        there = [seed for seed in design.seeds if all((own[name], fold, seed) in results for name in names)]
        there = [s for s in there if all(results[own[n], fold, s].state in (FINISHED, DIVERGED) for n in names)]
        cells = {(n, s): results[own[n], fold, s] for n in names for s in there}
        example = next((cell for cell in cells.values() if cell.state == FINISHED), None)
        known = example is not None and any(row.scores[design.measure] is not None for row in example.scores)
        if not known:  # nobody knows which of its cases hold the organ, or none does
            there, example = [], None
        groups = tuple(dict.fromkeys(row.group for row in example.scores)) if example else ()
        rows = [[_of_cell(cells[n, s], example, groups, design.measure) for s in there] for n in names]
        patients.append(groups)
        seeds.append(tuple(there))
        scores.append(np.array(rows, float).reshape(len(names), len(there), len(groups)))
    return Table(names, tuple(patients), tuple(seeds), tuple(scores))


def mean_of(scores):
    """Return the mean over patients of each cell, then over cells: array (arms, seeds, patients) → (arms,)."""
    return _mean(scores, axis=-1).mean(axis=-1)


def cell_score(result, measure):
    """Return the mean of a measure over the patients of a finished `CellResult`; `None` without any, or unfinished."""
    if result.state != FINISHED:
        return NOTHING_FOUND if result.state == DIVERGED else None
    groups = tuple(dict.fromkeys(row.group for row in result.scores))
    value = float(_mean(np.array(_of_cell(result, result, groups, measure), float), axis=0))
    return value if np.isfinite(value) else None


def _of_cell(result, example, groups, measure):
    """Return the score of each patient, the mean over scans and classes; NaN where all of them are blank."""
    values = {group: [] for group in groups}
    for row in example.scores if result.state == DIVERGED else result.scores:
        value = row.scores[measure]
        if result.state == DIVERGED and row.counted_as not in (FALSE_ALARM, CORRECTLY_EMPTY) and value is not None:
            value = NOTHING_FOUND
        if value is not None and row.group in values:
            values[row.group].append(value)
    return [np.mean(found) if found else np.nan for found in values.values()]


def _mean(values, axis):
    """Return the mean without NaN, NaN where there is nothing else, and no warning."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    return np.where(count > 0, np.where(there, values, 0).sum(axis=axis) / np.maximum(count, 1), np.nan)
