"""The names under which verl carries what we need."""

from __future__ import annotations

REWARD = "reward/"
"""`reward/<name>` is a reward of the environment, with gates applied, finite."""
APPLICABLE = "/applicable"
"""`reward/<name>/applicable`: 1.0 where the reward says something of the task, else 0.0."""
FAILED = "/failed"
"""`reward/<name>/failed`: 1.0 where its scorer failed, else 0.0."""
OPTIONS = "options"
"""In `extra_info`: the environment's options as JSON, since parquet has one type a column."""

MIXTURE = "environments"
"""In `extra_info`, where data are of several environments: all of them, as `mixture.write_mixture` writes them."""


def reward_names(columns: list[str]) -> list[str]:
    """The rewards that columns hold, sorted."""
    found = (column.removeprefix(REWARD) for column in columns if column.startswith(REWARD))
    return sorted(name for name in found if "/" not in name)
