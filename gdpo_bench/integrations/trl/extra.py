"""The TRL that is installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from gdpo_bench.integrations.errors import IntegrationError, MissingExtraError

TESTED = "1.16"
"""The series whose internals `trainer` has been read and tested against."""
_INSTALL = "pip install 'gdpo-bench[trl]'"


def import_trl() -> ModuleType:
    """TRL itself.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("trl")
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"This needs TRL: {_INSTALL} (missing: {error.name}).") from error


def check_version() -> None:
    """Refuse a TRL whose advantages we do not know how to replace.

    Raises:
        IntegrationError: Another series is installed.
    """
    version = str(import_trl().__version__)
    if version != TESTED and not version.startswith(f"{TESTED}."):
        raise IntegrationError(
            f"NormalizerGRPOTrainer replaces advantages inside TRL {TESTED}, and TRL {version} is installed, where "
            f"they may be computed or used elsewhere: {_INSTALL}. TRL's own GRPOTrainer takes what TRLEnvironment "
            "offers in any version."
        )
