"""The command `mcc-keras`: from a scan on disk to a served mask. One file per command; no logic beyond its options."""

from mcc_keras.cli.main import main
from mcc_keras.cli.parser import build_parser

__all__ = ["build_parser", "main"]
