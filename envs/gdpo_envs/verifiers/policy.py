"""The policy as an agent of verifiers: its replies come from an exchange, and no program or model server is started.

verifiers' own `Rollout` keeps the trace, the hooks, the stop conditions and the limit on turns. What is replaced is
what it would start outside of this process: the harness (here a chat loop as that of its `null` harness, which calls
tools and asks again), the server that intercepts model calls (the loop takes its steps around a call), the servers of
tools, and the machine, of which there is none.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import verifiers.v1 as vf
from verifiers.v1 import graph
from verifiers.v1.agent import Interaction, _EpisodeAgent
from verifiers.v1.harness import HarnessSession
from verifiers.v1.interception import Interception
from verifiers.v1.interception.base import Slot
from verifiers.v1.runtimes import ProgramResult, Runtime, SubprocessConfig
from verifiers.v1.runtimes.subprocess import SubprocessRuntime
from verifiers.v1.session import RolloutSession
from verifiers.v1.trace import ModelCall

from gdpo_envs.verifiers.calls import assistant_message
from gdpo_envs.verifiers.exchange import Exchange
from gdpo_envs.verifiers.scoring import Outcome, scored
from gdpo_envs.verifiers.tools import Served, Tools

HARNESS = "null"
"""Whose chat loop this is: a model, and the taskset's tools alone."""
MODEL = "policy"
Asking = Exchange[vf.Request, Any]


class Sessions(Interception):  # type: ignore[misc, unused-ignore]
    """Keeps the sessions of rollouts, by their traces' ids, in place of a server."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, RolloutSession] = {}

    async def start(self) -> None:
        """Nothing to start."""

    def acquire(self, session: RolloutSession) -> AbstractAsyncContextManager[Slot]:
        """Keep a session; its address is never used."""
        return self._acquired(session)

    @asynccontextmanager
    async def _acquired(self, session: RolloutSession) -> AsyncIterator[Slot]:
        self.of[session.trace.id] = session
        yield "http://policy.invalid", "", ""


class Nowhere(SubprocessRuntime):  # type: ignore[misc, unused-ignore]
    """No machine: what asks for one fails."""

    async def run(self, *args: Any, **options: Any) -> ProgramResult:
        """Refuse.

        Raises:
            SandboxError: Always.
        """
        raise vf.SandboxError("no program is run here: a policy replies in a machine of nobody")

    open_process = run_background = _read = write = run


class Policy(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc, unused-ignore]
    """verifiers' chat loop, with the exchange in place of a model."""

    APPENDS_SYSTEM_PROMPT = SUPPORTS_MCP = SUPPORTS_RESUME = True
    EXECUTES_CODE = NEEDS_CONTAINER = False

    def __init__(self, exchange: Asking, shared: Sequence[Served]) -> None:
        """For one episode.

        Args:
            exchange: Where replies come from.
            shared: The taskset's own toolsets.
        """
        super().__init__(vf.HarnessConfig(id=HARNESS))
        self.exchange, self.shared = exchange, shared
        self.sessions = Sessions()
        self.tasks: dict[str, vf.Task] = {}
        """Trace's id → task as it came."""
        self.tools: dict[str, Tools] = {}
        self.outcomes: dict[str, Outcome] = {}
        """Trace's id → its task's rewards."""

    def taken(self, task: vf.Task) -> vf.Task:
        """A task whose tools are not served, and whose rewards are called one by one where one of them raises."""
        copied = copy.copy(task)
        copied.toolsets = lambda config: []
        copied.score = partial(self._score, copied)
        return copied

    async def _score(self, task: vf.Task, trace: vf.Trace, runtime: Runtime | None = None) -> None:
        self.exchange.conclude()
        self.outcomes[trace.id] = await scored(task, trace)

    async def session(self, ctx: Any, trace: vf.Trace, *args: Any, **kwargs: Any) -> HarnessSession:
        """Set up the rollout's tools, which end with its session."""
        task = self.tasks[trace.id]
        self.tools[trace.id] = await Tools.start(trace, type(task).toolsets(task.config), self.shared)
        return _Session(self, ctx, trace, *args, **kwargs)

    async def launch(self, ctx: Any, trace: vf.Trace, *args: Any, **kwargs: Any) -> ProgramResult:
        """The conversation until a reply calls no tool, or something stops it."""
        data, tools = args[-1], self.tools[trace.id]
        system, prompt = self.resolve_prompt(data)
        messages = [] if not system else [vf.SystemMessage(content=system)]
        messages += [vf.UserMessage(content=prompt)] if isinstance(prompt, str) else prompt or []
        while reply := await self._turn(self.sessions.of[trace.id], messages, tools.schemas):
            messages.append(reply)
            for call in reply.tool_calls or ():
                messages.append(await tools.answer(call))
            if not reply.tool_calls:
                break
        return ProgramResult(exit_code=0, stdout="", stderr="")

    async def _turn(self, session: RolloutSession, messages: list[Any], tools: list[vf.Tool]) -> Any:
        """A reply to the messages, recorded as the interception server does; None where the rollout stops."""
        trace, request = session.trace, vf.Request(messages=messages, tools=tools or None)
        if session.limits.reached(trace):  # what the last reply led to is still shown
            await self.exchange.ask(request)
        if await session.refused():
            return None
        request, _, stopped = await session.rewrite_request(request)
        turn = graph.prepare_turn(trace, request.messages, request.tools)
        if stopped:
            turn.commit_prompt()
            return trace.stop(stopped)
        reply = await self.exchange.ask(request)
        if reply is None:
            return trace.stop("max_turns")
        text = reply.encode("utf-8", "backslashreplace").decode()
        message = assistant_message(text, trace.num_turns, tools=bool(tools))
        response = vf.Response(
            id=f"{trace.id}-{trace.num_turns}",
            created=0,
            model=MODEL,
            message=message,
            finish_reason="tool_calls" if message.tool_calls else "stop",
        )
        _, _, stopped = await session.rewrite_response(response)
        node = turn.commit(response)
        trace.calls.append(ModelCall(node=node, model=MODEL, finish_reason=response.finish_reason))
        stopped = stopped or await session.gate_tool_calls(node)
        return trace.stop(stopped) if stopped else message


class _Session(HarnessSession):  # type: ignore[misc, unused-ignore]
    async def close(self) -> None:
        """Free the tools, before anything is scored."""
        if not self._closed:
            await self.harness.tools[self.trace.id].close()
        await super().close()


class Seat(_EpisodeAgent):  # type: ignore[misc, unused-ignore]
    """The agent that an Env of the author's runs, or talks with as its user."""

    def __init__(self, name: str, config: vf.AgentConfig, policy: Policy, completed: list[vf.Trace]) -> None:
        """For one episode.

        Args:
            name: As the Env's configuration has it.
            config: Likewise, with the limit on turns.
            policy: Who replies.
            completed: Where finished traces go.
        """
        pinned = {"model": MODEL, "harness": policy.config, "runtime": SubprocessConfig()}
        super().__init__(
            config.model_copy(update=pinned),
            interception=policy.sessions,
            name=name,
            shared_tools={},
            task_cls=vf.Task,
            gate=None,
            completed=completed,
            on_trace=None,
            on_discard=None,
            warned_resources=set(),
        )
        self.harness = policy

    async def run(self, task: vf.Task, **options: Any) -> vf.Trace:
        """A rollout of one segment."""
        return await super().run(self.harness.taken(task), runtime=Nowhere(SubprocessConfig()), on_trace=self._of(task))

    def interaction(self, task: vf.Task, **options: Any) -> AbstractAsyncContextManager[Interaction]:
        """A rollout in which the caller is the user."""
        taken, nowhere = self.harness.taken(task), Nowhere(SubprocessConfig())
        talk: AbstractAsyncContextManager[Interaction]
        talk = super().interaction(taken, runtime=nowhere, on_trace=self._of(task))
        return talk

    def _of(self, task: vf.Task) -> Any:
        return lambda trace: self.harness.tasks.__setitem__(trace.id, task)

    def provision(self, task: vf.Task | None = None) -> Any:
        """Refuse.

        Raises:
            SandboxError: Always.
        """
        raise vf.SandboxError("no machine is provisioned here: a policy only replies")

    def _rollout_params(self, *args: Any) -> dict[str, Any]:
        """Without a time limit for the agent: a policy replies to many episodes in turn."""
        params: dict[str, Any] = super()._rollout_params(*args)
        return params | {"timeouts": replace(params["timeouts"], agent=None)}
