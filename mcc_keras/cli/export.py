"""`mcc-keras export`."""

import mcc_keras as mk
from mcc_keras.cli.converters import list_of
from mcc_keras.cli.options import add_flips

SUMMARY = "write a run as a SavedModel for TensorFlow Serving"


def add_arguments(parser):
    parser.add_argument(
        "run", metavar="RUN[,RUN]", type=list_of(str), help="folder that `train` wrote; several are averaged"
    )
    parser.add_argument(
        "folder", metavar="NAME", help="folder of the model; the next version NAME/1, NAME/2, … is added"
    )

    add_flips(parser)


def run(run, folder, **options):
    print(mk.export_saved_model(run, folder, **options))
