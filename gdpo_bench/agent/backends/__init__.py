"""What draws completions: the protocol, transformers and vLLM."""
