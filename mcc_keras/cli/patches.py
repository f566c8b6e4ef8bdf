"""Options of patches and windows, and the `Patches` and `Window` that they make."""

import dataclasses
from argparse import SUPPRESS

import mcc_keras as mk
from mcc_keras.cli.converters import one_or_three

# Field of the recipe, its class, and for each option the argument that it is.
_PARTS = {
    "patches": (
        "Patches",
        {"patch_size": "size", "patches_per_volume": "per_volume", "foreground_fraction": "foreground_fraction"},
    ),
    "window": ("Window", {"window_size": "size", "overlap": "overlap"}),
}


def add_patches(parser):
    """Add the options; those that are not given are absent, so that they do not override a recipe."""
    size = {"type": one_or_three(int), "metavar": "N[,N,N]", "default": SUPPRESS}
    share = {"type": float, "metavar": "F", "default": SUPPRESS}
    parser.add_argument("--patch-size", **size, help="train on patches of 64 or 96,96,32 voxels")
    parser.add_argument(
        "--patches-per-volume", type=int, metavar="N", default=SUPPRESS, help="patches of a reading of a volume (1)"
    )
    parser.add_argument("--foreground-fraction", **share, help="share of the patches centered on foreground (0.5)")
    parser.add_argument("--window-size", **size, help="segment in windows (of the patches' size)")
    parser.add_argument("--overlap", **share, help="share of a window that the next one covers again (0.5)")


def take_patches(options):
    """Remove the options of patches and windows that are given from `options`; return them."""
    names = [name for _, arguments in _PARTS.values() for name in arguments]
    return {name: options.pop(name) for name in names if name in options}


def read_patches(options, recipe):
    """Replace the options of patches and window by `Patches` and `Window`; what is not given is that of the recipe."""
    resized = "patch_size" in options
    for field, (kind, names) in _PARTS.items():
        given = {argument: options.pop(option) for option, argument in names.items() if option in options}
        if not given:
            continue
        before = getattr(recipe, field) if recipe else None
        if field == "window" and resized:
            before = mk.Window(size=options["patches"].size)
        if before is None and "size" not in given:
            first, *_ = names
            raise mk.errors.UsageError(f"Give a size as well: --{first.replace('_', '-')} 64.")
        options[field] = dataclasses.replace(before, **given) if before else getattr(mk, kind)(**given)
