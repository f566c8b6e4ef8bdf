"""`mcc-keras verify`."""

import mcc_keras as mk
from mcc_keras.cli.options import add_workers

SUMMARY = "compare every byte of prepared records with their manifest"


def add_arguments(parser):
    parser.add_argument("work", metavar="WORK", help="folder that `prepare` wrote")
    parser.add_argument("--sources", action="store_true", help="also compare the scans and masks they were made from")
    add_workers(parser)


def run(work, **options):
    found = mk.verify_records(work, **options)
    print(found)
    return mk.errors.DataError.exit_code if found.problems else 0
