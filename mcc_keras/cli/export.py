"""`mcc-keras export`."""

import mcc_keras as mk

SUMMARY = "write a run as a SavedModel for TensorFlow Serving"


def add_arguments(parser):
    parser.add_argument("run", metavar="RUN", help="folder that `train` wrote")
    parser.add_argument(
        "folder", metavar="NAME", help="folder of the model; the next version NAME/1, NAME/2, … is added"
    )


def run(run, folder):
    print(mk.export_saved_model(run, folder))
