"""What a comparison came to: a summary of each arm, what may be claimed of each rival, and the noise between seeds."""

import dataclasses

import numpy as np

from mcc_keras.comparison.cells import DIVERGED, FAILED, FINISHED
from mcc_keras.comparison.correlated import corrected_t, correlated_posterior, smallest_difference
from mcc_keras.comparison.decision import judge_rivals
from mcc_keras.comparison.early import area_under, steps_until
from mcc_keras.comparison.paired import PairedPatients, compare_patients
from mcc_keras.comparison.resampling import nested_interval, other_winner_share
from mcc_keras.comparison.scores import COLLAPSED, build_table, cell_score
from mcc_keras.evaluation.measures import CORRECTLY_EMPTY, FALSE_ALARM, MISSED
from mcc_keras.evaluation.statistics import Agreement, Spread, agree, summarize


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """How far two seeds of one arm on one fold are apart, in the primary measure.

    Args:
        pairs: Pairs of cells.
        mean: Mean distance of the means of two cells; `None` without a pair, as the others.
        largest: Largest.
        of_patients: Mean distance of a patient's two scores.
    """

    pairs: int
    mean: float | None = None
    largest: float | None = None
    of_patients: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm. Everything but the counts is the mean over its finished cells, `None` where there is none.

    Args:
        name: Its name.
        same_as: Name of the arm that stands for it, or `None`.
        planned: Its cells.
        finished: Those that ended.
        diverged: Those whose loss or weights became NaN or infinite.
        failed: Those that failed for another reason.
        collapsed: Finished ones whose mean Dice is below 0.05.
        score: `Spread` of the primary measure over patients.
        fold_deviation: Standard deviation of the means of folds.
        noise: `Noise` between its seeds.
        missed: Organs, over cells, in which nothing was predicted.
        false_alarms: Cases without the organ in which something was predicted.
        volumes: `Agreement` of the volumes.
        area: Area under the validation curve.
        steps_until: Updates until 90 % of the best validation score.
        best_epoch: The epoch that was kept.
        threshold: The threshold that the validation part chose.
        dice_at_threshold: Dice of the test part with it.
        calibration: Expected calibration error.
        calibration_with_temperature: The same with a temperature.
        minutes: Time of a training.
    """

    name: str
    same_as: str | None
    planned: int
    finished: int
    diverged: int
    failed: int
    collapsed: int
    score: Spread
    fold_deviation: float | None
    noise: Noise
    missed: int
    false_alarms: int
    volumes: Agreement | None
    area: float | None
    steps_until: float | None
    best_epoch: float | None
    threshold: float | None
    dice_at_threshold: float | None
    calibration: float | None
    calibration_with_temperature: float | None
    minutes: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A rival against the reference, rival − reference.

    Args:
        name: The rival.
        patients: `PairedPatients`: these networks, on such patients.
        folds: Differences of the folds, for the claim about the arm.
        mean: Their mean; `None` without folds, as all below with fewer than two.
        low: Lower end of the 95 % interval, by drawing cells, then patients.
        high: Upper end.
        t: Nadeau and Bengio's corrected t.
        p: Its two-sided p-value.
        p_holm: The same corrected for the number of rivals.
        below: Probability that the rival is worse by more than the region of practical equivalence.
        within: Probability that the two are equivalent.
        above: Probability that the rival is better.
        findable: Smallest difference that would be found with 80 % power at this spread of folds.
    """

    name: str
    patients: PairedPatients
    folds: tuple[float, ...]
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    t: float | None = None
    p: float | None = None
    p_holm: float | None = None
    below: float | None = None
    within: float | None = None
    above: float | None = None
    findable: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a comparison came to.

    Args:
        arms: `ArmSummary`s.
        claims: `Claim`s, one for each rival that is not the reference by definition.
        folds: Number of folds that are compared.
        patients: Number of patients in them.
        cells: Planned cells.
        missing: Names of cells without a result.
        other_winner: How often 10 % of the patients would have named another winner; `None` without patients.
    """

    arms: tuple[ArmSummary, ...]
    claims: tuple[Claim, ...]
    folds: int
    patients: int
    cells: int
    missing: tuple[str, ...]
    other_winner: float | None

    def arm(self, name):
        """Return the `ArmSummary` of a name."""
        return next(arm for arm in self.arms if arm.name == name)


def analyze(plan, results):
    """Return the `Analysis` of a `Plan` and the results there are: (arm name, fold, seed) → `CellResult`."""
    design = plan.design
    table = build_table(design, plan.splits, results)
    own = {arm.name: arm.same_as or arm.name for arm in design.arms}
    trained = tuple(table.arms.index(arm.name) for arm in design.trained)
    planned = [(a.name, f, s) for s in design.seeds for f in range(design.folds) for a in design.trained]
    patients = np.array([table.of_patients(table.arms[index]) for index in trained])
    known = np.isfinite(patients).all(axis=0).any() if patients.size else False
    return Analysis(
        arms=tuple(_summarize(arm, own[arm.name], plan, table, results) for arm in design.arms),
        claims=_claims(plan, table, own),
        folds=len(table.folds),
        patients=sum(len(table.patients[fold]) for fold in table.folds),
        cells=len(planned),
        missing=tuple(f"{a}, fold {f}, seed {s}" for a, f, s in planned if (a, f, s) not in results),
        other_winner=other_winner_share(patients) if known else None,
    )


def deviation_of(plan, results):
    """Return the pooled standard deviation of the differences of folds of all pairs of arms; `None` where unknown."""
    table = build_table(plan.design, plan.splits, results)
    cells = table.cells[[table.arms.index(arm.name) for arm in plan.design.trained]]
    if cells.shape[1] < 2 or cells.shape[0] < 2:
        return None
    first, second = np.triu_indices(cells.shape[0], k=1)
    return float(np.sqrt((cells[first] - cells[second]).var(axis=1, ddof=1).mean()))


def _claims(plan, table, own):
    design = plan.design
    reference = design.reference
    rivals = [arm.name for arm in design.trained if arm.name != own[reference]]
    cells = table.cells[[table.arms.index(name) for name in (reference, *rivals)]]
    several = cells.shape[1] > 1
    corrected = judge_rivals(cells[..., None], ratio=plan.ratio) if several else [None] * len(rivals)
    claims = []
    for number, name in enumerate(rivals):
        differences = cells[number + 1] - cells[0]
        found = {}
        if several:
            t, p = corrected_t(differences, ratio=plan.ratio)
            below, within, above = correlated_posterior(differences, ratio=plan.ratio).tolist()
            low, high = nested_interval(table.differences(name, reference))
            size = {"folds": len(differences), "ratio": plan.ratio, "tests": len(rivals)}
            found = {
                **{"t": float(t), "p": float(p), "p_holm": float(corrected[number]), "low": low, "high": high},
                **{"below": below, "within": within, "above": above},
                "findable": smallest_difference(float(differences.std(ddof=1)), **size),
            }
        patients = compare_patients(table.of_patients(reference), table.of_patients(name))
        mean = float(differences.mean()) if differences.size else None
        claims.append(Claim(name=name, patients=patients, folds=tuple(differences.tolist()), mean=mean, **found))
    return tuple(claims)


def _summarize(arm, name, plan, table, results):
    cells = [result for (owner, _, _), result in sorted(results.items()) if owner == name]
    done = [result for result in cells if result.state == FINISHED]
    scores, index = table.of_patients(arm.name), table.arms.index(arm.name)
    values = [None if np.isnan(score) else float(score) for score in scores]
    patients = [patient for fold in table.folds for patient in table.patients[fold]]
    folds = table.cells[index]
    rows = [row for result in done for row in result.scores]
    held = [row for row in rows if row.counted_as not in (FALSE_ALARM, CORRECTLY_EMPTY)]
    curves = [(*zip(*result.curve, strict=True),) for result in done if result.curve]
    return ArmSummary(
        name=arm.name,
        same_as=arm.same_as,
        planned=0 if arm.same_as else plan.design.folds * len(plan.design.seeds),
        finished=len(done),
        diverged=sum(result.state == DIVERGED for result in cells),
        failed=sum(result.state == FAILED for result in cells),
        collapsed=sum((cell_score(result, "dice") or 0.0) < COLLAPSED for result in done),
        score=summarize(values, patients),
        fold_deviation=float(folds.std(ddof=1)) if folds.size > 1 else None,
        noise=_noise(table, index),
        missed=sum(row.counted_as == MISSED for row in rows),
        false_alarms=sum(row.counted_as == FALSE_ALARM for row in rows),
        volumes=agree([row.true_ml for row in held], [row.predicted_ml for row in held]),
        area=_mean(area_under(x, y, total=plan.steps[name]) for x, y in curves),
        steps_until=_mean(steps_until(x, y) for x, y in curves),
        best_epoch=_mean(result.best_epoch for result in done),
        threshold=_mean(result.threshold for result in done),
        dice_at_threshold=_mean(row.dice_at_threshold for row in rows),
        calibration=_mean(result.calibration for result in done),
        calibration_with_temperature=_mean(result.calibration_with_temperature for result in done),
        minutes=_mean(result.seconds / 60 for result in done),
    )


def _noise(table, index):
    cells, patients = [], []
    for fold in table.folds:
        scores = table.scores[fold][index]
        for first in range(len(scores)):
            for second in range(first + 1, len(scores)):
                distance = scores[first] - scores[second]
                distance = distance[np.isfinite(distance)]
                if distance.size:
                    cells.append(abs(distance.mean()))
                    patients.append(np.abs(distance).mean())
    if not cells:
        return Noise(pairs=0)
    largest, mean = float(np.max(cells)), float(np.mean(cells))
    return Noise(pairs=len(cells), mean=mean, largest=largest, of_patients=float(np.mean(patients)))


def _mean(values):
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None
