"""What can be wrong between a trainer and us."""

from gdpo_bench.core.errors import GdpoBenchError


class IntegrationError(GdpoBenchError, RuntimeError):
    """A trainer, or settings of it, that an environment or a normalizer cannot serve."""


class MissingExtraError(GdpoBenchError, ImportError):
    """The trainer is not installed."""
