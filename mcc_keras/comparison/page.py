"""The report of a comparison as one HTML page."""

import time

from mcc_keras.comparison.charts import difference_chart, learning_curves
from mcc_keras.comparison.conclusions import conclude, describe_failures, describe_noise
from mcc_keras.comparison.correlated import ROPE
from mcc_keras.comparison.outlook import describe_findable
from mcc_keras.comparison.scores import cell_score
from mcc_keras.evaluation.measures import MEASURES
from mcc_keras.reporting import html
from mcc_keras.runs.fields import flat_fields, varying_fields
from mcc_keras.runs.recipe import LENGTHS

NETWORKS = (
    "Of these networks, on patients like these. Patients are paired; every patient was scored by networks that had not "
    "seen it. Another seed, or other training patients, would have given other networks."
)
ARMS = (
    "Of each {} as such, trained on data like these. The unit is a fold, whose patients share a network: its seeds are "
    "averaged, and the training patients that folds share widen the error (Nadeau and Bengio). Only the primary "
    "measure and only differences from the reference are tested, with Holm's correction."
)
DESCRIPTION = "Description only: none of these numbers is tested, and they take part in no claim."


def build_page(comparison):
    """Build the page of a comparison.

    Args:
        comparison: `Comparison`.

    Returns:
        The document as `Markup`.
    """
    plan, analysis = comparison.plan, comparison.analysis
    networks, arms, limits = conclude(plan, analysis)
    noun = plan.design.noun
    parts = [
        html.facts(_tiles(comparison)),
        html.section("What may be concluded of these networks, on such patients", *map(_sentence, networks)),
        html.section(f"What may be concluded of the {noun}", *map(_sentence, arms)),
        html.section("What may not be concluded", *map(_sentence, limits)),
        html.section("Claim 1: these networks, on such patients", html.paragraph(NETWORKS), _patient_table(comparison)),
        html.section(f"Claim 2: the {noun}", html.paragraph(ARMS.format(noun)), *_arm_claims(comparison)),
        html.section("Noise between seeds", *map(_sentence, describe_noise(plan, analysis))),
        html.section("Scores", html.paragraph(DESCRIPTION), _score_table(comparison)),
        html.section("Learning curves", *_curves(comparison)),
        html.section("Calibration, threshold and volume", html.paragraph(DESCRIPTION), _calibration_table(analysis)),
        html.section("Failures", *map(_sentence, describe_failures(analysis))),
        html.section("Every cell", _cell_table(comparison)),
        html.section("Settings", *_settings(plan)),
    ]
    design = plan.design
    lead = f"{_count(len(design.arms), 'arm')} · {_count(design.folds, 'fold')} · {_count(len(design.seeds), 'seed')}"
    footer = f"Comparison: {comparison.folder} · records: {design.work} · written: {time.strftime('%Y-%m-%d %H:%M:%S')}"
    return html.page(f"Comparison: {comparison.folder.resolve().name}", *parts, lead=lead, footer=footer)


def _tiles(comparison):
    design, analysis = comparison.plan.design, comparison.analysis
    done = sum(arm.finished for arm in analysis.arms if arm.same_as is None)
    head = MEASURES[design.measure].head
    tiles = {"primary measure": head, "reference": design.reference}
    tiles["cells finished"] = f"{done} of {analysis.cells}"
    tiles["patients compared"] = analysis.patients
    for arm in analysis.arms:
        tiles[f"{head} of {arm.name}"] = _number(arm.score.mean)
    return tiles


def _patient_table(comparison):
    heads = ("rival", "patients", "mean difference", "95 % interval", "Hodges–Lehmann", "Wilcoxon p", "false claim")
    rows = []
    for claim in comparison.analysis.claims:
        found = claim.patients
        rows.append(
            (
                claim.name,
                str(found.n),
                _signed(found.mean),
                _interval(found.low, found.high),
                _signed(found.shift),
                _small(found.p),
                _small(found.false_claim),
            )
        )
    note = (
        f"Differences are rival − {comparison.plan.design.reference}. The interval draws patients. “False claim” is "
        "the probability that the one with the better mean is not better (arXiv 2505.04720). No number of this table "
        "is corrected for the number of rivals."
    )
    return html.join([html.table(heads, rows), html.paragraph(note)])


def _arm_claims(comparison):
    plan, analysis = comparison.plan, comparison.analysis
    heads = ("rival", "folds", "mean difference", "95 % interval", "corrected t", "p", "p after Holm")
    heads += (f"worse by {ROPE}", "equivalent", f"better by {ROPE}", "findable")
    rows = [
        (
            claim.name,
            str(len(claim.folds)),
            _signed(claim.mean),
            _interval(claim.low, claim.high),
            _number(claim.t, ".2f"),
            *map(_small, (claim.p, claim.p_holm)),
            *map(_number, (claim.below, claim.within, claim.above, claim.findable)),
        )
        for claim in analysis.claims
    ]
    yield html.table(heads, rows)
    yield html.paragraph(
        "The interval draws cells, then patients. “Worse”, “equivalent” and “better” are probabilities by the Bayesian "
        "correlated t-test. “Findable” is the smallest difference that would be found with 80 % power at the spread "
        "seen."
    )
    yield html.paragraph(f"This plan finds {describe_findable(plan, None)}.")
    if analysis.folds > 1 and analysis.claims:
        yield html.gallery([difference_chart(comparison)])


def _score_table(comparison):
    heads = ("arm", "cells", "mean", "95 % interval", "median", "lowest", "between folds", "between seeds")
    heads += ("missed", "false alarms", "minutes")
    rows = []
    for arm in comparison.analysis.arms:
        cells = f"= {arm.same_as}" if arm.same_as else f"{arm.finished} of {arm.planned}"
        score = arm.score
        numbers = (score.median, score.min, arm.fold_deviation, arm.noise.mean)
        counts = (str(arm.missed), str(arm.false_alarms), _number(arm.minutes, ".1f"))
        rows.append(
            (
                arm.name,
                cells,
                _number(score.mean),
                _interval(score.low, score.high, ".3f"),
                *map(_number, numbers),
                *counts,
            )
        )
    return html.table(heads, rows)


def _curves(comparison):
    yield html.paragraph(DESCRIPTION)
    yield html.gallery([learning_curves(comparison)])
    heads = ("arm", "area under the curve", "updates until 90 % of the best", "epoch kept")
    rows = [
        (arm.name, _number(arm.area), _number(arm.steps_until, ".0f"), _number(arm.best_epoch, ".1f"))
        for arm in comparison.analysis.arms
    ]
    yield html.table(heads, rows)
    yield html.paragraph("Validation Dice, the mean over folds and seeds. A larger area means good scores earlier.")


def _calibration_table(analysis):
    heads = ("arm", "calibration error", "with temperature", "best threshold", "Dice with it")
    heads += ("volume bias ml", "limits of agreement ml")
    rows = []
    for arm in analysis.arms:
        numbers = (arm.calibration, arm.calibration_with_temperature, arm.threshold, arm.dice_at_threshold)
        volumes = arm.volumes
        bias = None if volumes is None else f"{volumes.bias_ml:+.2f}"
        limits = None if volumes is None else _interval(volumes.low_ml, volumes.high_ml)
        rows.append((arm.name, *map(_number, numbers), bias, limits))
    note = html.paragraph("Threshold and temperature were chosen on the validation part; masks are made with 0.5.")
    return html.join([html.table(heads, rows), note])


def _cell_table(comparison):
    measure = comparison.plan.design.measure
    heads = (
        "arm",
        "fold",
        "seed",
        "state",
        MEASURES[measure].head,
        "validation Dice",
        "epoch kept",
        "minutes",
        "problem",
    )
    rows = []
    for (arm, fold, seed), result in sorted(comparison.results.items()):
        minutes = None if result.seconds is None else f"{result.seconds / 60:.1f}"
        scores = (_number(cell_score(result, measure)), _number(result.best_value))
        kept = None if result.best_epoch is None else str(result.best_epoch)
        rows.append((arm, str(fold), str(seed), result.state, *scores, kept, minutes, result.problem or None))
    return html.table(heads, rows, text_columns=(3, 8), sortable=True)


def _settings(plan):
    design = plan.design
    recipes = [{k: v for k, v in vars(arm.recipe).items() if k not in (*LENGTHS, "seed")} for arm in design.arms]
    varying = varying_fields(recipes)
    names = list(varying[0])
    rows = [
        (arm.name, *(None if fields[name] is None else str(fields[name]) for name in names), *_pace(plan, arm))
        for arm, fields in zip(design.arms, varying, strict=True)
    ]
    yield html.table(("arm", *names, "updates", "seconds a step"), rows)
    shared = {name: value for name, value in flat_fields(recipes[0]).items() if name not in names}
    own = {
        **{"protocol": design.protocol, "seeds": ", ".join(map(str, design.seeds)), "split seed": design.split_seed},
        **{
            "stratified by": design.stratify,
            "sweep": design.sweep and f"{design.sweep[0]} {' '.join(design.sweep[1])}",
        },
        **{"minutes per cell": design.minutes_per_cell, "pace measured on": plan.processor},
        "test by training patients": f"{plan.ratio:.3f}",
    }
    lines = [(name, None if value is None else str(value)) for name, value in (own | shared).items()]
    yield html.folded("All settings that the arms share", html.table(("setting", "value"), lines, text_columns=(1,)))


def _pace(plan, arm):
    name = arm.same_as or arm.name
    return str(plan.steps[name]), f"{plan.paces[name].seconds_per_step:.3f}"


def _sentence(text):
    return html.element("<p>{}</p>", text)


def _number(value, form=".3f"):
    return None if value is None else format(value, form)


def _small(value):
    return "< 0.001" if value is not None and value < 0.001 else _number(value)


def _signed(value):
    return _number(value, "+.3f")


def _interval(low, high, form="+.3f"):
    return None if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _count(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
