"""`mcc-keras preview`."""

import mcc_keras as mk
from mcc_keras.cli.options import (
    adapt_to_sides,
    add_augment,
    add_overwrite,
    add_sides,
    add_source,
    find_cases,
    read_policy,
)

SUMMARY = "draw a case before and after augmentation"


def add_arguments(parser):
    add_source(parser)
    parser.add_argument(
        "-o", "--output", dest="path", required=True, metavar="FILE", help="picture to write: .png, .pdf or .svg"
    )
    add_augment(parser)
    add_sides(parser)
    parser.add_argument("--each-change", action="store_true", help="draw each kind of change by itself instead")
    parser.add_argument("--case", dest="case_id", metavar="ID", help="case to draw (the first with a mask)")
    parser.add_argument("--draws", type=int, default=4, help="number of augmented rows (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (%(default)s)")
    add_overwrite(parser)


def run(source, path, swap_labels, no_flip, **options):
    read_policy(options)
    if swap_labels or no_flip:
        options["augment"] = adapt_to_sides(options["augment"], swap_labels=swap_labels, no_flip=no_flip)
    cases = find_cases(source, options)
    print(mk.preview_augmentation(cases, path, **options))
