"""Sliders for the planes of a figure, where ipywidgets is installed."""

import importlib


def find_ipywidgets():
    """Return the module ipywidgets, or None where it is not installed."""
    try:
        return importlib.import_module("ipywidgets")
    except ImportError:
        return None


def slider_box(figure):
    """Return a widget with a `PlanesFigure` and a slider for each of its planes."""
    widgets = find_ipywidgets()
    picture = widgets.Image(value=figure.png(), format="png")
    sliders = [
        widgets.IntSlider(value=figure.positions[name], min=0, max=size - 1, description=name, continuous_update=False)
        for name, size in figure.sizes.items()
    ]

    def move(change):
        figure.move(change["owner"].description, change["new"])
        picture.value = figure.png()

    for slider in sliders:
        slider.observe(move, names="value")
    return widgets.VBox([widgets.HBox(sliders), picture])
