"""Entries as people and other programs read them: tables, plots, the page, records of other formats."""
