"""The leaderboard as a static page that works from a file: the tables' numbers, drawn, sortable and filterable."""

from gdpo_bench.leaderboard.show.page.document import render_page, render_site

__all__ = ["render_page", "render_site"]
