"""`python -m tests.ledger`: see command.py."""

import sys

from tests.ledger.command import main

if __name__ == "__main__":
    sys.exit(main())
