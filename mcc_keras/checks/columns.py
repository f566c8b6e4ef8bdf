"""The columns of the table of cases, in text and on the page."""

from mcc_keras.preprocessing.cost import mean_dice

CASE_COLUMNS = ("case", "size", "spacing mm", "axes", "intensity", "labels: voxels", "foreground %")


def case_lines(rows):
    """Return the header and a line of cells for each case; with the best Dice of each class where it was measured."""
    lines = [CASE_COLUMNS, *map(case_cells, rows)]
    if not any("box" in row for row in rows):
        return lines
    return [(*line, cell) for line, cell in zip(lines, ("best Dice", *map(_best_dice, rows)), strict=True)]


def case_cells(row):
    """Return the cells of a case's line in a table, as text."""
    channels = row.get("channels", ())
    labels = ", ".join(f"{label}: {count}" for label, count in row.get("labels", {}).items())
    return (
        row["case"],
        " x ".join(map(str, row.get("shape", ()))) or "-",
        " x ".join(f"{step:.4g}" for step in row.get("spacing_mm", ())) or "-",
        row.get("orientation", "-"),
        "; ".join(f"{_short(channel['min'])} to {_short(channel['max'])}" for channel in channels) or "-",
        labels if len(labels) < 100 else f"{labels[:97]}...",
        f"{100 * row['foreground_fraction']:.3g}" if "foreground_fraction" in row else "-",
    )


def box_lines(rows, names):
    """Return for each class the cost of the box, as name → text; empty if it was not measured."""
    costs = {row["case"]: row["box"] for row in rows if "box" in row}
    return {
        f"best Dice of {name}": _box_line([classes[index] for classes in costs.values()], mean)
        for index, name in enumerate(names)
        if (mean := mean_dice(costs, index)) is not None
    }


def _box_line(costs, mean):
    lowest = min(cost.best_dice for cost in costs if cost.best_dice is not None)
    voxels, kept, components, lost = (
        sum(getattr(cost, field) for cost in costs) for field in ("voxels", "kept", "components", "lost")
    )
    return f"{mean:.3f} (lowest {lowest:.3f}), {kept} of {voxels} voxels kept, {lost} of {components} components lost"


def _best_dice(row):
    costs = row.get("box", ())
    return ", ".join("-" if cost.best_dice is None else f"{cost.best_dice:.3f}" for cost in costs) or "-"


def _short(value):
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
