"""A generator for pipelines of Haystack that needs no model. Haystack reads the types of its methods, so that they are no strings here."""

from collections.abc import Callable

from haystack import component
from haystack.dataclasses import StreamingChunk


@component
class Echo:
    """Answers with its prompt, word by word where somebody listens."""

    @component.output_types(replies=list[str])
    def run(self, prompt: str, streaming_callback: Callable[[StreamingChunk], None] | None = None) -> dict[str, list[str]]:
        if streaming_callback is not None:
            for word in prompt.split():
                streaming_callback(StreamingChunk(content=word))
        return {"replies": [prompt]}

    @component.output_types(replies=list[str])
    async def run_async(self, prompt: str, streaming_callback: Callable[[StreamingChunk], None] | None = None) -> dict[str, list[str]]:
        return self.run(prompt, streaming_callback)
