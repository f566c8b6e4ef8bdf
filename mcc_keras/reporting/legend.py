"""What the colors of outlines mean, where a page shows pictures with outlines."""

from mcc_keras.reporting.html import Markup, element, join, swatch
from mcc_keras.reporting.thumbnails import class_color, predicted_color

NOTE = "Slices through the middle of the organ; the patient’s right is on the left of axial and coronal slices."


def outline_legend(names):
    """Return a paragraph with the color of each class, or with one class those of truth and prediction.

    Args:
        names: Names of the foreground classes.
    """
    if len(names) == 1:
        lines = [swatch(class_color(0), "true")]
        lines.append(swatch(predicted_color(0, num_classes=1), "predicted", dashed=True))
    else:
        lines = [swatch(class_color(index), name) for index, name in enumerate(names)]
        lines.append(Markup(" · solid true, dashed predicted"))
    return element('<p class="note">{}. {}</p>', join(lines), NOTE)
