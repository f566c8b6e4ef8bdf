"""`mcc-keras explain`."""

import mcc_keras as mk
from mcc_keras.cli.language import translate

SUMMARY = "say where a mask comes from: model, options, scan, and the run that made it"


def add_arguments(parser):
    parser.add_argument("mask", metavar="MASK", help="mask that `segment` wrote, with MASK.json beside it")
    parser.add_argument("--runs", metavar="FOLDER", help="folder to search for the run as well, at any depth")
    parser.set_defaults(in_options=lambda text: translate(text, parser))


def run(mask, runs, in_options):
    print(in_options(str(mk.explain(mask, runs=runs))))
