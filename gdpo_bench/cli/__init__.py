"""Command lines: the only room that knows jobs and the leaderboard at once."""
