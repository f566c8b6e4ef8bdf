"""Whether a network takes patches and windows of some size."""

from mcc_keras.errors import UsageError
from mcc_keras.segmentation.sizes import nearest_size, takes


def refuse_sizes(model, recipe):
    """Refuse a recipe whose patches or window the network cannot take.

    Args:
        model: Keras model.
        recipe: `Recipe`.

    Raises:
        UsageError: With the nearest size that works, where one is found.
    """
    for name, option, value in (("patches", "patch", recipe.patches), ("window", "window", recipe.window)):
        if value and not takes(model, value.size):
            nearest = nearest_size(model, value.size)
            way_out = "Give another network."
            if nearest:
                text, call = ",".join(map(str, nearest)), f"mk.{type(value).__name__}(size={nearest})"
                way_out = f"The nearest that works is --{option}-size {text} (mk.train({name}={call}))."
            raise UsageError(
                f"`{name}` must have a size that {model.name} takes and returns. Received: size={value.size}. {way_out}"
            )
