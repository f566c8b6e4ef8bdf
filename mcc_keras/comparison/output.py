"""The files of a comparison, `report.html` and four tables, and the value that `compare_losses` returns."""

import dataclasses
from pathlib import Path

from mcc_keras.comparison.analysis import Analysis
from mcc_keras.comparison.cells import FINISHED
from mcc_keras.comparison.conclusions import conclude, describe_failures, describe_noise
from mcc_keras.comparison.early import area_under, steps_until
from mcc_keras.comparison.page import build_page
from mcc_keras.comparison.plan import Plan
from mcc_keras.comparison.scores import cell_score
from mcc_keras.evaluation.measures import SCORES
from mcc_keras.files import write_text
from mcc_keras.reporting.plain import printable
from mcc_keras.reporting.rows import format_rows, write_rows

REPORT, CELLS, PATIENTS, CLAIMS, CURVES = "report.html", "cells.csv", "patients.csv", "claims.csv", "curves.csv"


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """A comparison; `print` shows its tables and what may be concluded.

    Args:
        folder: Its folder.
        plan: `Plan`.
        results: (arm name, fold, seed) → `CellResult`.
        analysis: `Analysis`.
    """

    folder: Path
    plan: Plan
    results: dict
    analysis: Analysis

    @property
    def report_path(self):
        """Path of report.html."""
        return self.folder / REPORT

    def __str__(self):
        networks, arms, limits = conclude(self.plan, self.analysis)
        blocks = {
            "These networks, on such patients": networks,
            f"The {self.plan.design.noun} as such": arms,
            "Not to be concluded": limits,
            "Noise": describe_noise(self.plan, self.analysis),
            "Failures": describe_failures(self.analysis),
        }
        texts = ["\n".join(format_rows(arm_rows(self)))]
        texts += [f"{head}\n" + "\n".join(f"  {printable(line)}" for line in lines) for head, lines in blocks.items()]
        return "\n\n".join([*texts, f"report    {self.report_path}"])


def write_comparison(comparison):
    """Write the page and the tables of a `Comparison` into its folder; those of an earlier call are replaced."""
    folder = comparison.folder
    tables = {CELLS: cell_rows, PATIENTS: patient_rows, CLAIMS: claim_rows, CURVES: curve_rows}
    for name, rows_of in tables.items():
        rows = rows_of(comparison)
        if rows:
            write_rows(rows, folder / name, overwrite=True)
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier call
    write_text(folder / REPORT, build_page(comparison))


def arm_rows(comparison):
    """Return a dict for each arm, for a terminal."""
    measure = comparison.plan.design.measure
    return [
        {
            "arm": arm.name,
            "cells": f"{arm.finished} of {arm.planned}" if arm.same_as is None else f"= {arm.same_as}",
            measure: arm.score.mean,
            "low": arm.score.low,
            "high": arm.score.high,
            "seed_noise": arm.noise.mean,
            "area": arm.area,
            "steps_to_90": arm.steps_until,
            "minutes": arm.minutes,
        }
        for arm in comparison.analysis.arms
    ]


def cell_rows(comparison):
    """Return a dict for each cell that has a result."""
    plan, measure = comparison.plan, comparison.plan.design.measure
    rows = []
    for (arm, fold, seed), result in sorted(comparison.results.items()):
        x, y = zip(*result.curve, strict=True) if result.curve else ((), ())
        done = result.state == FINISHED
        rows.append(
            {
                "arm": arm,
                "fold": fold,
                "seed": seed,
                "state": result.state,
                measure: cell_score(result, measure),
                "validation_dice": result.best_value,
                "best_epoch": result.best_epoch,
                "steps": result.steps,
                "minutes": result.seconds / 60 if done else None,
                "area_under_curve": area_under(x, y, total=plan.steps[arm]) if x else None,
                "steps_to_90": steps_until(x, y),
                "threshold": result.threshold,
                "calibration_error": result.calibration,
                "calibration_error_with_temperature": result.calibration_with_temperature,
                "temperature": result.temperature,
                "processor": result.processor,
                "problem": result.problem,
            }
        )
    return rows


def patient_rows(comparison):
    """Return a dict for each class of each test case of each cell."""
    return [
        {"arm": arm, "fold": fold, "seed": seed, "patient": row.group, "case": row.case, "class": row.name}
        | {"counted_as": row.counted_as, **{name: row.scores[name] for name in SCORES}}
        | {"dice_at_threshold": row.dice_at_threshold, "true_ml": row.true_ml, "predicted_ml": row.predicted_ml}
        for (arm, fold, seed), result in sorted(comparison.results.items())
        for row in result.scores
    ]


def claim_rows(comparison):
    """Return a dict for each rival of the reference."""
    reference = comparison.plan.design.reference
    rows = []
    for claim in comparison.analysis.claims:
        of_patients = {f"patients_{name}": value for name, value in dataclasses.asdict(claim.patients).items()}
        of_arm = {f"arm_{name}": getattr(claim, name) for name in ("mean", "low", "high", "t", "p", "p_holm")}
        of_arm |= {f"arm_{name}": getattr(claim, name) for name in ("below", "within", "above", "findable")}
        rows.append({"rival": claim.name, "reference": reference, **of_patients, "folds": len(claim.folds), **of_arm})
    return rows


def curve_rows(comparison):
    """Return a dict for each epoch of each cell."""
    return [
        {"arm": arm, "fold": fold, "seed": seed, "epoch": epoch, "steps": steps, "validation_dice": dice}
        for (arm, fold, seed), result in sorted(comparison.results.items())
        for epoch, (steps, dice) in enumerate(result.curve, start=1)
    ]
