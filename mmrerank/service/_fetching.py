"""Pictures at URLs: from allowed hosts only, redirects checked like the first request, and never from addresses that are not public,
unless the operator named a host that has none but such addresses: one of an intranet, or this machine.

Whether a host is one of those is seen when the service starts; a public host whose name is later pointed at a private address gains
nothing by it. Addresses that machines keep for themselves (link-local, such as those with a cloud's keys) are never asked.

A name is resolved once, all its addresses are checked, and the connection goes to a checked address, so that a name which changes
its mind between check and use gains nothing. No proxy, no cookies, no other schemes than http and https.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

import httpx

from mmrerank.errors import InputError
from mmrerank.readers import MIB

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
REDIRECTS = 3
PORTS = {"http": 80, "https": 443}
CARRIERS = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("2002::/16"))  # IPv6 that carries on to any IPv4 address


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host.

    Raises:
        InputError: it has none.
    """
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise InputError(f"the host {host!r} has no address") from error


class Fetcher:
    """Fetches from some hosts."""

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        private: Sequence[str] = (),
        max_bytes: int = 32 * MIB,
        timeout_s: float = 10.0,
        resolve: Resolve = resolved,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._max_bytes, self._timeout_s, self._resolve = max_bytes, timeout_s, resolve
        self._private = frozenset(host.lower() for host in private)
        self._client = httpx.Client(transport=transport, trust_env=False, follow_redirects=False, timeout=timeout_s)

    def __call__(self, url: str) -> bytes:
        """The body at a URL.

        Raises:
            InputError: it may not be fetched, or cannot be.
        """
        end = time.monotonic() + self._timeout_s
        for _ in range(REDIRECTS + 1):
            try:
                reply = self._once(url, end)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"the URL cannot be fetched: {type(error).__name__}") from error
            if isinstance(reply, bytes):
                return reply
            url = reply
        raise InputError(f"the URL leads through more than {REDIRECTS} redirects")

    def _once(self, url: str, end: float) -> bytes | str:
        """The body, or where it is said to be."""
        parsed = httpx.URL(url)
        pinned = parsed.copy_with(host=self._address(parsed), username=None, password=None)
        headers = {"Host": parsed.netloc.decode("ascii"), "Accept": "image/*", "Accept-Encoding": "identity"}
        request = self._client.build_request("GET", pinned, headers=headers, extensions={"sni_hostname": parsed.host})
        reply = self._client.send(request, stream=True)
        try:
            if reply.has_redirect_location:
                return str(parsed.join(reply.headers["location"]))
            if reply.status_code != 200:
                raise InputError(f"the URL answers with status {reply.status_code}")
            if reply.headers.get("content-encoding", "identity") != "identity":  # a few bytes could unpack to any number
                raise InputError("the URL sends its picture packed, which was not asked for")
            return self._body(reply, end)
        finally:
            reply.close()

    def _body(self, reply: httpx.Response, end: float) -> bytes:
        body = bytearray()
        for piece in reply.iter_bytes():
            body += piece
            if len(body) > self._max_bytes:
                raise InputError(f"the URL holds more than {self._max_bytes / MIB:g} MiB")
            if time.monotonic() > end:
                raise InputError(f"the URL took longer than {self._timeout_s:g} s")
        return bytes(body)

    def _address(self, url: httpx.URL) -> str:
        """A checked address of the URL's host."""
        if url.scheme not in PORTS:
            raise InputError(f"only http and https are fetched; got {url.scheme[:20]!r}")
        if url.host.lower() not in self._hosts:
            raise InputError(f"nothing is fetched from {url.host[:80]!r}", hint="Send the picture as a data URI: data:image/png;base64,...")
        addresses = self._resolve(url.host, url.port or PORTS[url.scheme])
        allowed = _of_intranet if url.host.lower() in self._private else _public
        if not addresses or not all(map(allowed, addresses)):
            raise InputError(f"the host {url.host[:80]!r} leads to an address that is not public")
        return addresses[0]


def private_hosts(hosts: Sequence[str], resolve: Resolve = resolved) -> list[str]:
    """Those of the hosts whose addresses are all of an intranet or of this machine."""
    private = []
    for host in hosts:
        try:
            addresses = resolve(host, PORTS["http"])
        except InputError:
            continue  # it may come to have one; until then it is asked as a public host is
        if addresses and all(map(_of_intranet, addresses)):
            private.append(host)
    return private


def _public(address: str) -> bool:
    host = _plain(address)
    return host.is_global and not host.is_multicast and not any(host in network for network in CARRIERS)


def _of_intranet(address: str) -> bool:
    host = _plain(address)
    reserved = host.is_link_local or host.is_unspecified or host.is_multicast or host.is_reserved
    return host.is_loopback or (host.is_private and not reserved and not any(host in network for network in CARRIERS))


def _plain(address: str) -> IPv4Address | IPv6Address:
    host = ip_address(address.partition("%")[0])
    return getattr(host, "ipv4_mapped", None) or host
