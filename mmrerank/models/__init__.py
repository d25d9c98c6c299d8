"""Networks that transformers has not; each with its weights as safetensors beside a card."""
