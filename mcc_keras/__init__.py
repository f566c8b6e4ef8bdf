"""Segmentation of 3-D medical images with Keras 3: from a scan on disk to a served mask, and the MCC loss.

Public names are loaded lazily: `import mcc_keras` imports neither Keras nor TensorFlow. It enables oneDNN for them, so
import it first.

Example:

>>> import mcc_keras as mk
>>> mk.Preprocessing(size=(48, 48, 48)).size
(48, 48, 48)
"""

import importlib
import os
import pkgutil
import sys

import lazy_loader
import wrapt

from mcc_keras.processors import prepare_tensorflow

__version__ = "0.1.0"

prepare_tensorflow()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register_with_keras(_keras):
    """Import every loss, metric and network, so that a bare `keras.models.load_model` finds their classes.

    Keras does not import third-party modules to find the classes of a model file. This runs when Keras is imported, or
    at once if it already is.
    """
    for package in ("losses", "metrics", "models"):
        folder = os.path.join(os.path.dirname(__file__), package)
        for module in pkgutil.iter_modules([folder], f"{__name__}.{package}."):
            try:
                importlib.import_module(module.name)
            except ImportError:
                if not _half_imported():
                    raise


def _half_imported():
    """Return whether a module of this package is the one that imports Keras and is itself only half imported.

    Modules that import names from it cannot be imported yet; they are imported once it is complete.
    """
    own = (module for name, module in list(sys.modules.items()) if name.startswith(f"{__name__}."))
    return any(getattr(module.__spec__, "_initializing", False) for module in own)


wrapt.when_imported("keras")(_register_with_keras)
