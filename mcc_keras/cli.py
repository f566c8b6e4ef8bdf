"""The command `mcc-keras`."""

import argparse


def main(argv=None):
    argparse.ArgumentParser(prog="mcc-keras", description=__doc__).parse_args(argv)
    return 0
