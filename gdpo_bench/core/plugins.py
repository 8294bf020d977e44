"""Importing code of others: packages' plug-ins, and modules in the user's folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from gdpo_bench.core.errors import GdpoBenchError, RegistrationError
from gdpo_bench.core.foreign import described, raised_at, summary


def import_plugin(module: str, needed_by: str) -> ModuleType:
    """A module of somebody else, from the current folder too.

    Args:
        module: Its dotted name.
        needed_by: What it is imported for, for the message.

    Returns:
        The module.

    Raises:
        RegistrationError: It cannot be imported, whatever it raises; so a broken plug-in fails alone.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")  # also when started as a console script
    try:
        return importlib.import_module(module)
    except GdpoBenchError as error:
        raise error.at(raised_at(error)) from None
    except ModuleNotFoundError as error:
        missing = f"{module}.".startswith(f"{error.name}.")
        cause = f"{summary(error)}, neither here in {Path.cwd()} nor installed" if missing else described(error)
        raise RegistrationError(f"{needed_by}: importing {module!r} failed: {cause}") from error
    except (Exception, SystemExit) as error:
        raise RegistrationError(f"{needed_by}: importing {module!r} failed: {described(error)}") from error
