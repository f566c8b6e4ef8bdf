"""`mcc-keras client`."""

import mcc_keras as mk
from mcc_keras.cli.options import add_images_and_output, add_reading

SUMMARY = "segment a scan with a model server, over gRPC"


def add_arguments(parser):
    parser.add_argument("address", metavar="HOST:PORT", help="gRPC address of the server")
    add_images_and_output(parser)
    add_reading(parser, nonfinite="error")
    parser.add_argument("--model-name", default="segmenter", help="the server's name for the model (%(default)s)")
    parser.add_argument("--timeout-seconds", type=float, default=60, help="time limit of a request (%(default)s)")


def run(address, images, output, **options):
    print(mk.segment_remote(address, images, output, **options))
