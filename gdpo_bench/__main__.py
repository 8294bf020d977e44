"""`python -m gdpo_bench` is the `gdpo-bench` command."""

import sys

from gdpo_bench.cli.main import main

sys.exit(main())
