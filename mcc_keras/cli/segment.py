"""`mcc-keras segment`."""

import mcc_keras as mk
from mcc_keras.cli.options import add_images_and_output, add_largest_component, add_reading

SUMMARY = "segment a scan with a run"


def add_arguments(parser):
    parser.add_argument("--run", required=True, metavar="RUN", help="folder that `train` wrote")
    add_images_and_output(parser)
    add_reading(parser)
    add_largest_component(parser)
    parser.add_argument(
        "--segment-codes",
        metavar="JSON",
        help="codes of the segments of a .dcm mask: label or name to category and type (see README)",
    )


def run(run, images, output, **options):
    print(mk.segment(run, images, output, **options))
