"""`python -m gdpo_bench.run`."""

import sys

from gdpo_bench.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
