"""The tasks of the package reasoning-gym (https://github.com/open-thought/reasoning-gym, Apache-2.0), if installed."""
