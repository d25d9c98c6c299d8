"""Prompts -> the whole text that a model reads, by the checkpoint's own chat template.

A last message of the assistant is an answer begun: it stands at the end of the text, never closed and nothing of it trimmed. A "raw"
prompt is its own text behind what the tokenizer puts before every text, such as `<s>`; a picture in it is the processor's placeholder
and no more, so that what stands around it is the prompt's to write, as `Markup`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from jinja2 import TemplateError

from mmrerank.errors import FormatError, InputError
from mmrerank.types import Markup, Message, Part, Prompt

MARKER = "BEGUN5d1c70ANSWER"  # behind a begun answer while the template runs: what it trims and closes is told by it
REACH = 48  # letters of a prompt's end that the tokens of what follows may depend on
_TEXT_ONLY = "Show the texts of the items (view='text'), or take an image-text-to-text checkpoint, such as Qwen/Qwen2.5-VL-7B-Instruct."
_NO_TEMPLATE = "Use an instruction-tuned checkpoint, put its chat_template.jinja into the folder, or write raw prompts."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A prompt as one text."""

    text: str
    begun: str = ""  # its end, where an answer goes on with words of the prompt; "" where the template opens the answer


class Renderer:
    """Writes prompts as texts. Control tokens in a text that is no `Markup` are taken apart by a space."""

    def __init__(self, processor: Any, tokenizer: Any, name: str, *, kind: str, sees: bool) -> None:
        self._processor, self._tokenizer, self._name = processor, tokenizer, name
        self._kind, self._sees = kind, sees
        self._special = _special(processor, tokenizer)

    def __call__(self, prompt: Prompt) -> Rendered:
        """The text of a prompt.

        Raises:
            InputError: it has no message, a picture for a model that takes none, or a shape that the template refuses.
            FormatError: it needs a chat template, and the checkpoint has none.
        """
        if not prompt:
            raise InputError(f"a prompt for {self._name!r} has no message")
        if not self._sees and any(not isinstance(part, str) for message in prompt for part in message.parts):
            raise InputError(f"{self._name!r} is a text-only model ({self._kind}) and takes no pictures", hint=_TEXT_ONLY)
        if any(message.role == "raw" for message in prompt):
            return self._raw(prompt)
        try:
            return self._chat(prompt)
        except (ValueError, TypeError, TemplateError) as error:
            raise InputError(f"the chat template of {self._name!r} does not take the prompt: {error}") from error

    @cached_property
    def opening(self) -> str:
        """A prompt as the template writes it, up to where the answer begins; "" where there is no template for one."""
        try:
            return self((Message(role="user", parts=("a",)),)).text
        except (InputError, FormatError):
            return ""

    @property
    def has_template(self) -> bool:
        return bool(self._processor.chat_template or self._tokenizer.chat_template)

    def plain(self, text: str) -> str:
        """The text with a space in each special token, which only the template and the prompt's own markup may write."""
        return str(text) if isinstance(text, Markup) else self._special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    # ------------------------------------------------------------------

    def _raw(self, prompt: Prompt) -> Rendered:
        if len(prompt) > 1:
            raise InputError(f"a raw message is the whole prompt; got {len(prompt)} messages", hint="Join their parts into one.")
        text = self._before("".join(self._written(prompt[0].parts)))
        return Rendered(text=text, begun=self._end(text))

    def _chat(self, prompt: Prompt) -> Rendered:
        if not self.has_template:
            hint = _NO_TEMPLATE
            raise FormatError("the checkpoint has no chat template, which says how a prompt is written", path=self._name, hint=hint)
        *before, last = prompt
        begun = "".join(self._written(last.parts)) if last.role == "assistant" else ""
        opening = self._template(before if begun or last.role == "assistant" else prompt)
        if not begun:
            return Rendered(text=opening)
        text = self._begun(before, begun, opening)
        return Rendered(text=text, begun=self._end(text))

    def _begun(self, before: Sequence[Message], begun: str, opening: str) -> str:
        """The prompt with an answer begun, as the template places answers. One that it rewrites follows its opening as it is."""
        answer = Message(role="assistant", parts=(Markup(begun + MARKER),))
        head, marker, _ = self._template([*before, answer], opens=False).rpartition(MARKER)
        trimmed = begun.lstrip()  # of what stands before the marker a template can trim the beginning only
        if not marker or not head.endswith(trimmed):
            return opening + begun
        head = head[: len(head) - len(begun if head.endswith(begun) else trimmed)]
        added = head.removeprefix(opening).split() if head.startswith(opening) else []
        opens_twice = bool(added) and trimmed.startswith(added[0])  # such as <think>, of templates that write an empty one
        return (opening if opens_twice else head) + begun

    def _template(self, messages: Sequence[Message], *, opens: bool = True) -> str:
        conversation = [{"role": message.role, "content": self._content(message)} for message in messages]
        text = str(self._processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=opens))
        return self._before(text) if self._sees else text  # a text model's template writes all, as its tokenizer has it

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        """Templates of text models take a string, those of others a list of parts."""
        if not self._sees:
            return "".join(self._written(message.parts))
        return [{"type": "text", "text": self.plain(part)} if isinstance(part, str) else {"type": "image"} for part in message.parts]

    def _written(self, parts: Sequence[Part]) -> list[str]:
        """The parts as texts. Plain neighbours are one text, lest a control token be written in two halves."""
        texts = []
        for kind, run in groupby(parts, key=lambda part: Markup if isinstance(part, Markup) else str if isinstance(part, str) else None):
            if kind is None:
                texts += [self._placeholder for _ in run]
            else:
                texts.append(self.plain(kind("".join(str(part) for part in run))))
        return texts

    @cached_property
    def _placeholder(self) -> str:
        tokens = _placeholders(self._processor, ("image",))
        if not tokens:
            raise InputError(f"the processor of {self._name!r} names no token for a picture, so that no raw prompt can hold one")
        return tokens[0]

    def _before(self, text: str) -> str:
        """The text behind what the tokenizer puts before every text, unless it stands there already."""
        return text if text.startswith(self._bos) else self._bos + text

    @cached_property
    def _bos(self) -> str:
        whole, bare = (self._tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
        start = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), 0)
        return "".join(self._tokenizer.convert_ids_to_tokens(whole[:start]))

    def _end(self, text: str) -> str:
        """The last letters of a text, beginning before a special token that they would cut in two."""
        start = max(len(text) - REACH, 0)
        spans = (match.span() for match in self._special.finditer(text, max(start - REACH, 0)))
        return text[next((first for first, last in spans if first < start < last), start) :]


def _special(processor: Any, tokenizer: Any) -> re.Pattern[str]:
    """Finds every special token of two letters or more, the placeholders of pictures among them."""
    contents = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    words = {*contents, *tokenizer.all_special_tokens, *_placeholders(processor, ("image", "video", "audio"))}
    longest_first = sorted((word for word in words if len(word) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _placeholders(processor: Any, kinds: Sequence[str]) -> list[str]:
    """What stands in a text for a picture and its like, as far as the processor names them."""
    return [token for kind in kinds if isinstance(token := getattr(processor, f"{kind}_token", None), str)]
