"""Segmentation of 3-D medical images with Keras 3: from a scan on disk to a served mask, and the MCC loss.

The names below are lazy: `import mcc_keras` loads neither Keras nor TensorFlow, a name is imported when it is first used.

Example:

>>> import mcc_keras as mk
>>> mk.Preprocessing(size=(48, 48, 48)).size
(48, 48, 48)
"""

import importlib
import os
import pkgutil

import lazy_loader
import wrapt

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register_with_keras(_keras):
    """Import every loss, metric and network, so that a bare `keras.models.load_model` finds their classes.

    Keras imports no third-party module to find a class that a model file names; this runs when Keras itself is imported,
    or at once where it already is.
    """
    for package in ("losses", "metrics", "models"):
        folder = os.path.join(os.path.dirname(__file__), package)
        for module in pkgutil.iter_modules([folder], f"{__name__}.{package}."):
            importlib.import_module(module.name)


wrapt.when_imported("keras")(_register_with_keras)
