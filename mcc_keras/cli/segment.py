"""`mcc-keras segment`."""

import mcc_keras as mk
from mcc_keras.cli.options import add_images_and_output, add_largest_component, add_reading
from mcc_keras.cli.remote import add_server, split_options

SUMMARY = "segment a scan with a run, or with a model server"
LOCAL = {"segment_codes": None}  # what needs the run


def add_arguments(parser):
    add_server(parser)
    add_images_and_output(parser)
    add_reading(parser)
    add_largest_component(parser)
    parser.add_argument(
        "--segment-codes",
        metavar="JSON",
        help="codes of the segments of a .dcm mask: label or name to category and type (see README)",
    )


def run(run, server, images, output, **options):
    remote = split_options(options, server=server, local=LOCAL)
    if server:
        print(mk.segment_remote(server, images, output, **options, **remote))
    else:
        print(mk.segment(run, images, output, **options))
