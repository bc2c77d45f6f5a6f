"""`python -m eftraind`: the same as the `eftraind` command."""

import sys

from eftraind.cli import main

if __name__ == "__main__":
    sys.exit(main())
