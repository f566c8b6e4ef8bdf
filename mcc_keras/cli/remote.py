"""The options of `segment` that ask a model server."""

import mcc_keras as mk
from mcc_keras.cli.converters import list_of

DEFAULTS = {"model_name": "segmenter", "timeout_seconds": 60, "token_header": "authorization", "in_flight": 2}
DEFAULTS |= dict.fromkeys(("ca", "certificate", "key", "token_file"))


def add_server(parser):
    """Add the choice between a run and a server, and what a server asks for."""
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--run",
        metavar="RUN[,RUN]",
        type=list_of(str),
        help="folder that `train` wrote; several are averaged",
    )
    place.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="model server: gRPC, or http://HOST:PORT for REST; grpcs:// and https:// with TLS",
    )
    remote = parser.add_argument_group("with --server")
    remote.add_argument("--model-name", metavar="NAME", help="the server's name for the model (%(default)s)")
    remote.add_argument("--timeout-seconds", type=float, metavar="S", help="wait for an answer (%(default)s)")
    remote.add_argument("--in-flight", type=int, metavar="N", help="of many scans, ask for N at a time (%(default)s)")
    remote.add_argument("--ca", metavar="PEM", help="certificates of the authorities to trust; implies TLS")
    remote.add_argument("--certificate", metavar="PEM", help="the client's certificate")
    remote.add_argument("--key", metavar="PEM", help="its private key")
    remote.add_argument("--token-file", metavar="FILE", help="file with a token to send")
    remote.add_argument("--token-header", metavar="NAME", help="header of the token (%(default)s)")
    parser.set_defaults(**DEFAULTS)


def split_options(options, *, server, local):
    """Return the options of a server, which are taken out of `options`, and refuse those that have no meaning.

    Args:
        options: Of the command.
        server: The server, or None.
        local: Options that a run alone has, with their defaults; with a server they are taken out as well.

    Raises:
        UsageError: An option of a server without one, or one of a run with a server.
    """
    remote = {name: options.pop(name) for name in DEFAULTS}
    missing = {name: options.pop(name) for name in local} if server else {}
    wrong = [name for name, value in remote.items() if not server and value != DEFAULTS[name]]
    wrong += [name for name, value in missing.items() if value != local[name]]
    if wrong:
        names = " and ".join(f"`{name}`" for name in wrong)
        raise mk.errors.UsageError(f"{names} cannot be used with `{'server' if server else 'run'}`. Leave it out.")
    return remote
