"""Charts of a comparison: validation curves of the arms, and differences of folds."""

import numpy as np

from mcc_keras.evaluation.measures import MEASURES
from mcc_keras.reporting import plots
from mcc_keras.reporting.curves import Line, draw_chart
from mcc_keras.reporting.html import picture
from mcc_keras.reporting.thumbnails import class_color


def learning_curves(comparison):
    """Return the chart of the validation Dice of each arm by epoch, the mean over its cells."""
    lines = []
    for index, arm in enumerate(comparison.plan.design.trained):
        curves = [result.curve for (name, _, _), result in comparison.results.items() if name == arm.name]
        length = max(map(len, curves), default=0)
        values = [[curve[epoch][1] for curve in curves if epoch < len(curve)] for epoch in range(length)]
        points = [(epoch, float(np.mean(found))) for epoch, found in enumerate(values, start=1)]
        if points:
            lines.append(Line(arm.name, tuple(class_color(index)), points))
    return draw_chart("Validation Dice", lines, limits=(0, 1))


def difference_chart(comparison):
    """Return the picture of the difference of each rival on each fold, with the mean and its interval."""
    design, claims = comparison.plan.design, comparison.analysis.claims
    figure = plots.new_figure((5.2, 1.2 + 0.45 * len(claims)))
    ax = figure.subplots()
    for index, claim in enumerate(claims):
        ax.scatter(claim.folds, [index] * len(claim.folds), s=14, alpha=0.6, color="#33658a")
        ax.plot((claim.low, claim.high), (index + 0.2,) * 2, color="#b3541e", linewidth=1.5)
        ax.scatter([claim.mean], [index + 0.2], s=22, color="#b3541e")
    ax.axvline(0, color="#888888", linewidth=1, linestyle="dotted")
    ax.set_yticks(range(len(claims)), [claim.name for claim in claims])
    ax.set_ylim(len(claims) - 0.5, -0.5)
    ax.set_xlabel(f"difference in {MEASURES[design.measure].head} from {design.reference}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, axis="x")
    return picture(
        figure, alt="Differences of folds", caption="Blue: folds. Orange: their mean with its 95 % interval."
    )
