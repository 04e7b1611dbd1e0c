"""The vehicle's own diagnostics over HTTP: who is answered, what HTTP says, and what is written down of it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.protocol.diagnostics import Scope
from ringroad.storage.pki import ensure_pki
from ringroad.vehicle.address import Address
from ringroad.vehicle.diagnostics.audit import AUDIT_BYTES_MAX, AUDIT_NAME, Audit, Visit, before, read_audit
from ringroad.vehicle.diagnostics.face import tls_of
from ringroad.vehicle.diagnostics.sessions import Policy, answer_session, look_at_sessions, seen_of
from ringroad.vehicle.diagnostics.testers import (
    TESTERS_MAX,
    TESTERS_NAME,
    add_tester,
    find_tester,
    read_testers,
    remove_tester,
)
from ringroad.vehicle.small_http import CONNECTIONS_MAX, REQUEST_S_MAX, Request
from support.diagnosed import FAULT, Bench, bench, open_session
from support.driver_screen import real_time_world, running
from support.ports import free_port
from support.uptane import NOW

HOST = "127.0.0.1:8781"
NAMES = frozenset({HOST})
REASON = {"reason": "a hum"}
BRAKE = "/vehicle/v1/components/brake"


@dataclass
class Hand:
    """A tester's hand on the face."""

    at: Bench
    token: str

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Ask; return status and body."""
        sent = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        given = {"host": HOST, "authorization": f"Bearer {self.token}", **(headers or {})}
        answer = await self.at.face.answer(Request(method=method, path=path, headers=given, body=sent), NAMES)
        told = msgspec.json.decode(answer.body)
        return answer.status.value, told | ({"location": answer.location} if answer.location else {})


def secret(size: int) -> bytes:
    return bytes(range(size))


def hand(at: Bench, name: str = "bench-1", scope: Scope = "service") -> Hand:
    token = add_tester(at.folder, name, scope, secret=lambda size: secret(size)[::-1] + name.encode(), durability="buffered")  # fmt: skip
    return Hand(at, token)


Story = Callable[[Bench, Hand], Awaitable[None]]


def run(folder: Path, story: Story, *, policy: Policy = "test", scope: Scope = "service") -> None:
    async def whole() -> None:
        async with bench(folder, policy=policy) as at:
            await story(at, hand(at, scope=scope))

    asyncio.run(asyncio.wait_for(whole(), 120))


def code_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def test_a_tester_reads_locks_and_clears_as_somebody_far_away_does(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        status, session = await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        assert (status, session["state"], session["consent"]) == (201, "open", "test")
        assert [each["id"] for each in (await tester.ask("GET", "/vehicle/v1/sessions"))[1]["items"]] == [
            session["id"]
        ]
        _, listed = await tester.ask("GET", "/vehicle/v1/components")
        assert [each["name"] for each in listed["items"]] == ["gateway", "brake"]
        _, named = await tester.ask("GET", f"{BRAKE}/data?category=identData")
        assert {each["category"] for each in named["items"]} == {"identData"}
        assert (await tester.ask("GET", f"{BRAKE}/data/F195"))[1]["data"] == "1.0.0"
        assert len((await tester.ask("GET", f"{BRAKE}/faults?mask=8"))[1]["items"]) == 2
        _, one = await tester.ask("GET", f"{BRAKE}/faults/{FAULT}")
        assert one["environment_data"]["extended_data"]["occurrences"] == 2
        assert code_of(await tester.ask("DELETE", f"{BRAKE}/faults/{FAULT}")) == (409, "lock_needed")
        assert (await tester.ask("POST", f"{BRAKE}/locks", {"lock_expiration": 60}))[0] == 200
        assert len((await tester.ask("DELETE", f"{BRAKE}/faults/{FAULT}"))[1]["left"]) == 1
        status, begun = await tester.ask("POST", f"{BRAKE}/operations/self-test/executions")
        assert (status, begun["status"]) == (202, "running")
        for _ in range(2_000):
            ended = (await tester.ask("GET", begun["location"]))[1]
            if ended["status"] != "running":
                break
            await asyncio.sleep(0.01)
        assert (ended["status"], ended["result"]) == ("completed", {"passed": True})
        assert (await tester.ask("PUT", f"{BRAKE}/modes/session", {"value": "extended"}))[0] == 200
        assert (await tester.ask("DELETE", "/vehicle/v1/session"))[1]["state"] == "closed"
        assert code_of(await tester.ask("GET", "/vehicle/v1/components")) == (403, "no_session")
        await at.desk.end()

    run(tmp_path, story)


def test_who_works_beside_the_vehicle_and_who_works_from_afar_meet_each_others_locks(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await open_session(at)
        await at.ask("POST", "/components/brake/locks")
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        assert code_of(await tester.ask("POST", f"{BRAKE}/locks")) == (423, "locked")
        assert code_of(await tester.ask("DELETE", f"{BRAKE}/faults")) == (423, "locked")
        at.desk.close("s1")
        assert (await tester.ask("POST", f"{BRAKE}/locks"))[0] == 200
        at.vehicle.signals.values = {"Vehicle.Speed": 3}
        assert code_of(await tester.ask("DELETE", f"{BRAKE}/faults")) == (409, "precondition")

    run(tmp_path, story)


def test_a_session_from_afar_is_never_that_of_a_tester(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        _, session = await tester.ask("POST", "/vehicle/v1/sessions", REASON)
        for method, path in (("GET", "/components"), ("DELETE", "/sessions")):
            answer = await at.link._do(at.request(method, path, session=session["id"]))  # type: ignore[arg-type]
            assert code_of((answer.status, answer.body)) == (403, "no_session")
        taken = at.request("POST", "/sessions", at.wanted(by="x"), session="local.bench-1.forged")
        assert (await at.link._do(taken)).status == 403
        assert (await tester.ask("GET", "/vehicle/v1/components"))[0] == 200

    run(tmp_path, story)


def test_the_driver_is_asked_for_a_tester_too(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        status, asked = await tester.ask("POST", "/vehicle/v1/sessions", REASON)
        assert (status, asked["state"]) == (202, "asked")
        assert code_of(await tester.ask("GET", "/vehicle/v1/components")) == (409, "session_asked")
        (seen,) = look_at_sessions(tmp_path, now=at.clock.now())
        assert seen.by == "bench-1, beside the vehicle"
        answer_session(tmp_path, seen.id, allow=True, seen=seen_of(seen), now=at.clock.now())
        assert (await tester.ask("GET", "/vehicle/v1/components"))[0] == 200
        at.vehicle.clock.s += 31 * 60
        assert code_of(await tester.ask("GET", "/vehicle/v1/components")) == (403, "no_session")

    run(tmp_path, story, policy="driver")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer guess"}, 401),
        ({"authorization": "Basic Zm9vOmJhcg=="}, 401),
        ({"host": "evil.example"}, 421),
        ({"host": ""}, 421),
    ],
)
def test_nobody_is_answered_without_a_token_or_under_another_name(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        for path in ("/version-info", "/vehicle/v1/sessions", "/vehicle/v1/components", "/"):
            answer = await tester.ask("GET", path, headers=headers)
            assert answer[0] == status
            assert "brake" not in str(answer)
            assert answer[1]["error"]["hint"]
        assert not (at.folder / AUDIT_NAME).exists()

    run(tmp_path, story)


def test_a_tester_that_may_read_gets_no_session_to_change(tmp_path: Path) -> None:
    async def story(_: Bench, tester: Hand) -> None:
        wide = await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        assert code_of(wide) == (403, "no_permission")
        assert (await tester.ask("POST", "/vehicle/v1/sessions", REASON))[0] == 201
        assert code_of(await tester.ask("POST", "/vehicle/v1/sessions", REASON)) == (409, "session_open")
        assert code_of(await tester.ask("POST", f"{BRAKE}/locks")) == (403, "scope")

    run(tmp_path, story, scope="read")


def test_a_vehicle_that_allows_no_diagnostics_allows_no_tester(tmp_path: Path) -> None:
    async def story(_: Bench, tester: Hand) -> None:
        refused = await tester.ask("POST", "/vehicle/v1/sessions", REASON)
        assert code_of(refused) == (403, "diagnostics_off")

    run(tmp_path, story, policy="off")


def test_one_tester_has_nothing_of_anothers_session(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON)
        other = hand(at, "bench")  # whose name the other's begins with
        assert (await other.ask("GET", "/vehicle/v1/sessions"))[1] == {"items": []}
        assert code_of(await other.ask("GET", "/vehicle/v1/components")) == (403, "no_session")
        assert (await other.ask("DELETE", "/vehicle/v1/session"))[0] == 404

    run(tmp_path, story)


def again(at: Bench, scope: Scope) -> Hand:
    """Remove the tester, and add one of the same name."""
    remove_tester(at.folder, "bench-1", durability="buffered")
    token = add_tester(at.folder, "bench-1", scope, secret=lambda size: b"7" * size, durability="buffered")
    return Hand(at, token)


def test_a_tester_that_is_added_again_has_nothing_of_its_namesakes_session(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        other = again(at, "read")
        assert (await other.ask("GET", "/vehicle/v1/sessions"))[1] == {"items": []}
        assert code_of(await other.ask("POST", f"{BRAKE}/locks")) == (403, "no_session")

    run(tmp_path, story)


def test_a_session_and_what_it_began_end_when_its_tester_is_there_no_more(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        assert (await tester.ask("POST", f"{BRAKE}/cyclic-subscriptions", {"data": "F195"}))[0] == 200
        other = hand(at, "bench-2")
        await other.ask("POST", "/vehicle/v1/sessions", REASON)
        remove_tester(at.folder, "bench-1", durability="buffered")
        at.face._close_nobodys()
        assert at.desk.cyclic.sessions() == set()
        assert (await other.ask("GET", "/vehicle/v1/components"))[0] == 200
        assert len(at.face._sessions.all(now=at.clock.now())) == 1

    run(tmp_path, story)


def test_a_session_that_is_wider_than_its_tester_may_ask_for_ends(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        file = at.folder / TESTERS_NAME
        file.write_bytes(file.read_bytes().replace(b'"service"', b'"read"'))
        assert code_of(await tester.ask("GET", "/vehicle/v1/components")) == (403, "no_session")
        at.face._close_nobodys()
        assert at.face._sessions.all(now=at.clock.now()) == {}

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "raw", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("GET", "/vehicle/v1/", b"", 404),
        ("GET", "/vehicle/v1/nothing", b"", 404),
        ("GET", "/vehicle/v1/" + "x" * 400, b"", 404),
        ("PATCH", "/vehicle/v1/components", b"", 404),
        ("DELETE", "/vehicle/v1/sessions", b"", 404),
        ("GET", "/vehicle/v1/components?all=1", b"", 422),
        ("GET", f"{BRAKE}/faults?mask=-1", b"", 422),
        ("GET", f"{BRAKE}/faults?mask=999", b"", 422),
        ("GET", f"{BRAKE}/faults?mask=1&mask=2", b"", 422),
        ("GET", f"{BRAKE}/faults?", b"", 200),
        ("GET", f"{BRAKE}/data?category=any", b"", 422),
        ("GET", f"{BRAKE}/faults?mask", b"", 422),
        ("POST", f"{BRAKE}/locks", b"{", 422),
        ("POST", f"{BRAKE}/locks", b"[]", 422),
        ("POST", f"{BRAKE}/locks", b"\xff", 422),
        ("POST", f"{BRAKE}/locks", b"[" * 60_000, 422),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, method: str, path: str, raw: bytes, status: int
) -> None:
    async def story(_: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        assert (await tester.ask(method, path, raw=raw))[0] == status

    run(tmp_path, story)


@pytest.mark.parametrize("body", [{}, {"reason": ""}, REASON | {"minutes": 481}, REASON | {"by": "me"}, REASON | {"scope": "all"}])  # fmt: skip
def test_a_session_is_asked_for_with_a_reason_and_bounds(tmp_path: Path, body: dict[str, Any]) -> None:
    async def story(_: Bench, tester: Hand) -> None:
        assert (await tester.ask("POST", "/vehicle/v1/sessions", body))[0] == 422

    run(tmp_path, story)


def visits(folder: Path) -> list[Visit]:
    return [msgspec.json.decode(line, type=Visit) for line in read_audit(folder).splitlines()]


def test_what_a_tester_asks_is_written_down_and_changes_before_they_are_done(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        await tester.ask("GET", f"{BRAKE}/faults")
        await tester.ask("DELETE", f"{BRAKE}/faults")
        found = visits(at.folder)
        assert [(each.method, each.path, each.status, each.code) for each in found] == [
            ("POST", "/sessions", 0, ""),
            ("GET", "/components/brake/faults", 200, ""),
            ("DELETE", "/components/brake/faults", 0, ""),
            ("DELETE", "/components/brake/faults", 409, "lock_needed"),
        ]
        assert {each.tester for each in found} == {"bench-1"}
        assert tester.token.encode() not in read_audit(at.folder)

    run(tmp_path, story)


def test_a_write_is_written_down_with_the_value_wanted_the_one_before_and_the_one_after(
    tmp_path: Path,
) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        await tester.ask("POST", f"{BRAKE}/locks")
        _, done = await tester.ask("PUT", f"{BRAKE}/data/0100", {"data": "0a0b0cff"})
        assert done["before"] == "0a0b0c0d"
        await tester.ask("PUT", f"{BRAKE}/data/F190", {"data": "x" * 500})
        found = visits(at.folder)[-4:]
        assert [(each.status, each.wanted, each.before, each.data) for each in found] == [
            (0, "0a0b0cff", "", ""), (200, "0a0b0cff", "0a0b0c0d", "0a0b0cff"), (0, "x" * 128, "", ""), (403, "x" * 128, "", ""),
        ]  # fmt: skip

    run(tmp_path, story)


def test_what_cannot_be_written_down_is_not_done(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON | {"scope": "service"})
        await tester.ask("POST", f"{BRAKE}/locks")
        (at.folder / AUDIT_NAME).unlink()
        (at.folder / AUDIT_NAME).mkdir()
        assert code_of(await tester.ask("DELETE", f"{BRAKE}/faults")) == (503, "disk")
        assert code_of(await tester.ask("GET", f"{BRAKE}/faults")) == (503, "disk")
        (at.folder / AUDIT_NAME).rmdir()
        assert len((await tester.ask("GET", f"{BRAKE}/faults"))[1]["items"]) == 2

    run(tmp_path, story)


def test_what_is_written_down_has_a_bound_and_keeps_the_newest(tmp_path: Path) -> None:
    audit = Audit(tmp_path, durability="buffered")
    full = tmp_path / AUDIT_NAME
    line = b'{"at":"2026-01-01T00:00:00Z","tester":"t","session":"s","method":"GET","path":"/old"}\n'
    full.write_bytes(line * (AUDIT_BYTES_MAX // len(line)))
    audit.note(Visit(at=NOW, tester="t", session="s", method="GET", path="/new"))
    assert before(full).exists()
    assert visits(tmp_path)[-1].path == "/new"
    assert len(full.read_bytes()) < 200


def test_a_removed_tester_is_nobody(tmp_path: Path) -> None:
    async def story(at: Bench, tester: Hand) -> None:
        await tester.ask("POST", "/vehicle/v1/sessions", REASON)
        remove_tester(at.folder, "bench-1", durability="buffered")
        assert (await tester.ask("GET", "/vehicle/v1/components"))[0] == 401

    run(tmp_path, story)


def test_testers_are_few_named_and_kept_as_digests(tmp_path: Path) -> None:
    tokens = [
        add_tester(tmp_path, f"t{number}", "read", secret=lambda size, n=number: bytes([n]) * size)  # type: ignore[misc]
        for number in range(TESTERS_MAX)
    ]
    held = read_testers(tmp_path)
    assert [found.name for token in tokens if (found := find_tester(held, token))] == [
        each.name for each in held
    ]
    assert find_tester(held, "") is None
    assert not any(token.encode() in (tmp_path / TESTERS_NAME).read_bytes() for token in tokens)
    with pytest.raises(Conflict):
        add_tester(tmp_path, "one-more", "read", secret=secret)
    with pytest.raises(NotFound):
        remove_tester(tmp_path, "nobody")
    remove_tester(tmp_path, "t0")
    for bad in ("", "Bench", "a.b", "-a", "x" * 41, "a b"):
        with pytest.raises(InvalidInput):
            add_tester(tmp_path, bad, "read", secret=secret)
    with pytest.raises(Conflict):
        add_tester(tmp_path, "t1", "read", secret=secret)


@pytest.mark.parametrize("behind_tls", [False, True])
def test_it_speaks_http_over_a_socket(tmp_path: Path, *, behind_tls: bool) -> None:
    address = Address(host="127.0.0.1", port=free_port())
    pki = ensure_pki(tmp_path / "pki", names=["127.0.0.1"], now=SystemClock().now())
    tls = tls_of(pki.server_certificate, pki.server_key) if behind_tls else None
    trusted = ssl.create_default_context(cafile=str(pki.ca_certificate))
    url = f"{'https' if behind_tls else 'http'}://{address.shown}"

    async def story(at: Bench, tester: Hand) -> None:
        task = asyncio.create_task(at.face.serve(address, tls=tls))
        headers = {"Authorization": f"Bearer {tester.token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, verify=trusted) as client:
            for _ in range(600):
                try:
                    told = (await client.get("/version-info")).json()
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.02)
            assert told["sovd_info"][0]["base_uri"] == "/vehicle/v1"
            opened = await client.post("/vehicle/v1/sessions", json=REASON)
            assert opened.status_code == 201
            found = await client.get("/vehicle/v1/functions/vehicle-health")
            assert [each["component"] for each in found.json()["items"]] == ["brake", "brake"]
            assert (
                await client.get("/version-info", headers={"Authorization": "Bearer no"})
            ).status_code == 401
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(tmp_path, story)


def test_behind_tls_whoever_is_silent_counts_and_is_sent_away_and_others_are_answered(tmp_path: Path) -> None:
    address = Address(host="127.0.0.1", port=free_port())
    pki = ensure_pki(tmp_path / "pki", names=["127.0.0.1"], now=SystemClock().now())
    trusted = ssl.create_default_context(cafile=str(pki.ca_certificate))
    large = {"reason": "x" * 50_000}

    async def connect(*, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(600):
            with contextlib.suppress(ConnectionRefusedError):
                return await asyncio.open_connection(address.host, address.port, ssl=trusted if tls else None)
            await asyncio.sleep(0.02)
        raise AssertionError("nobody serves")

    async def story(at: Bench, tester: Hand) -> None:
        tls = tls_of(pki.server_certificate, pki.server_key)
        task = asyncio.create_task(at.face.serve(address, tls=tls))
        silent = [await connect(tls=False) for _ in range(CONNECTIONS_MAX + 3)]
        # Over the limit they are sent away at once, long before the others' time is over.
        ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
        over, _ = await asyncio.wait(ends, timeout=REQUEST_S_MAX / 2, return_when=asyncio.FIRST_COMPLETED)
        assert over
        await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), 60)
        # One that takes its answer and does not close is gone as well.
        reader, writer = await connect(tls=True)
        writer.write(b"NONSENSE\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 400 ")
        headers = {"Authorization": f"Bearer {tester.token}"}
        async with httpx.AsyncClient(
            base_url=f"https://{address.shown}", headers=headers, timeout=60, verify=trusted
        ) as client:
            assert (await client.get("/version-info")).status_code == 200
            assert (await client.post("/vehicle/v1/sessions", json=large)).status_code == 422
        for _, each in [*silent, (reader, writer)]:
            each.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(tmp_path, story)


def test_a_vehicle_serves_it_where_its_configuration_says_so_and_not_otherwise(tmp_path: Path) -> None:
    world = real_time_world(tmp_path)
    ports = [free_port(), free_port()]
    token = add_tester(world.folder, "bench-1", "read", secret=secret)
    served = {"diagnostics": "test", "diagnostics_http": f"127.0.0.1:{ports[0]}"}
    with (
        running(world, **served) as page,
        httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client,
    ):
        base = f"http://127.0.0.1:{ports[0]}/vehicle/v1"
        for _ in range(600):
            with contextlib.suppress(httpx.ConnectError):
                client.post(f"{base}/sessions", json=REASON)
                break
            sleep(0.02)
        listed = client.get(f"{base}/components").json()["items"]
        assert [each["name"] for each in listed] == [each.name for each in world.config.ecus]
        assert client.get(f"{page}/vehicle/v1/components").status_code == 404  # not on the driver's page
        with pytest.raises(httpx.ConnectError):
            client.get(f"http://127.0.0.1:{ports[1]}/vehicle/v1/components")


@pytest.mark.parametrize(
    "settings",
    [
        {"diagnostics_http": "192.168.7.2:8781"},
        {"diagnostics_http": "0.0.0.0:8781"},
        {"diagnostics_http": "8781"},
        {"diagnostics_http": "127.0.0.1:8781", "diagnostics_cert_file": "a.pem"},
        {"diagnostics_http": "127.0.0.1:8781", "diagnostics_key_file": "a.pem"},
    ],
)
def test_an_address_that_others_reach_needs_a_certificate(tmp_path: Path, settings: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        msgspec.structs.replace(real_time_world(tmp_path).config, **settings)


@pytest.mark.parametrize("text", ["192.168.7.2:8781", "0.0.0.0:8781"])
def test_who_gives_an_address_without_a_certificate_is_told_the_settings_it_takes(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        msgspec.structs.replace(real_time_world(tmp_path).config, diagnostics_http=text)
    assert "diagnostics_http" in refusal.value.message
    assert "diagnostics_cert_file and diagnostics_key_file, two PEM files" in refusal.value.hint


def test_a_vehicle_with_a_bad_certificate_runs_on_and_serves_nobody(tmp_path: Path) -> None:
    world = real_time_world(tmp_path)
    port = free_port()
    (world.folder / "bad.pem").write_text("no certificate")
    bad = {"diagnostics_cert_file": "bad.pem", "diagnostics_key_file": "bad.pem"}
    with running(world, diagnostics="test", diagnostics_http=f"127.0.0.1:{port}", **bad) as page:
        for _ in range(20):
            assert httpx.get(f"{page}/part").status_code == 200
            sleep(0.02)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{port}/version-info")


def test_an_encrypted_key_asks_nobody_at_the_terminal(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path / "pki", names=["127.0.0.1"], now=SystemClock().now())
    key = load_pem_private_key(pki.server_key.read_bytes(), password=None)
    encrypted = tmp_path / "key.pem"
    encrypted.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    )
    with pytest.raises(InvalidInput):
        tls_of(pki.server_certificate, encrypted)


def test_a_certificate_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(InvalidInput):
        tls_of(tmp_path / "bad.pem", tmp_path / "bad.pem")
    with pytest.raises(InvalidInput):
        tls_of(tmp_path / "none.pem", tmp_path / "none.pem")
