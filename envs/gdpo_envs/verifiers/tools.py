"""Toolsets of verifiers, called in this process: each is registered as for its MCP server, which is not started.

What verifiers does over HTTP happens here in memory: a toolset gets its task once, and the rollout's shared state
before each call, and hands a changed state back. A tool's error is a text for the model, as there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import verifiers.v1 as vf
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter
from verifiers.v1.harnesses.utils.compaction import bound_tool_message
from verifiers.v1.harnesses.utils.mcp import mcp_content_to_chat_content

_rollout: ContextVar[vf.Trace] = ContextVar("rollout")
"""The trace whose tool is being called; a toolset of the whole taskset serves many."""


@dataclass(frozen=True)
class Served:
    """A toolset that is ready to be called."""

    toolset: vf.Toolset
    server: MCPServer

    @classmethod
    async def start(cls, toolset: vf.Toolset, data: vf.TaskData | None = None) -> Served:
        """Set a toolset up.

        Args:
            toolset: It.
            data: Of the task that it is for; None if it is for all.
        """
        toolset._pull_state = lambda: _pull(toolset)
        toolset._push_state = lambda before: _push(toolset, before)
        await toolset._exit_stack.__aenter__()
        await toolset.setup()
        if data is not None:  # a copy, as a server has one
            await toolset.setup_task(type(data).model_validate_json(data.model_dump_json()))
        silent = logging.NullHandler()
        logging.root.addHandler(silent)  # or MCP would set up the logging of the whole process
        try:
            server = MCPServer(toolset.server_name or type(toolset).__name__)
        finally:
            logging.root.removeHandler(silent)
        toolset.register(server)
        return cls(toolset, server)

    async def close(self) -> None:
        """Free what the toolset holds."""
        await self.toolset._exit_stack.aclose()

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """The content of what a tool returns."""
        try:
            result = await self.server.call_tool(name, arguments)
        except MCPError:
            raise
        except Exception as error:  # as MCP's own handler does
            return str(error)
        return mcp_content_to_chat_content(result.content)


@dataclass(frozen=True)
class Tools:
    """All tools of one rollout, by the names that a model calls them by."""

    trace: vf.Trace
    own: Sequence[Served]
    """Toolsets that this rollout alone has."""
    schemas: list[vf.Tool] = field(default_factory=list)
    _places: dict[str, tuple[Served, str]] = field(default_factory=dict)

    @classmethod
    async def start(cls, trace: vf.Trace, toolsets: Sequence[vf.Toolset], shared: Sequence[Served]) -> Tools:
        """Set up the toolsets of a rollout.

        Args:
            trace: The rollout's.
            toolsets: Those of its task, fresh ones.
            shared: Those of the taskset, which are ready.

        Raises:
            ValueError: Two tools have the same name.
        """
        tools = cls(trace, [await Served.start(toolset, trace.task.data) for toolset in toolsets])
        for served in (*shared, *tools.own):
            prefix = served.toolset.server_name
            for tool in await served.server.list_tools():
                name = f"{prefix}_{tool.name}" if prefix else tool.name
                if name in tools._places:
                    raise ValueError(f"two tools are called {name!r}; give their toolsets a TOOL_PREFIX each")
                tools._places[name] = served, tool.name
                tools.schemas.append(
                    vf.Tool(name=name, description=tool.description or "", parameters=tool.input_schema)
                )
        return tools

    async def answer(self, call: vf.ToolCall) -> vf.ToolMessage:
        """What a call gives, as verifiers' chat program tells it."""
        token = _rollout.set(self.trace)
        try:
            served, name = self._places.get(call.name, (None, ""))
            content = (
                f"error: unknown tool {call.name!r}"
                if served is None
                else await served.call(name, json.loads(call.arguments))
            )
        finally:
            _rollout.reset(token)
        message = {"role": "tool", "tool_call_id": call.id, "content": content, "name": call.name}
        return vf.ToolMessage.model_validate(bound_tool_message(message))

    async def close(self) -> None:
        """Free what the rollout's own toolsets hold."""
        for served in self.own:
            await served.close()


async def _pull(toolset: vf.Toolset) -> vf.State:
    state = _rollout.get().state
    return toolset._state_adapter.validate_json(TypeAdapter(type(state)).dump_json(state))


async def _push(toolset: vf.Toolset, before: bytes) -> None:
    after, trace = toolset._state_adapter.dump_json(toolset.state), _rollout.get()
    if after != before:
        trace.state = TypeAdapter(type(trace.state)).validate_json(after)
