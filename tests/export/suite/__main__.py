"""`python -m tests.export.suite`."""

import sys

from tests.export.suite.command import main

sys.exit(main())
