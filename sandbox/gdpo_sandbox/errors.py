"""Errors that a user of the sandbox can act on."""

from __future__ import annotations


class SandboxError(Exception):
    """Base of all errors of this package; the message says what to do."""


class EngineError(SandboxError):
    """No Docker engine answers, or it refuses what the sandbox needs."""


class ImageError(SandboxError):
    """The image is not there and cannot be built."""


class ProgramError(SandboxError, ValueError):
    """A `Program` or `Limits` that contradicts itself, or an argument that cannot be sent."""
