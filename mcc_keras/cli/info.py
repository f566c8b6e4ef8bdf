"""`mcc-keras info`."""

import mcc_keras as mk

SUMMARY = "show versions, processor, oneDNN, devices, memory and extras"


def add_arguments(parser):
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(json):
    environment = mk.describe_environment()
    print(environment.to_json() if json else str(environment))
