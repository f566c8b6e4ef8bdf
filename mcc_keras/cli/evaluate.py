"""`mcc-keras evaluate`."""

import inspect

import mcc_keras as mk
from mcc_keras.cli.converters import list_of
from mcc_keras.cli.options import (
    add_flips,
    add_largest_component,
    add_measures,
    add_overwrite,
    add_reading,
    add_window_size,
    add_workers,
)

SUMMARY = "score a run on the original grids, case by case"


def add_arguments(parser):
    parser.add_argument("run", metavar="RUN", help="folder that `train` wrote")
    parser.add_argument("--part", default="test", choices=("train", "validation", "test"), help="(%(default)s)")
    parser.add_argument("--source", help="score all cases of another data set instead")
    parser.add_argument("-o", "--output", metavar="DIR", help="where to write (RUN/PART, or RUN/NAME of the source)")
    add_reading(parser)
    add_flips(parser)
    add_window_size(parser)
    add_largest_component(parser)
    add_measures(parser)
    parser.add_argument(
        "--try",
        dest="attempts",
        type=list_of(str),
        metavar="OPTION,…",
        help="instead, measure flips, threshold, largest-component, smallest on the validation part and keep what gains"
        " in RUN",
    )
    add_workers(parser)
    add_overwrite(parser)


def run(run, attempts, **options):
    if not attempts:
        return print(mk.evaluate(run, **options))
    defaults = inspect.signature(mk.evaluate).parameters
    others = [name for name, value in options.items() if name != "window_size" and value != defaults[name].default]
    if others:
        names = " and ".join(f"`{name}`" for name in others)
        raise mk.errors.UsageError(f"{names} cannot be used with `attempts`. Leave it out.")
    print(mk.try_mask_options(run, attempts, window_size=options["window_size"]))
