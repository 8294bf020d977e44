"""A resources server of NeMo Gym that verifies with our rewards.

    python app.py, where app.py is two lines: import `GdpoBenchServer`, and `GdpoBenchServer.run_webserver()`.

Every row of the data names its environment, task and options, so one server serves them all.
"""

from __future__ import annotations

from typing import Any

from nemo_gym.base_resources_server import (
    BaseMultiRewardVerifyResponse,
    BaseResourcesServerConfig,
    BaseVerifyRequest,
    SimpleResourcesServer,
)
from pydantic import ConfigDict, Field

from gdpo_bench.integrations.nemo_gym.contract import reply_text, verification
from gdpo_bench.integrations.scoring import beside


class VerifyRequest(BaseVerifyRequest):  # type: ignore[misc, unused-ignore]
    """A reply, and what the data says of its prompt."""

    env: str
    task_id: str
    options: dict[str, Any] = Field(default_factory=dict)


class VerifyResponse(BaseMultiRewardVerifyResponse):  # type: ignore[misc, unused-ignore]
    """Beside the declared fields, each reward under its name."""

    model_config = ConfigDict(extra="allow")


class GdpoBenchServer(SimpleResourcesServer):  # type: ignore[misc, unused-ignore]
    """Verifies replies to tasks of our environments."""

    config: BaseResourcesServerConfig

    async def verify(self, body: VerifyRequest) -> VerifyResponse:
        """The rewards of a reply; see `contract` for what stands in which field."""
        reply = reply_text(body.response.output)
        found = await beside(verification, body.env, body.task_id, reply, body.options)
        return VerifyResponse(**body.model_dump(), **found)
