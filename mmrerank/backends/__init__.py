"""How an MLLM is reached; one file per way."""
