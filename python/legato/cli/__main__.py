"""``python -m legato.cli``."""

import sys

from legato.cli._main import main

sys.exit(main())
