"""Models in GGUF files, dequantized once into a folder that training can read.

transformers reads GGUF, which takes a minute for the smallest model, but neither trains nor saves what it read: the
model is built anew from its weights, in float32.
"""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack, redirect_stderr
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdpo_bench.agent.policies.cache import cache_root, cached
from gdpo_bench.agent.policies.packaged import PACKAGED, file_hash, packaged_gguf
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import DataError, GdpoBenchError, content_hash
from gdpo_bench.core.files import WriteError

_CODE = 1
"""Version of the code that makes folders: raised when it makes another one, so that no older one is taken."""
FILE, PACKAGE = "gguf:", "package:"
"""What a model's name begins with that is a GGUF file, or a packaged model."""


def is_gguf(model: str) -> bool:
    """Whether a model is named as a GGUF file or a packaged one, and not as a folder or on the hub."""
    return model.startswith((FILE, PACKAGE))


def gguf_hash(model: str) -> str:
    """SHA-256 of the GGUF file that `gguf:FILE` or `package:NAME` stands for.

    Raises:
        DataError: There is no such file, or it is no GGUF.
    """
    if model.startswith(PACKAGE):
        return PACKAGED[model.removeprefix(PACKAGE)].sha256
    path = Path(model.removeprefix(FILE)).expanduser()
    try:
        with path.open("rb") as file:
            begin = file.read(4)
        found = file_hash(path)
    except OSError as error:
        raise DataError(f"Cannot read the GGUF file {path}: {error.strerror or error}.") from error
    if begin != b"GGUF":
        raise DataError(
            f"{path} is no GGUF file: it begins with {begin!r}. A folder in the Hugging Face layout is named hf:FOLDER."
        )
    return found


def gguf_folder(model: str) -> Path:
    """The folder that a GGUF became, from the cache or made now.

    Args:
        model: `gguf:FILE` or `package:NAME`.

    Raises:
        DataError: There is no such file, it cannot be fetched, is damaged, or is of an architecture that transformers
            does not read.
        WriteError: The cache cannot be written to.
    """
    sha256 = gguf_hash(model)
    versions = {name: metadata.version(name) for name in ("transformers", "tokenizers")}
    key = content_hash({"gguf": sha256, "code": _CODE, "versions": versions})
    origin: dict[str, Any] = {"model": model, "sha256": sha256}
    if model.startswith(PACKAGE):
        packaged = PACKAGED[model.removeprefix(PACKAGE)]
        origin |= {"title": packaged.title, "package": packaged.requirement, "licence": packaged.licence}
    with _alone(key):  # processes that start together would each fetch it, and dequantize it for a minute
        return cached("gguf", key, "the dequantized model", origin, lambda: _read(model))


def _alone(key: str) -> FileLock:
    root = cache_root("gguf")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"Cannot keep models in {root}: {error}. Name another folder with GDPO_BENCH_CACHE."
        ) from error
    return FileLock(root / f".{key}.lock")


def _read(model: str) -> Policy:
    for needed in ("gguf", "accelerate"):
        if find_spec(needed) is None:
            raise GdpoBenchError(f"Reading GGUF files needs the package {needed}: pip install {needed}")
    with ExitStack() as stack:
        path = (
            stack.enter_context(packaged_gguf(PACKAGED[model.removeprefix(PACKAGE)]))
            if model.startswith(PACKAGE)
            else Path(model.removeprefix(FILE)).expanduser()
        )
        print(f"Dequantizing {path.name}, once; it takes a minute or more.", file=sys.stderr)
        return dequantized(path)


def dequantized(path: Path) -> Policy:
    """A GGUF's model with weights in float32, and its tokenizer.

    Raises:
        DataError: The file is damaged, lacks weights, or is of an architecture that transformers does not read.
    """
    advice = "Take a whole file of an architecture that transformers reads from GGUF, such as llama or qwen2."
    models: Any = AutoModelForCausalLM
    try:
        with redirect_stderr(io.StringIO()):  # a bar, and a table of what is missing
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, padding_side="left")
            read, report = models.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # a stranger's file can make its reader raise anything
        why = str(error).strip().partition("\n")[0][:200].rstrip(".") or type(error).__name__
        raise DataError(f"Cannot read the GGUF file {path}: {why}. {advice}") from error
    if report["missing_keys"]:  # which transformers would fill with random numbers
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise DataError(f"The GGUF file {path} lacks weights of its model: {names}. {advice}")
    config = read.config
    del config.quantization_config
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    return Policy(model, tokenizer)
