"""The HTTP backend against a server on loopback: what it sends, what it reads, what it tries again."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from typing import Any

import numpy as np
import pytest
from chat_server import Reply, failed, said, serving
from makers import picture
from PIL import Image

from mmrerank.backends.chat_http import ChatHttp, Options
from mmrerank.errors import BackendError, InputError
from mmrerank.rerankers import query_likelihood
from mmrerank.types import Candidate, Decoding, Item, Markup, Message, Prompt, Query


def question(text: str, *pictures: Image.Image) -> Prompt:
    return (Message(role="system", parts=("be brief",)), Message(role="user", parts=(text, *pictures)))


def client(url: str, **options: Any) -> ChatHttp:
    return ChatHttp(Options(server=f"{url}#some/model", **{"backoff_s": 0.01, **options}))


def words_of(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def test_the_request_is_a_chat_completion_and_the_picture_the_very_pixels() -> None:
    with serving(lambda body, n: said("red")) as server:
        decoding = Decoding(max_tokens=9, temperature=0.5, stop=("###",), seed=3)
        (answer,) = client(server.url).generate([question("which colour?", picture(3))], decoding)
    assert (answer.text, answer.finished) == ("red", "stop")
    assert (answer.cost.calls, answer.cost.prompt_tokens, answer.cost.generated_tokens) == (1, 7, 2)
    (body,) = server.requests
    assert server.paths == ["/v1/chat/completions"]
    assert {name: body[name] for name in ("model", "max_tokens", "temperature", "stop", "seed")} == {
        "model": "some/model", "max_tokens": 9, "temperature": 0.5, "stop": ["###"], "seed": 3,
    }  # fmt: skip
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    text, image = body["messages"][1]["content"]
    assert text == {"type": "text", "text": "which colour?"}
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), np.asarray(picture(3)))


def test_answers_keep_their_order_although_they_come_out_of_order() -> None:
    def answer(body: dict[str, Any], n: int) -> Any:
        number = int(words_of(body))
        time.sleep(0.05 * ((7 - number) % 4))
        return said(f"answer {number}")

    with serving(answer) as server:
        answers = client(server.url, concurrency=4).generate([question(f"{n}") for n in range(12)])
    assert [a.text for a in answers] == [f"answer {n}" for n in range(12)]


def test_choices_are_read_from_the_likeliest_tokens_with_their_spellings_added() -> None:
    with serving(lambda body, n: said("Yes", tops={"Yes": -1.0, " Yes": -2.0, "yes": -0.5, "Maybe": -3.0})) as server:
        scores = client(server.url).choice_logprobs([question("?")], ["Yes", "No"])
    assert scores.logprobs[0, 0] == pytest.approx(np.logaddexp(-1.0, -2.0))
    assert np.isneginf(scores.logprobs[0, 1])
    assert (server.requests[0]["max_tokens"], server.requests[0]["logprobs"], server.requests[0]["top_logprobs"]) == (1, True, 20)


def test_a_server_without_logprobs_or_without_the_choices_says_so() -> None:
    with serving(lambda body, n: said("Yes")) as server, pytest.raises(BackendError, match="no log-probabilities"):
        client(server.url).choice_logprobs([question("?")], ["Yes", "No"])
    tops = {"The": -0.1, "A": -2.0}
    with serving(lambda body, n: said("The", tops=tops)) as server, pytest.raises(BackendError, match="begin with 'The', 'A'"):
        client(server.url).choice_logprobs([question("?")], ["Yes", "No"])
    with pytest.raises(InputError, match="at least one letter"):
        client("http://127.0.0.1:1").choice_logprobs([question("?")], ["Yes", ""])


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with serving(lambda body, n: failed(status, "busy", Retry_After="0") if n < 2 else said("done")) as server:
        assert client(server.url).generate([question("?")])[0].text == "done"
    assert len(server.requests) == 3


def test_what_does_not_pass_is_given_up_with_what_the_server_said() -> None:
    with serving(lambda body, n: failed(503, "overloaded", Retry_After="0")) as server:
        with pytest.raises(BackendError, match="says 503: overloaded") as caught:
            client(server.url, retries=2).generate([question("?")])
        assert caught.value.retryable
        assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "hint"), [(400, ""), (401, "MMRERANK_API_KEY"), (404, "models lists")])
def test_what_cannot_pass_is_not_tried_again(status: int, hint: str) -> None:
    with serving(lambda body, n: failed(status, "no such model")) as server:
        with pytest.raises(BackendError, match="no such model") as caught:
            client(server.url).generate([question("?")])
        assert not caught.value.retryable
        assert hint in caught.value.hint
        assert "some/model" in caught.value.message
        assert len(server.requests) == 1


def test_the_server_says_how_long_to_wait() -> None:
    waits: list[float] = []

    def answer(body: dict[str, Any], n: int) -> Any:
        waits.append(time.monotonic())
        return failed(429, "slow down", Retry_After="0.3") if n == 0 else said("done")

    with serving(answer) as server:
        client(server.url).generate([question("?")])
    assert waits[1] - waits[0] >= 0.3


def test_a_refusal_is_an_answer_and_no_error() -> None:
    with serving(lambda body, n: failed(400, "blocked", code="content_filter")) as server:
        assert client(server.url).generate([question("?")])[0].finished == "refused"
    with serving(lambda body, n: said("", reason="content_filter")) as server:
        assert client(server.url).generate([question("?")])[0].finished == "refused"


def test_an_answer_cut_off_is_known_as_such() -> None:
    with serving(lambda body, n: said("and then", reason="length")) as server:
        assert client(server.url).generate([question("?")])[0].finished == "length"


def test_log_probabilities_of_the_answer_on_request() -> None:
    with serving(lambda body, n: said("Yes", tops={"Yes": -0.25})) as server:
        assert client(server.url).generate([question("?")], Decoding(logprobs=True))[0].logprobs == (-0.25,)
        assert client(server.url).generate([question("?")])[0].logprobs is None


@pytest.mark.parametrize("content", ["<html>", {"object": "list"}, {"choices": []}])
def test_what_is_no_completion_is_refused(content: Any) -> None:
    with serving(lambda body, n: (200, content, {})) as server, pytest.raises(BackendError, match="is no") as caught:
        client(server.url).generate([question("?")])
    assert not caught.value.retryable


def test_a_closed_port_and_a_silent_server_are_told_apart() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BackendError, match="cannot be reached"):
        client(f"http://127.0.0.1:{port}", retries=1).generate([question("?")])
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(BackendError, match="did not answer in time"):
            client(f"http://127.0.0.1:{silent.getsockname()[1]}", retries=0, timeout_s=0.2).generate([question("?")])


def test_the_key_travels_in_the_header_only() -> None:
    with serving(lambda body, n: said("x")) as server:
        backend = ChatHttp(Options(server=f"{server.url}#m"), api_key="secret")
        backend.generate([question("?")])
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in backend.name + str(server.requests)


def test_a_body_that_cannot_be_decompressed_is_a_backend_error() -> None:
    packed = (200, "junk", {"Content-Encoding": "gzip"})
    with serving(lambda body, n: packed) as server, pytest.raises(BackendError, match="cannot be decompressed"):
        client(server.url, retries=0).generate([question("?")])


def test_the_first_failure_ends_the_rest_without_waiting_for_their_retries() -> None:
    def answer(body: dict[str, Any], n: int) -> Any:
        return failed(404, "no such model") if words_of(body) == "0" else failed(503, "busy", Retry_After="30")

    with serving(answer) as server:
        start = time.monotonic()
        with pytest.raises(BackendError, match="no such model"):
            client(server.url, concurrency=2).generate([question(f"{n}") for n in range(20)])
        assert time.monotonic() - start < 10
        assert len(server.requests) < 20


def test_a_wait_beyond_a_minute_is_left_to_the_caller() -> None:
    with serving(lambda body, n: failed(429, "come back tomorrow", Retry_After="86400")) as server:
        with pytest.raises(BackendError, match="come back tomorrow") as caught:
            client(server.url).generate([question("?")])
        assert caught.value.retryable
        assert len(server.requests) == 1


def test_a_key_that_the_server_repeats_is_cut_out_and_redirects_are_not_followed() -> None:
    with serving(lambda body, n: failed(401, "secret-key is no key")) as server:
        with pytest.raises(BackendError, match="is no key") as caught:
            ChatHttp(Options(server=f"{server.url}#m"), api_key="secret-key").generate([question("?")])
        assert "secret-key" not in str(caught.value)
    with serving(lambda body, n: (307, "", {"Location": "http://127.0.0.1:1/"})) as server:
        with pytest.raises(BackendError, match="says 307") as caught:
            client(server.url).generate([question("?")])
        assert not caught.value.retryable


@pytest.mark.parametrize("address", ["", "http://host/v1", "host:8000#model", "http://host/v1#", "http://me:secret@host/v1#model"])
def test_an_address_without_url_or_model_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"chat_http/URL#MODEL|api_key"):
        ChatHttp(Options(server=address))


def counted(body: dict[str, Any], *, closes: bool = False, thinks: bool = False) -> int:
    """The tokens a server counts: a word each, two around a turn, six of an empty thought before answers of a model that thinks."""
    words = sum(len(message["content"].split()) + 2 for message in body["messages"])
    begun = body["messages"][-1]["role"] == "assistant"
    words += 6 if begun and thinks else 0
    return words if begun and not closes else words + 2


def begun(text: str) -> Prompt:
    return (*question("rank them"), Message(role="assistant", parts=(text,)))


@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("flags_matter", [False, True])
def test_an_answer_begun_goes_out_with_the_fields_that_leave_it_open(thinks: bool, flags_matter: bool) -> None:
    """vLLM needs the fields; older llama.cpp goes on without them, which is told only where nothing is put before the answer."""

    def answer(body: dict[str, Any], n: int) -> Any:
        closes = flags_matter and not body.get("continue_final_message")
        status, reply, headers = said("2] > [1]")
        return status, {**reply, "usage": {"prompt_tokens": counted(body, closes=closes, thinks=thinks and flags_matter)}}, headers

    with serving(answer) as server:
        backend = client(server.url)
        answers = backend.generate([begun("["), begun("[")])
    assert [answer.text for answer in answers] == ["2] > [1]"] * 2
    asked = [body for body in server.requests if body["messages"][-1]["content"] == "["]
    assert len(asked) == 2
    assert all((body["continue_final_message"], body["add_generation_prompt"]) == (True, False) for body in asked)
    assert len(server.requests) - 2 <= 4, "it is tried once"


@pytest.mark.parametrize("thinks", [False, True])
def test_a_server_that_closes_an_answer_begun_is_found_out(thinks: bool) -> None:
    def answer(body: dict[str, Any], n: int) -> Any:
        status, reply, headers = said("a new answer")
        return status, {**reply, "usage": {"prompt_tokens": counted(body, closes=True, thinks=thinks)}}, headers

    with serving(answer) as server:
        backend = client(server.url)
        for ask in (backend.generate, lambda prompts: backend.choice_logprobs(prompts, ["Yes", "No"])):
            with pytest.raises(BackendError, match="closes an answer that was begun") as refusal:
                ask([begun("[")])
        with pytest.raises(BackendError, match="closes an answer"):
            backend.stream(begun("["), None, lambda text: None)
        assert len(server.requests) == 4, "no answer was asked for, and it is tried once"
    assert "vLLM" in refusal.value.hint


def test_a_server_that_refuses_the_fields_or_counts_nothing_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with serving(lambda body, n: failed(400, "Unrecognized request argument: continue_final_message")) as server:
        with pytest.raises(BackendError, match="says 400") as refusal:
            client(server.url).generate([begun("[")])
        assert "llama.cpp" in refusal.value.hint
    with serving(lambda body, n: said("2]")) as server:  # seven tokens, whatever was asked
        assert client(server.url).generate([begun("[")])[0].text == "2]"
    assert "cannot be told" in caplog.text


def test_prompts_without_an_answer_begun_carry_no_field_that_a_server_may_refuse() -> None:
    with serving(lambda body, n: said("x")) as server:
        client(server.url).generate([question("?")])
    assert not {"continue_final_message", "add_generation_prompt"} & server.requests[0].keys()
    assert len(server.requests) == 1


def completed(text: str, tops: list[dict[str, float]] | None = None) -> Any:
    choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": "length"}
    if tops is not None:
        tokens = [next(iter(top)) for top in tops]
        choice["logprobs"] = {
            "tokens": tokens,
            "token_logprobs": [top[t] for top, t in zip(tops, tokens, strict=True)],
            "top_logprobs": tops,
        }
    return 200, {"object": "text_completion", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}, {}


def test_a_raw_prompt_goes_out_as_one_text_without_a_template() -> None:
    raw = (Message(role="raw", parts=("A: a question", Markup("<|x|>"), "\nB: ")),)
    with serving(lambda body, n: completed(" yes", [{" yes": -0.5, " no": -1.5}])) as server:
        backend = client(server.url)
        (answer,) = backend.generate([raw], Decoding(max_tokens=3, logprobs=True))
        scores = backend.choice_logprobs([raw], ["yes", "no"])
        texts: list[str] = []
        backend.stream(raw, Decoding(max_tokens=3), texts.append)
    assert server.paths == ["/v1/completions"] * 3
    assert {body["prompt"] for body in server.requests} == {"A: a question<|x|>\nB: "}
    assert not any("messages" in body for body in server.requests)
    assert (answer.text, answer.finished, answer.tokens, answer.logprobs) == (" yes", "length", (" yes",), (-0.5,))
    assert scores.logprobs.tolist() == [[-0.5, -1.5]]
    assert (server.requests[0]["logprobs"], server.requests[1]["logprobs"]) == (0, 20)
    assert texts == [" yes"]


@pytest.mark.parametrize(
    "prompt",
    [
        (Message(role="raw", parts=("a", picture(1))),),
        (Message(role="raw", parts=("a",)), Message(role="user", parts=("b",))),
    ],
)
def test_a_raw_prompt_that_no_completion_can_hold_is_refused(prompt: Prompt) -> None:
    with pytest.raises(InputError, match="raw"):
        client("http://127.0.0.1:1").generate([prompt])


def test_tokens_come_with_their_log_probabilities() -> None:
    content = [{"token": token, "logprob": value} for token, value in (("[", -0.1), ("2", -0.2), ("]", -0.3))]

    def answer(body: dict[str, Any], n: int) -> Any:
        status, reply, headers = said("[2]")
        reply["choices"][0]["logprobs"] = {"content": content}
        return status, reply, headers

    with serving(answer) as server:
        (shown,) = client(server.url).generate([question("?")], Decoding(logprobs=True))
        (plain,) = client(server.url).generate([question("?")])
    assert (shown.tokens, shown.logprobs) == (("[", "2", "]"), (-0.1, -0.2, -0.3))
    assert plain.tokens is None


# ---------------------------------------------------------------- what whole texts come to


def fake_vllm(body: dict[str, Any], number: int) -> Reply:
    """A fake in vLLM's shape: tokens are words, a turn begins with one more, and a word has -1 for each of its letters."""
    if "prompt" in body:
        words = str(body["prompt"]).split()
    else:
        words = [word for message in body["messages"] for word in ("<turn>", *str(message["content"]).split())]
        words += [] if body.get("continue_final_message") else ["<turn>"]
    told = [None, *({str(n): {"logprob": -len(word), "rank": 1, "decoded_token": f" {word}"}} for n, word in enumerate(words[1:]))]
    status, content, headers = said("fake")
    content["usage"]["prompt_tokens"] = len(words)
    scores = told if "prompt_logprobs" in body else None
    if "prompt" in body:
        choice = {"index": 0, "text": "fake", "finish_reason": "stop", "prompt_logprobs": scores}
        return status, {"choices": [choice], "usage": content["usage"]}, headers
    return status, {**content, "prompt_logprobs": scores}, headers


def test_whole_texts_are_scored_by_a_server_that_tells_the_log_probabilities_of_its_prompt() -> None:
    prompts = [(Message(role="user", parts=("the mill",)),), (Message(role="user", parts=("a boat on the water",)),)]
    with serving(fake_vllm) as server:
        scores = client(server.url).text_logprobs(prompts, ["how old is it", "why"])
        assert scores.logprobs.tolist() == [[-10.0, -3.0], [-10.0, -3.0]]
        assert scores.lengths == (4, 1)
        assert scores.cost.calls == 6
        begun = (*prompts[0], Message(role="assistant", parts=("It asks: ",)))
        raw = (Message(role="raw", parts=("one two ",)),)
        assert client(server.url).text_logprobs([begun, raw], ["how old"]).logprobs.tolist() == [[-6.0], [-6.0]]
    scored = [body for body in server.requests if "prompt_logprobs" in body]
    assert {body["prompt_logprobs"] for body in scored} == {0}
    assert scored[0]["messages"][-1] == {"role": "assistant", "content": "how old is it"}
    assert scored[0]["continue_final_message"] is True


def test_query_likelihood_orders_by_a_server() -> None:
    def by_prompt(body: dict[str, Any], number: int) -> Reply:
        status, content, headers = fake_vllm(body, number)
        if "mill" in json.dumps(body):
            for entry in (content["prompt_logprobs"] or [])[1:]:
                next(iter(entry.values()))["logprob"] /= 4
        return status, content, headers

    candidates = [Candidate(item=Item(item_id=name, text=f"the {name}")) for name in ("boat", "mill")]
    with serving(by_prompt) as server:
        ranking = query_likelihood.build(query_likelihood.Options(), client(server.url)).rerank(Query(text="who ground it"), candidates)
    assert ranking.item_ids == ("mill", "boat")
    assert [candidate.raw_score for candidate in ranking.candidates] == pytest.approx([-11 / 12, -11 / 3])


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"prompt_logprobs": None}, "no log-probabilities of the prompt"),
        ({"usage": {}}, "how many tokens"),
        ({"prompt_logprobs": [None, *({"1": {"logprob": -1.0, "decoded_token": "<think>"}} for _ in range(9))]}, "other tokens"),
    ],
    ids=["not told", "not counted", "another beginning"],
)
def test_a_server_that_does_not_tell_what_a_text_comes_to_is_refused_with_the_reason(broken: dict[str, Any], why: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        status, content, headers = fake_vllm(body, number)
        return status, {**content, **broken}, headers

    candidates = [Candidate(item=Item(item_id="mill", text="the mill"))]
    with serving(answer) as server:
        with pytest.raises(BackendError, match=why) as caught:
            client(server.url).text_logprobs([(Message(role="user", parts=("the mill",)),)], ["how old"])
        assert "vLLM" in caught.value.hint
        with pytest.raises(InputError, match=why):
            query_likelihood.build(query_likelihood.Options(), client(server.url)).rerank(Query(text="how old"), candidates)
