"""What the service fetches from elsewhere: allowed hosts, public addresses, checked redirects, bounded bodies."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator, Sequence

import httpx
import pytest

from mmrerank.errors import InputError
from mmrerank.service._fetching import Fetcher, private_hosts

PUBLIC = "93.184.216.34"
Answer = Callable[[httpx.Request], httpx.Response]


def fetcher(answer: Answer, addresses: Sequence[str] = (PUBLIC,), **options: object) -> Fetcher:
    return Fetcher(
        ["pictures.example", "Other.example"],
        resolve=lambda host, port: addresses,
        transport=httpx.MockTransport(answer),
        **options,  # type: ignore[arg-type]
    )


def body(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=b"bytes of " + request.url.path.encode())


def test_the_connection_goes_to_the_checked_address_under_the_name_that_was_asked_for() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return body(request)

    assert fetcher(answer)("https://pictures.example:8443/a.png?x=1") == b"bytes of /a.png"
    (request,) = seen
    assert str(request.url) == f"https://{PUBLIC}:8443/a.png?x=1"
    assert request.headers["host"] == "pictures.example:8443"
    assert request.extensions["sni_hostname"] == "pictures.example"


def test_a_host_that_is_not_allowed_is_not_even_resolved() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise AssertionError("resolved")

    fetch = Fetcher(["pictures.example"], resolve=resolve, transport=httpx.MockTransport(body))
    for url in ("http://elsewhere.example/a.png", "http://pictures.example.evil.example/", "http://pictures.example@evil.example/"):
        with pytest.raises(InputError, match="nothing is fetched from"):
            fetch(url)


INSIDE = (
    *("127.0.0.1", "10.0.0.5", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"),
    *(
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "ff02::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
    ),
)


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public_are_refused_even_beside_a_public_one(address: str) -> None:
    for addresses in ([address], [PUBLIC, address]):
        with pytest.raises(InputError, match="not public"):
            fetcher(body, addresses)("http://pictures.example/a.png")


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.1.1", "127.0.0.1", "::1", "fc00::1", "::ffff:10.0.0.1"])
def test_a_host_of_an_intranet_that_was_named_works(address: str) -> None:
    assert private_hosts(["pictures.example"], lambda host, port: [address]) == ["pictures.example"]
    fetch = Fetcher(
        ["pictures.example"], private=["pictures.example"], resolve=lambda host, port: [address], transport=httpx.MockTransport(body)
    )
    assert fetch("http://pictures.example/a.png") == b"bytes of /a.png"


@pytest.mark.parametrize(
    "addresses", [["169.254.169.254"], ["fe80::1%eth0"], ["0.0.0.0"], ["64:ff9b::7f00:1"], ["10.0.0.5", PUBLIC], [PUBLIC], []]
)
def test_hosts_with_public_or_reserved_addresses_are_none_of_an_intranet(addresses: list[str]) -> None:
    assert private_hosts(["pictures.example"], lambda host, port: addresses) == []


def test_redirects_are_checked_like_the_first_request() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/moved":
            return httpx.Response(302, headers={"location": "https://other.example/b.png"})
        if request.url.path == "/inside":
            return httpx.Response(302, headers={"location": "http://169.254.169.254/latest/meta-data"})
        if request.url.path == "/file":
            return httpx.Response(302, headers={"location": "file:///etc/passwd"})
        if request.url.path == "/around":
            return httpx.Response(302, headers={"location": "/around"})
        return body(request)

    fetch = fetcher(answer)
    assert fetch("http://pictures.example/moved") == b"bytes of /b.png"
    with pytest.raises(InputError, match="nothing is fetched from '169"):
        fetch("http://pictures.example/inside")
    with pytest.raises(InputError, match="only http and https"):
        fetch("http://pictures.example/file")
    with pytest.raises(InputError, match="more than 3 redirects"):
        fetch("http://pictures.example/around")


def test_a_redirect_meets_the_addresses_of_its_own_host() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        return ["10.1.2.3"] if host == "other.example" else [PUBLIC]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(301, headers={"location": "http://other.example/"})

    fetch = Fetcher(["pictures.example", "other.example"], resolve=resolve, transport=httpx.MockTransport(answer))
    with pytest.raises(InputError, match=r"'other\.example' leads to an address that is not public"):
        fetch("http://pictures.example/")


def test_a_body_is_cut_off_when_it_is_too_large_or_too_slow() -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.02)
            yield b"x"

    with pytest.raises(InputError, match="more than"):
        fetcher(lambda request: httpx.Response(200, content=b"x" * 2000), max_bytes=1000)("http://pictures.example/")
    with pytest.raises(InputError, match="packed"):
        fetcher(lambda request: httpx.Response(200, content=gzip.compress(b"x"), headers={"content-encoding": "gzip"}))(
            "http://pictures.example/"
        )
    with pytest.raises(InputError, match="longer than"):
        fetcher(lambda request: httpx.Response(200, content=drip()), timeout_s=0.1)("http://pictures.example/")


def test_errors_tell_nothing_of_what_was_reached() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/lost":
            raise httpx.ConnectError("Connection refused by 93.184.216.34", request=request)
        return httpx.Response(404, content=b"secret")

    for url, words in (("/lost", "ConnectError"), ("/gone", "status 404"), (":x/", "cannot be fetched")):
        with pytest.raises(InputError, match=words) as caught:
            fetcher(answer)(f"http://pictures.example{url}")
        assert "secret" not in str(caught.value)
        assert PUBLIC not in str(caught.value)
