"""The parser of `mcc-keras`. A new command is one file beside this one and its name in `COMMANDS`."""

import argparse
import importlib

import mcc_keras as mk

# Each is a module with SUMMARY, `add_arguments(parser)` and `run(**options)`, in the order of `mcc-keras --help`.
COMMANDS = (
    "demo",
    "check",
    "prepare",
    "verify",
    "preview",
    "view",
    "train",
    "runs",
    "evaluate",
    "compare",
    "score",
    "segment",
    "explain",
    "export",
    "info",
)
DESCRIPTION = """From a scan on disk to a served mask. Each command calls public functions of mcc_keras.

Exit codes: 0 done, 1 a bug of the package, 2 usage, 3 data, 4 interrupted, 5 environment (disk, memory, server, extra).
"""


def build_parser():
    """Return the parser of `mcc-keras` without importing Keras or TensorFlow."""
    parser = Parser(
        prog="mcc-keras",
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mcc_keras {mk.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = importlib.import_module(f"mcc_keras.cli.{name}")
        summary = f"{command.SUMMARY[0].upper()}{command.SUMMARY[1:]}."
        subparser = commands.add_parser(name, help=command.SUMMARY, description=summary, allow_abbrev=False)
        command.add_arguments(subparser)
        subparser.set_defaults(command=command.run, parser=subparser)
    return parser


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line that names the help of its own command."""

    def parse_known_args(self, args=None, namespace=None):
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message):
        self.exit(mk.errors.UsageError.exit_code, f"{self.prog}: {message} (see {self.prog} --help)\n")
