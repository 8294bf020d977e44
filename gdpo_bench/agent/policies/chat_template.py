"""What a chat template offers and what it can carry, asked before a job starts."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import meta, nodes
from transformers.utils.chat_template_utils import _compile_jinja_template

from gdpo_bench.agent.language_model import Tokenizer
from gdpo_bench.agent.policy import ADVICE, TEMPLATE, Chat, ChatTemplateError, marked
from gdpo_bench.core import Message

_GIVEN = {"messages", "tools", "documents", "add_generation_prompt"}
"""Variables of a template that are not the user's to set."""


def template_options(tokenizer: Tokenizer) -> set[str]:
    """The options that a tokenizer's chat template has, such as `enable_thinking`."""
    source = tokenizer.get_chat_template()
    environment = _compile_jinja_template(source).environment
    tree = environment.parse(source)
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    asked = [test.node for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined")]
    asked += [default.node for default in tree.find_all(nodes.Filter) if default.name in ("default", "d")]
    own -= {node.name for node in asked if isinstance(node, nodes.Name)}  # set only where they are not given
    found = meta.find_undeclared_variables(tree) - own - set(environment.globals) - _GIVEN
    return {name for name in found if not name.endswith("_token")}


def check_conversation(chat: Chat, roles: Sequence[str], env: str) -> None:
    """Make sure that a template can carry an environment's conversations.

    Args:
        chat: The template.
        roles: Of a conversation's messages, the replies' among them.
        env: The environment, for messages.

    Raises:
        ChatTemplateError: The template refuses a role, leaves out what it says, or writes earlier messages
            otherwise once another follows.
    """
    messages, before = marked(roles), dict[str, str]()
    for end, role in enumerate(roles, start=1):
        replied = end == len(roles) or roles[end] == "assistant"
        if role == "assistant" or not replied:
            continue
        headers = _headers(chat, messages[:end], env)
        if any(headers[mark] != header for mark, header in before.items()):
            raise ChatTemplateError(
                f"{TEMPLATE} writes earlier messages otherwise once one of the role {role} follows, as in {env}, so a "
                f"dialogue cannot go on from what was read and drawn. {ADVICE}"
            )
        before = headers


def _headers(chat: Chat, messages: Sequence[Message], env: str) -> dict[str, str]:
    """Text of a message → what the template writes before it; without replies, which stay as they were drawn."""
    roles = ", ".join(message["role"] for message in messages)
    try:
        text = chat.render(messages)
    except ChatTemplateError as error:
        raise ChatTemplateError(f"{error} {env} holds such messages. {ADVICE}") from error
    headers: dict[str, str] = {}
    for message in messages:
        header, written, text = text.partition(message["content"])
        if not written:
            raise ChatTemplateError(
                f"{TEMPLATE} leaves out, or moves, what a message of the role {message['role']} says, and {env} holds "
                f"messages of the roles {roles}. {ADVICE}"
            )
        if message["role"] != "assistant":
            headers[message["content"]] = header
    return headers
