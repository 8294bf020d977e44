"""Checks of options that several environments have."""

from __future__ import annotations

from gdpo_bench.core import DeclarationError


def checked_share(name: str, value: float) -> float:
    """The value, if it is a share.

    Raises:
        DeclarationError: It lies outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise DeclarationError(f"{name} is a share and must lie in [0, 1]; got {value}.")
    return value


def checked_count(name: str, value: int, at_least: int = 1) -> int:
    """The value, if it is large enough.

    Raises:
        DeclarationError: It is smaller than `at_least`.
    """
    if value < at_least:
        raise DeclarationError(f"{name} must be at least {at_least}; got {value}.")
    return value
