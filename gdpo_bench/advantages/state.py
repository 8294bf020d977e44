"""What a normalizer remembers from batch to batch.

A normalizer with a state offers it as torch's modules do: `state_dict()` returns it, in JSON, and
`load_state_dict(state)` takes it over. Training keeps it in checkpoints, and undoes what a batch did
to it from which nothing was learned. A normalizer without these methods must not remember anything.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from gdpo_bench.advantages.errors import StateError


@runtime_checkable
class Stateful(Protocol):
    """A normalizer that offers its state."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as JSON holds it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        ...


def normalizer_state(normalizer: Callable[..., Any]) -> dict[str, Any]:
    """A normalizer's state as JSON; empty for one that offers none.

    Raises:
        StateError: It is not what JSON holds.
    """
    if not isinstance(normalizer, Stateful):
        return {}
    state = normalizer.state_dict()
    try:
        same = json.loads(json.dumps(state)) == state
    except (TypeError, ValueError):
        same = False
    if not same or not isinstance(state, dict):
        raise StateError(
            f"{_title(normalizer)}: state_dict() must return a dict of numbers, texts, lists and such dicts, which "
            f"JSON holds as they are; got {state!r:.200}."
        )
    return state


def load_normalizer_state(normalizer: Callable[..., Any], state: dict[str, Any]) -> None:
    """Take over what `normalizer_state` gave of a normalizer of the same kind."""
    if isinstance(normalizer, Stateful):
        normalizer.load_state_dict(state)


@contextmanager
def state_unchanged(normalizer: Callable[..., Any]) -> Iterator[None]:
    """Calls within leave the normalizer's state as it was before."""
    state = normalizer_state(normalizer)
    try:
        yield
    finally:
        load_normalizer_state(normalizer, state)


def check_state_is_offered(normalizer: Callable[..., Any]) -> None:
    """Refuse a normalizer that says by its fields that it has a state, and does not offer it in JSON.

    Raises:
        StateError: It is a dataclass with a field that is no option; or its state is not what JSON holds.
    """
    normalizer_state(normalizer)
    if dataclasses.is_dataclass(normalizer) and not isinstance(normalizer, Stateful):
        kept = [field.name for field in dataclasses.fields(normalizer) if not field.init]
        if kept:
            raise StateError(_refusal(normalizer, f"keeps {', '.join(kept)} from batch to batch"))


def what_it_holds(normalizer: Callable[..., Any]) -> bytes:
    """An instance's attributes or what a function's closure holds, to be compared later.

    Returns:
        Nothing where these cannot be pickled.
    """
    held = dict(getattr(normalizer, "__dict__", {}))
    if inspect.isfunction(normalizer):
        held |= inspect.getclosurevars(normalizer).nonlocals
    try:
        return pickle.dumps(held)
    except Exception:  # whatever it holds may object in its own way
        return b""


def check_nothing_is_hidden(normalizer: Callable[..., Any], before: bytes) -> None:
    """Refuse a normalizer that has changed since, and does not offer what changed.

    Args:
        normalizer: The normalizer.
        before: What it held before it was called.

    Raises:
        StateError: It holds something else now.
    """
    if not isinstance(normalizer, Stateful) and what_it_holds(normalizer) != before:
        raise StateError(_refusal(normalizer, "changed while it was called"))


def _refusal(normalizer: Callable[..., Any], finding: str) -> str:
    return (
        f"{_title(normalizer)} {finding}, which no checkpoint would hold: a run that goes on from one would end with "
        "other numbers. Make it a dataclass with state_dict() and load_state_dict(state), whose state JSON can hold "
        "({} if no advantage depends on it), or leave checkpoint_every at 0."
    )


def _title(normalizer: Callable[..., Any]) -> str:
    return f"The normalizer {getattr(normalizer, '__qualname__', None) or type(normalizer).__qualname__}"
