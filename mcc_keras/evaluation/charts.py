"""Charts of an evaluation: learning curves, volumes, Dice by volume, and calibration."""

import numpy as np

from mcc_keras.reporting import plots
from mcc_keras.reporting.html import picture
from mcc_keras.reporting.thumbnails import class_color

SIZE = (5.2, 3.2)


def learning_curves(run):
    """Return pictures of the loss and the Dice of each epoch of a `Run`."""
    for name, ylabel in (("loss", "loss"), ("dice", "Dice")):
        figure = plots.new_figure(SIZE)
        ax = plots.plot_history(
            run.history,
            names=(name, f"val_{name}"),
            ylabel=ylabel,
            best_epoch=run.result.best_epoch,
            ax=figure.subplots(),
        )
        if name == "dice":
            ax.set_ylim(0, 1)
        yield picture(figure, alt=f"Learning curve: {ylabel} by epoch")


def volume_charts(rows):
    """Return pictures of predicted by true volume, of their difference, and of Dice by volume."""
    classes = list(dict.fromkeys(row["class"] for row in rows))
    chosen = ((draw_volumes, "Predicted by true volume"), (draw_differences, "Bland-Altman plot of the volumes"))
    for draw, alt in (*chosen, (draw_dice, "Dice by true volume")):
        figure = plots.new_figure(SIZE)
        ax = figure.subplots()
        for index, name in enumerate(classes):
            draw(ax, [row for row in rows if row["class"] == name], color=f"#{bytes(class_color(index)).hex()}")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
        yield picture(figure, alt=alt)


def calibration_chart(calibration):
    """Return the picture of the true share by predicted probability of a `Calibration`, one line for each class."""
    figure = plots.new_figure(SIZE)
    ax = figure.subplots()
    for index, each in enumerate(calibration.classes):
        color = f"#{bytes(class_color(index)).hex()}"
        for bins, style in ((each.bins, "solid"), (each.bins_with_temperature, "dashed")):
            points = [(one.mean_probability, one.true_share) for one in bins if one.voxels]
            if points:
                ax.plot(*zip(*points, strict=True), color=color, linestyle=style, marker="o", markersize=3)
    ax.plot((0, 1), (0, 1), color="#888888", linewidth=1, linestyle="dotted")
    ax.set_xlabel("predicted probability")
    ax.set_ylabel("true share of voxels")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    return picture(figure, alt="Reliability diagram: true share of voxels by predicted probability")


def draw_volumes(ax, rows, *, color):
    """Draw predicted by true volume into axes, with the line on which they are equal."""
    true, predicted = _volumes(rows)
    ax.scatter(true, predicted, s=14, alpha=0.8, color=color)
    most = max(true.max(initial=0), predicted.max(initial=0), 1e-6)
    ax.plot((0, most), (0, most), color="#888888", linewidth=1, linestyle="dotted")
    ax.set_xlabel("true volume (ml)")
    ax.set_ylabel("predicted volume (ml)")


def draw_differences(ax, rows, *, color):
    """Draw the Bland-Altman plot of the volumes into axes: differences, bias and limits of agreement."""
    held = [row for row in rows if row["true_ml"]]
    true, predicted = _volumes(held)
    difference = predicted - true
    ax.scatter((true + predicted) / 2, difference, s=14, alpha=0.8, color=color)
    if difference.size > 1:
        bias, limit = difference.mean(), 1.96 * difference.std(ddof=1)
        for level, style in ((bias, "solid"), (bias - limit, "dashed"), (bias + limit, "dashed")):
            ax.axhline(level, color=color, linewidth=1, linestyle=style)
    ax.set_xlabel("mean of both volumes (ml)")
    ax.set_ylabel("predicted - true (ml)")


def draw_dice(ax, rows, *, color):
    """Draw Dice by true volume into axes; cases without the organ have no Dice."""
    from matplotlib.ticker import LogFormatter  # here, since the import of matplotlib takes long

    points = [(row["true_ml"], row["dice"]) for row in rows if row["dice"] is not None]
    ax.scatter(*(zip(*points, strict=True) if points else ((), ())), s=14, alpha=0.8, color=color)
    if points:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(LogFormatter())  # 2 in place of 2 × 10⁰
        ax.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("true volume (ml)")
    ax.set_ylabel("Dice")


def _volumes(rows):
    return (np.array([row[name] for row in rows], float) for name in ("true_ml", "predicted_ml"))
