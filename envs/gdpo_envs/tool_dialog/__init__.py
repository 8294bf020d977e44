"""Dialogues with tools that really execute."""
