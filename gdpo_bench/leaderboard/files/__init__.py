"""Entries and what lies beside them: their format, where they are kept, and what they must hold to."""
