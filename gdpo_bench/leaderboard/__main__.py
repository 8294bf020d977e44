"""`python -m gdpo_bench.leaderboard`."""

import sys

from gdpo_bench.cli.leaderboard import main

if __name__ == "__main__":
    sys.exit(main())
