"""The marks and phrases that are one token each to the mini MLLM, whatever its tokenizer learns beside them."""

from __future__ import annotations

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL = (END, START, STOP, VISION_START, VISION_END, IMAGE, VIDEO)
OFF_BY = ", off by"  # in how many attributes a picture differs from the one that is wanted
GRAMMAR = (OFF_BY, "user\n", "assistant\n", "system\n", "<think>", "</think>", "<answer>", "</answer>", '{"ranking":', "]}")
