"""Instructions of several constraints, each of which can be checked and is a reward."""
