"""BFCL's questions in the words of ToolRL's prompt.

The texts are ToolRL's (`benchmarks/BFCL/rlla_qwen.py` at 8cee13ec, Apache-2.0) and the remarks on languages
BFCL's (Apache-2.0), word for word, since a policy answers to the prompt that it was trained with.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

_SYSTEM = """\
You are a helpful multi-turn dialogue assistant capable of leveraging tool calls to solve user tasks and provide \
structured chat responses.

**Available Tools**
In your response, you can use the following tools:
{tools}

**Steps for Each Turn**
1. **Think:** Recall relevant context and analyze the current user goal.
2. **Decide on Tool Usage:** If a tool is needed, specify the tool and its parameters.
3. **Respond Appropriately:** If a response is needed, generate one while maintaining consistency across user queries.

**Output Format**
```plaintext
<think> Your thoughts and reasoning </think>
<tool_call>
{{"name": "Tool name", "parameters": {{"Parameter name": "Parameter content", "... ...": "... ..."}}}}
{{"name": "... ...", "parameters": {{"... ...": "... ...", "... ...": "... ..."}}}}
...
</tool_call>
<response> AI's final response </response>
```

**Important Notes**
1. You must always include the `<think>` field to outline your reasoning. Provide at least one of `<tool_call>` or \
`<response>`. Decide whether to use `<tool_call>` (possibly multiple times), `<response>`, or both.
2. You can invoke multiple tool calls simultaneously in the `<tool_call>` fields. Each tool call should be a JSON \
object with a "name" field and an "parameters" field containing a dictionary of parameters. If no parameters are \
needed, leave the "parameters" field an empty dictionary.
3. Refer to the previous dialogue records in the history, including the user's queries, previous `<tool_call>`, \
`<response>`, and any tool feedback noted as `<obs>` (if exists)."""
_SAYS = """\
<user> {content}
If there's no appropriate tools to apply or required parameters are missing, please directly inform me in your \
response without any tool call, or call the tool with the name as 'None'. Otherwise, you should use one or more \
necessary tool calls to complete the given task in this turn. </user>
"""
_REMARKS = {
    "java": ("Java", " Note that the provided function is in Java 8 SDK syntax."),
    "javascript": ("JavaScript", " Note that the provided function is in JavaScript syntax."),
}
_PYTHON_REMARK = " Note that the provided function is in Python 3 syntax."


def system_prompt(functions: Sequence[Mapping[str, Any]], category: str, messages: Sequence[Mapping[str, str]]) -> str:
    """The tools and the format of the reply, then what the task's own system messages say.

    Args:
        functions: The tools, as published.
        category: BFCL's category, which says in which language they are.
        messages: The task's messages.
    """
    tools = "\n".join(_tool(number, function, category) for number, function in enumerate(functions, start=1))
    own = [message["content"].strip() for message in messages if message["role"] == "system"]
    return "\n\n".join([_SYSTEM.format(tools=tools), *own])


def user_prompt(messages: Sequence[Mapping[str, str]]) -> str:
    """The dialogue so far, as one message."""
    said = "**Dialogue Records History**\n"
    for message in messages:
        if message["role"] == "user":
            said += _SAYS.format(content=message["content"].strip())
        elif message["role"] == "assistant":
            said += f"\n{message['content'].strip()}\n"
    return said.strip()


def _tool(number: int, function: Mapping[str, Any], category: str) -> str:
    language, remark = _REMARKS.get(category, (None, _PYTHON_REMARK))
    parameters = function["parameters"].get("properties", {})
    if language is not None:
        parameters = {name: _as_literal(declared, language) for name, declared in parameters.items()}
    return (
        f"{number}. Name: {function['name']}\nDescription: {function['description']}{remark}\n"
        f"Parameters: {json.dumps(parameters)}"
    )


def _as_literal(declared: Mapping[str, Any], language: str) -> dict[str, Any]:
    """A parameter whose value is to be written as a literal of the language, in a text."""
    told: dict[str, Any] = copy.deepcopy(dict(declared))
    kind = told["type"]
    if kind == "any":
        told["description"] += f" This parameter can be of any type of {language} object in string representation."
    else:
        told["description"] += f" This is {language} {kind} type parameter in string representation."
    if kind in ("ArrayList", "Array", "array"):
        items = told.pop("items")["type"]
        told["description"] += f" The list elements are of type {items}; they are not in string representation."
    if kind == "dict" and "properties" in told:
        schema = json.dumps(told.pop("properties"))
        told["description"] += (
            f" The dictionary entries have the following schema; they are not in string representation. {schema}"
        )
    told["type"] = "string"
    return told
