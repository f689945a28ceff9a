"""`python -m openo3.cli`, which is the command `openo3`."""

import sys

from openo3.cli.main import main

sys.exit(main())
