"""The environment acme/Sql-v0 for gdpo-bench."""
