"""Fetching a picture from a URL, for servers that were told which hosts may be asked. Off unless they were.

Every URL, the first and each that it redirects to, must name an allowed host; every address that the host's name stands
for must be public, or in a network that was allowed too; and the connection goes to the very address that was checked,
so that a name cannot mean something else the second time it is looked up. What a host answers is never shown to the
caller, nor is more of a URL than its host.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import SplitResult, urljoin, urlsplit

from reference_engine.errors import ConfigError, RequestError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MOST_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}
_CARRIERS = [ipaddress.ip_network(one) for one in ("64:ff9b::/96", "2002::/16", "2001::/32")]
"""Public by their number, but each address in them stands for one of IPv4 (NAT64, 6to4, Teredo)."""
_PLAIN = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII without the backslash, which readers of URLs disagree on."""
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 65536


class Fetcher:
    """``hosts`` as ``name`` or ``name:port``; ``networks`` that are not public and may be connected to all the same."""

    def __init__(
        self, hosts: Sequence[str], networks: Sequence[str], *, seconds: float, most_bytes: int,
        resolve: Callable[[str, int], Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        self._hosts = frozenset(host.lower() for host in hosts)
        self._networks = [_network(one) for one in networks]
        self._seconds, self._most = seconds, most_bytes
        self._resolve = resolve or resolve_host

    def fetch(self, url: str, field: str) -> bytes:
        """The bytes behind it. Raises :class:`RequestError` (400; 413 for too many bytes) naming the field."""
        deadline = time.monotonic() + self._seconds
        for _ in range(MOST_REDIRECTS + 1):
            parts = self._allowed(url, field)
            found = self._get(parts, field, deadline)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise RequestError(field, f"more than {MOST_REDIRECTS} redirects")

    def _allowed(self, url: str, field: str) -> SplitResult:
        try:
            parts = urlsplit(url) if _PLAIN.fullmatch(url) else None
            port = parts.port if parts else None
        except ValueError:
            parts = None
        if parts is None or parts.scheme not in PORTS or not parts.hostname:
            raise RequestError(field, "not an http or https URL")
        if parts.username is not None or parts.password is not None:
            raise RequestError(field, "a URL with a login is not fetched")
        host = parts.hostname.rstrip(".")
        usual = port in (None, PORTS[parts.scheme])
        if f"{host}:{port or PORTS[parts.scheme]}" not in self._hosts and not (usual and host in self._hosts):
            where = host if usual else f"{host}:{port}"
            raise RequestError(field, f"{where[:100]!r} is not a host that is fetched from; send a data URI or base64")
        return parts

    def _address(self, host: str, port: int, field: str) -> str:
        """The first address of a host, once all of them are known to be allowed."""
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise RequestError(field, f"{host!r} has no address")
        for each in found:
            if not self._may_connect(ipaddress.ip_address(each.partition("%")[0])):
                raise RequestError(field, f"{host!r} has an address that is not public; it is not fetched from")
        return found[0]

    def _may_connect(self, address: Address) -> bool:
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        address = mapped or address
        if any(address in network for network in self._networks):
            return True
        return address.is_global and not address.is_multicast and not any(address in network for network in _CARRIERS)

    def _get(self, parts: SplitResult, field: str, deadline: float) -> bytes | str:
        """What is there, or where it is instead."""
        host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS[parts.scheme]
        address = self._address(host, port, field)
        try:
            with _connected(address, host, port, deadline, secure=parts.scheme == "https") as connection:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", target, headers={"Accept": "image/*", "Accept-Encoding": "identity"})
                with connection.getresponse() as response:
                    found = self._answer(response, host, field)
                if time.monotonic() >= deadline:  # an answer without a length seems whole when it is broken off
                    raise TimeoutError
                return found
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, RequestError):
                raise
            late = time.monotonic() >= deadline
            why = f"took more than {self._seconds:g} s" if late else f"could not be read ({type(error).__name__})"
            raise RequestError(field, f"the answer of {host!r} {why}") from None

    def _answer(self, response: HTTPResponse, host: str, field: str) -> bytes | str:
        location = response.headers.get("Location")
        if response.status in _REDIRECTS and location:
            return location
        if response.status != 200:
            raise RequestError(field, f"{host!r} answered with status {response.status}")
        data = bytearray()
        while chunk := response.read(min(_CHUNK, self._most + 1 - len(data))):
            data += chunk
            if len(data) > self._most:
                raise RequestError(field, f"{host!r} sent more than {self._most} bytes", status=413)
        if response.length:
            raise ConnectionError("it broke off")
        return bytes(data)


def resolve_host(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@contextmanager
def _connected(address: str, host: str, port: int, deadline: float, *, secure: bool) -> Iterator[HTTPConnection]:
    """A connection to this address in the name of this host, broken off at the deadline whatever it is doing."""
    left = max(deadline - time.monotonic(), 0.001)
    with socket.create_connection((address, port), timeout=left) as plain:
        ends = threading.Timer(max(deadline - time.monotonic(), 0), _break_off, [plain])
        ends.daemon = True
        ends.start()
        connection = HTTPConnection(host, port)
        try:
            context = ssl.create_default_context() if secure else None
            connection.sock = context.wrap_socket(plain, server_hostname=host) if context else plain
            yield connection
        finally:
            ends.cancel()
            connection.close()


def _break_off(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        connection.close()


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ConfigError(f"media_networks: {text!r} is not a network such as 10.0.0.0/8") from None
