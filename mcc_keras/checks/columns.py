"""What the table of cases shows of each case, in text and on the page."""

CASE_COLUMNS = ("case", "size", "spacing mm", "axes", "intensity", "labels: voxels", "foreground %")


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
        f"{100 * row['foreground_share']:.3g}" if "foreground_share" in row else "-",
    )


def _short(value):
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
