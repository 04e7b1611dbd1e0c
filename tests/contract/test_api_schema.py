"""Every operation of the management API, held to its own OpenAPI document by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.storage.db import connect
from support.console_server import add_account, serving
from support.console_world import World
from support.mes import reading

pytestmark = [pytest.mark.engines, pytest.mark.slow]

# 422: well-formed and wrong (a query, a programme, an unknown option); 429: the login throttle.
CONFIG = """
continue-on-failure = true
[phases.stateful]
enabled = false
[generation]
max-examples = 1
database = "none"
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]
"""
PUBLIC = {"/api/v1/login", "/api/v1/first-login", "/health"}


@pytest.mark.timeout(1_200)  # a machine that is busy with other things
def test_every_operation_keeps_what_its_schema_says(pg_url: str, nats_url: str, tmp_path: Path) -> None:
    token = add_account(pg_url, "admin", Role.ADMIN)
    with connect(pg_url) as conn:
        World(conn, SystemIds(), now=SystemClock().now(), vehicles=8).build()
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    with serving(pg_url, tmp_path, nats_url=nats_url) as origin, reading(nats_url, pg_url):
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run",
            f"{origin}/api/v1/openapi.json", "-H", f"Authorization: Bearer {token}", "--seed", "1",
            # Python 3.11 counts how deep ast.parse is over all threads: two workers now and then end in a SystemError.
            "--workers", "1", "--exclude-operation-id", "revoke_tokens",  # it would sign the run out
            "--exclude-operation-id", "stream_events", "--exclude-operation-id", "follow_events",  # endless
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=1_100, check=False)
    assert done.returncode == 0, done.stdout.partition("= WARNINGS =")[0][-6000:] + done.stderr[-2000:]


def test_the_document_is_one_and_nobody_gets_anything_without_an_account(pg_url: str, tmp_path: Path) -> None:
    token = add_account(pg_url, "admin", Role.ADMIN)
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, timeout=60) as client:
        admin = {"Authorization": f"Bearer {token}"}
        document = client.get("/api/v1/openapi.json", headers=admin).json()
        assert document["components"]["schemas"]["Reason"]["additionalProperties"] is False
        assert client.get("/api/v1/openapi/schema.json", headers=admin).json() == document
        tried = 0
        for path, operations in document["paths"].items():
            for method in operations:
                if path in PUBLIC:
                    continue
                answer = client.request(method.upper(), path.replace("{", "").replace("}", ""), json={})
                assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
                assert answer.json()["error"]["kind"] == "unauthenticated"
                tried += 1
        assert tried > 50
