"""`python -m loadtests.benchmark`: see command.py."""

import sys

from loadtests.benchmark.command import main

if __name__ == "__main__":
    sys.exit(main())
