"""A thin client of the management API, as one process of the command line uses it.

An address is chosen, a token is found, a request is sent; what the server refuses comes back as our own error,
so that messages, hints and exit statuses are the same as for commands that run without a server.

Invariants: a token goes only to the server that gave it, and never in the clear beyond this machine;
it is never printed.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from ringroad.cli.tokens import Tokens, find_tokens
from ringroad.kernel.errors import Forbidden, InvalidInput, NotFound, RingroadError, Unavailable, Untrusted
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.protocol import refusal
from ringroad.storage.settings import Settings

API: Final = "/api/v1"
ANSWER_S_MAX: Final = 60.0  # seconds
CONNECT_S_MAX: Final = 5.0  # seconds
UPLOAD_CHUNK_BYTES: Final = 256 * 1024
LOGIN_HINT: Final = "sign in with: ringroad account login"

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is.

    Attributes:
        url: scheme, host and port.
        ca: a certificate authority to trust besides those of the machine.
        local: it is the installation in our own var folder.
    """

    url: str
    ca: Path | None
    local: bool


class Client:
    """An open connection to the management API; every method raises our errors.

    Raises:
        Unavailable: the server does not answer.
        Forbidden: nobody is signed in, or the account may not do this.
        RingroadError: what the server said.
    """

    def __init__(
        self, address: Address, *, token: str | None, http: httpx.Client, programme: str = ""
    ) -> None:
        self.address = address
        self.programme = programme  # that a command is about where none is named
        self._token = token  # None: this is a login, and what the server says of it is exact
        self._http = http

    def get(self, path: str, **query: object) -> Any:
        """Read; query values that are None are left out."""
        return self.send("GET", path, query=query)

    def post(self, path: str, body: object = None, **query: object) -> Any:
        """Command or create."""
        return self.send("POST", path, body=body, query=query)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
        wait_s: float = ANSWER_S_MAX,
    ) -> Any:
        """Send one request and return its answer, decoded; it may take `wait_s` seconds."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        return self._decode(
            self._call(method, path, query=query, content=content, headers=headers, wait_s=wait_s)
        )

    def upload(
        self,
        path: str,
        file: IO[bytes],
        *,
        size_bytes: int,
        progress: Progress,
        query: Mapping[str, object] | None = None,
        method: str = "POST",
    ) -> Any:
        """Send a file as it is, in pieces; `progress` hears the size of each."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        response = self._call(method, path, query=query, content=_pieces(file, progress), headers=headers)
        return self._decode(response)

    def read_bytes(self, path: str, **query: object) -> bytes:
        """Read an answer that is not JSON for us to interpret, for example metadata to sign."""
        return self._call("GET", path, query=query, content=None, headers={}).content

    @contextmanager
    def open_lines(
        self, path: str, *, headers: Mapping[str, str], **query: object
    ) -> Iterator[Iterator[str]]:
        """Read an answer that goes on, line by line; a query value may be a list.

        Raises:
            Unavailable: the connection broke; also while its lines are read.
        """
        with self._open(path, headers, query) as got:
            yield got.iter_lines()

    @contextmanager
    def open_bytes(self, path: str, **query: object) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """Read a long answer piece by piece; yields its headers and the pieces.

        Raises:
            Unavailable: the connection broke; also while it is read, and then what came is not all.
        """
        with self._open(path, {}, query) as got:
            yield got.headers, got.iter_bytes()

    def send_bytes(self, method: str, path: str, content: bytes, **query: object) -> Any:
        """Send bytes exactly as they are."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._decode(self._call(method, path, query=query, content=content, headers=headers))

    def find(self, path: str, word: str, *, names: tuple[str, ...] = ("name",)) -> Any:
        """Return one thing by its id, the last characters of its id, or its name.

        Args:
            path: of the list, for example ``/campaigns``.
            word: what the person typed.
            names: fields that name it.

        Raises:
            NotFound: nothing has that id or name.
            InvalidInput: more than one has.
        """
        if "_" in word and len(word.rpartition("_")[2]) == ULID_CHARS:
            return self.get(f"{path}/{word}")
        rows = self.get(path, limit=PAGE_ROWS_MAX)
        exact = [row for row in rows if word == row["id"] or word in [row.get(name) for name in names]]
        found = exact or [row for row in rows if len(word) >= TAIL_CHARS_MIN and row["id"].endswith(word)]
        thing = path.strip("/").rpartition("/")[2].removesuffix("s")
        if not found:
            raise NotFound(f"there is no {thing} {word!r}", hint=f"ringroad {thing} list shows all")
        if len(found) > 1:
            ids = ", ".join(row["id"] for row in found[:5])
            raise InvalidInput(f"{len(found)} {thing}s are called {word!r}", hint=f"use an id: {ids}")
        return found[0]

    @contextmanager
    def _open(
        self, path: str, headers: Mapping[str, str], query: Mapping[str, object]
    ) -> Iterator[httpx.Response]:
        sent = dict(headers) | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
        url = f"{self.address.url}{API}{path}"
        try:
            with self._http.stream("GET", url, params=_params(query), headers=sent) as got:
                if not got.is_success:
                    raise error_of(got.status_code, got.read(), token=self._token)
                yield got
        except httpx.ConnectError as error:
            raise _no_connection(self.address, error) from error
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the connection to {self.address.url} broke", hint="try again", detail=str(error)
            ) from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None,
        content: bytes | Iterator[bytes] | None,
        headers: Mapping[str, str],
        wait_s: float = ANSWER_S_MAX,
    ) -> httpx.Response:
        params = _params(query or {})
        sent = dict(headers)
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            response = self._http.request(
                method, f"{self.address.url}{API}{path}", params=params, content=content, headers=sent,
                timeout=httpx.Timeout(wait_s, connect=CONNECT_S_MAX),
            )  # fmt: skip
        except httpx.ConnectError as error:
            raise _no_connection(self.address, error) from error
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{self.address.url} took longer than {wait_s:.0f} s to answer", hint="try again"
            ) from error
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the connection to {self.address.url} broke", hint="try again", detail=str(error)
            ) from error
        if not response.is_success:
            raise error_of(response.status_code, response.content, token=self._token)
        return response

    def _decode(self, response: httpx.Response) -> Any:
        try:
            return msgspec.json.decode(response.content) if response.content else None
        except msgspec.DecodeError as error:
            raise Unavailable(
                f"{self.address.url} does not answer like Ringroad", hint="is --server right?"
            ) from error


ULID_CHARS: Final = 26  # characters of an id after its prefix
TAIL_CHARS_MIN: Final = 4  # characters of an id's end that may stand for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A server, whom to be there, and how to know that it is the one.

    Attributes:
        address: where it is.
        token: to send; None: a login, which sends none.
        verify: of its certificate.
        programme: that commands are about where none is named; empty: the only one.
    """

    address: Address
    token: str | None
    verify: ssl.SSLContext | bool
    programme: str = ""


def find_access(
    settings: Settings,
    *,
    env: Mapping[str, str],
    server: str = "",
    account: str = "",
    anonymous: bool = False,
) -> Access:
    """Return how to reach the server that was named, or that of these settings.

    Args:
        settings: of this run.
        env: the environment; `RINGROAD_TOKEN` wins over a stored token, `RINGROAD_PROGRAMME` is the one where none is named.
        server: an address from the command line or `RINGROAD_SERVER`; empty: the settings'.
        account: whose token; wins over the environment. Empty: of whoever is signed in.
        anonymous: send no token.

    Raises:
        InvalidInput: the address is not one, or would send the token in the clear.
        Forbidden: that account is not signed in here.
    """
    address = find_address(settings, server)
    token: str | None = None
    if not anonymous:
        given = "" if account else env.get("RINGROAD_TOKEN", "")
        token = given or tokens_of(settings, env, address, account=account).get()
    verify: ssl.SSLContext | bool = False
    if address.url.startswith("https:"):
        verify = ssl.create_default_context()
        if address.ca is not None:
            verify.load_verify_locations(address.ca)
    return Access(address=address, token=token, verify=verify, programme=env.get("RINGROAD_PROGRAMME", ""))


@contextmanager
def open_client(access: Access) -> Iterator[Client]:
    """Connect to a server, as `find_access` found it."""
    timeout = httpx.Timeout(ANSWER_S_MAX, connect=CONNECT_S_MAX)
    with httpx.Client(verify=access.verify, timeout=timeout, trust_env=False) as http:
        yield Client(access.address, token=access.token, http=http, programme=access.programme)


def find_address(settings: Settings, server: str) -> Address:
    """Return where the server is. Raises: InvalidInput."""
    ca = settings.pki / "ca.pem"
    known = ca if ca.is_file() else None
    if not server:
        host = "127.0.0.1" if settings.http_host in {"0.0.0.0", "::", ""} else settings.http_host  # noqa: S104
        shown = f"[{host}]" if ":" in host else host
        if _is_loopback(host):
            return Address(url=f"http://{shown}:{settings.http_port}", ca=known, local=True)
        return Address(url=f"https://{shown}:{settings.https_port}", ca=known, local=True)
    try:
        parts = urlsplit(server if "://" in server else f"https://{server}")
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"{server!r} is not an address", hint=_ADDRESS_HINT) from error
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host or parts.path not in {"", "/"} or parts.username:
        raise InvalidInput(f"{server!r} is not an address", hint=_ADDRESS_HINT)
    if parts.scheme == "http" and not _is_loopback(host):
        raise InvalidInput(
            f"{server} would send your token in the clear", hint=f"use https://{host}", code="clear_text"
        )
    shown = f"[{host}]" if ":" in host else host
    return Address(url=f"{parts.scheme}://{shown}{f':{port}' if port else ''}", ca=known, local=False)


_ADDRESS_HINT: Final = "for example https://ringroad.example.com:8443"


def tokens_of(settings: Settings, env: Mapping[str, str], address: Address, *, account: str = "") -> Tokens:
    """Return where the tokens of a server are kept, and which of them is meant."""
    return find_tokens(settings, env, url=address.url, local=address.local, account=account)


def error_of(status: int, content: bytes, *, token: str | None) -> RingroadError:
    """Return our error for an answer that is not a success. Pure.

    Args:
        status: of the answer.
        content: of the answer.
        token: that was sent; empty: none was at hand; None: none was wanted.
    """
    error = refusal.error_of(status, content)
    if error.code != "unauthenticated" or token is None:
        return error
    message = "the token is not valid any more" if token else "nobody is signed in"
    return Forbidden(message, hint=LOGIN_HINT, code=error.code)


def _no_connection(address: Address, error: httpx.ConnectError) -> RingroadError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Untrusted(
            f"the certificate of {address.url} is not trusted",
            hint="set SSL_CERT_FILE to the server's ca.pem, from its var/pki",
            detail=str(error),
        )
    hint = "start it with: ringroad up" if address.local else "is --server right, and does it run?"
    return Unavailable(f"no server answers at {address.url}", hint=hint, detail=str(error))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _params(query: Mapping[str, object]) -> dict[str, str | list[str]]:
    """Return a query as it is sent: None is left out, a list is its name several times."""
    return {
        key: [str(item) for item in value] if isinstance(value, list) else str(value)
        for key, value in query.items()
        if value is not None
    }


def _pieces(file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    while piece := file.read(UPLOAD_CHUNK_BYTES):
        yield piece
        progress(len(piece))
