"""What a model and its tools say to each other, as text and as verifiers' messages.

Tools stand in the prompt and calls in the reply, as in `gdpo/ToolDialog-v0`:

    <think>…</think><tool_call>{"name": "weather_today", "parameters": {"city": "Oslo"}}</tool_call>

A reply becomes a message as a model server makes one (vLLM's `hermes` parser): what stands before the first call is its
content, and a reply whose calls cannot be read calls no tool.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gdpo_bench.core import Message
from gdpo_envs.tool_calling.toolrl import parse_calls
from gdpo_envs.verifiers.taskset import package

INSTRUCTIONS = """You have these tools:
{tools}
To use them, end a reply with calls, one JSON object a line:
<tool_call>
{{"name": "…", "parameters": {{…}}}}
</tool_call>
You will be told their results. A reply without calls is your answer."""


def assistant_message(reply: str, turn: int, tools: bool = True) -> Any:
    """A reply as a message of verifiers.

    Args:
        reply: What the policy wrote.
        turn: How many replies came before, for ids of calls.
        tools: Whether there are any; without, nothing is a call.
    """
    vf = package()
    calls = parse_calls(reply) if tools else None
    if not calls:
        return vf.AssistantMessage(content=reply or None)
    return vf.AssistantMessage(
        content=reply[: reply.index("<tool_call>", max(reply.rfind("</think>"), 0))] or None,
        tool_calls=[
            vf.ToolCall(
                id=f"call-{turn}-{number}",
                name=call["name"],
                arguments=json.dumps(call["parameters"], ensure_ascii=False),
            )
            for number, call in enumerate(calls)
        ],
    )


def opening(messages: Sequence[Any], tools: Sequence[Any]) -> list[Message]:
    """The beginning of a conversation as the policy is shown it: the tools stand in the system prompt."""
    shown = [_shown([message]) for message in messages]
    if not tools:
        return shown
    says = INSTRUCTIONS.format(tools="\n".join(map(_signature, tools)))
    if shown and shown[0]["role"] == "system":
        return [{"role": "system", "content": f"{shown[0]['content']}\n\n{says}"}, *shown[1:]]
    return [{"role": "system", "content": says}, *shown]


def answer(messages: Sequence[Any]) -> Message:
    """What came after the last reply, as one message: results of tools one a line, or what a user said."""
    replies = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return _shown(messages[replies[-1] + 1 :])


def _signature(tool: Any) -> str:
    return json.dumps(
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}, ensure_ascii=False
    )


def _shown(messages: Sequence[Any]) -> Message:
    contents = [message.content or "" for message in messages]
    if not all(isinstance(content, str) for content in contents):
        raise ValueError(f"a {messages[-1].role} message shows something else than text, such as an image")
    text = "\n".join(contents).encode("utf-8", "backslashreplace").decode()  # half a character, no tokenizer reads
    return {"role": messages[-1].role, "content": text}
