"""`python -m mcc_keras` is the command `mcc-keras`."""

import sys

from mcc_keras.cli import main

sys.exit(main())
