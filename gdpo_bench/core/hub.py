"""The Hugging Face hub: asked only where it can be found."""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import urlsplit

_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def give_up_where_there_is_no_hub() -> None:
    """Take what is cached, where the hub has no address here: its client would try for most of a minute, line by line.

    Sets `HF_HUB_OFFLINE`, as a user would. Behind a proxy, which finds addresses itself, nothing is done.
    """
    if "HF_HUB_OFFLINE" in os.environ or any(os.environ.get(name) for name in _PROXIES):
        return
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        for module, name in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
            if module in sys.modules:  # and has read the variable
                setattr(sys.modules[module], name, True)
