"""Answers of the shape that hawkBit's documentation gives its management and device API. Not hawkBit: it decides nothing.

Source: hawkBit documentation, REST API, Management API (targets, softwaremodules, distributionsets, rollouts,
system/configs) and Direct Device Integration API. What is asked otherwise is answered 400 and remembered.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADMIN = "Basic YWRtaW46YWRtaW4="
CREATED, STEPS = 201, ("creating", "ready")


class State:
    """What was made, by id."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.port = 0
        self.tokens: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.rollouts: dict[int, dict[str, Any]] = {}
        self.open: dict[str, int] = {}  # action by device
        self.closed: list[str] = []
        self.configs: dict[str, Any] = {}
        self.refused: list[str] = []

    def management(self, method: str, path: str, given: Any) -> tuple[int, Any]:
        match method, path.strip("/").split("/")[2:]:
            case "GET", ["targets?limit=1"]:
                return 200, {"content": [], "total": 0, "size": 0}
            case "PUT", ["system", "configs", key] if set(given) == {"value"}:
                self.configs[key] = given["value"]
                return 204, None
            case "POST", ["targets"] if isinstance(given, list) and given:
                for each in given:
                    self.tokens[each["controllerId"]] = each["securityToken"]
                    self.names[each["controllerId"]] = each["name"]
                return CREATED, given
            case "POST", ["softwaremodules"] if {"name", "version", "type"} <= set(given[0]):
                return CREATED, [{**given[0], "id": 7}]
            case "POST", ["distributionsets"] if given[0]["modules"] == [{"id": 7}]:
                return CREATED, [{**given[0], "id": 8}]
            case "POST", ["rollouts"] if given["distributionSetId"] == 8 and given["amountGroups"] >= 1:
                return CREATED, self._make(given)
            case "GET", ["rollouts", number] if int(number) in self.rollouts:
                rollout = self.rollouts[int(number)]
                if rollout["status"] == "creating":
                    rollout["status"] = "ready"
                    return 200, {**rollout, "status": "creating"}
                if rollout["status"] == "running" and not self.open:
                    rollout["status"] = "finished"
                return 200, rollout
            case "POST", ["rollouts", number, "start"] if self.rollouts[int(number)]["status"] == "ready":
                rollout = self.rollouts[int(number)]
                rollout["status"] = "running"
                last = rollout["targetFilterQuery"].removeprefix("name=le=")
                for action, name in enumerate(sorted(self.tokens), 1):
                    if self.names[name] <= last:
                        self.open[name] = action
                return 204, None
        return 400, {"errorCode": "hawkbit.server.error.rest.body.notReadable"}

    def _make(self, given: dict[str, Any]) -> dict[str, Any]:
        number = 1 + len(self.rollouts)
        self.rollouts[number] = {**given, "id": number, "status": "creating"}
        return self.rollouts[number]

    def device(self, method: str, path: str, given: Any, token: str) -> tuple[int, Any]:
        found = re.fullmatch(
            r"/DEFAULT/controller/v1/([^/?]+)(?:/deploymentBase/(\d+)(/feedback)?)?(?:\?.*)?", path
        )
        if found is None or token != f"TargetToken {self.tokens.get(found[1])}":
            return 401, None
        name, action = found[1], found[2]
        base = f"http://127.0.0.1:{self.port}/DEFAULT/controller/v1/{name}"
        if action is None:
            links = {"configData": {"href": f"{base}/configData"}}
            if name in self.open:
                links["deploymentBase"] = {"href": f"{base}/deploymentBase/{self.open[name]}?c=-2127183556"}
            return 200, {"config": {"polling": {"sleep": "00:05:00"}}, "_links": links}
        if self.open.get(name) != int(action):
            return 404, None
        if found[3] is None:
            return 200, {"id": action, "deployment": {"download": "forced", "update": "forced", "chunks": []}}
        if method == "POST" and given["status"]["execution"] == "closed":
            del self.open[name]
            self.closed.append(name)
            return 200, None
        return 400, None


@contextmanager
def shaped_like_hawkbit() -> Iterator[State]:
    """Serve on loopback until the block ends."""
    state = State()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            with state.lock:
                try:
                    given = json.loads(body) if body else None
                    token = self.headers.get("authorization", "")
                    if self.path.startswith("/rest/v1/"):
                        status, document = (
                            state.management(self.command, self.path, given)
                            if token == ADMIN
                            else (401, None)
                        )
                    else:
                        status, document = state.device(self.command, self.path, given, token)
                except (KeyError, TypeError, ValueError) as error:
                    status, document = 400, {"message": repr(error)}
                if status >= 400:
                    state.refused.append(f"{self.command} {self.path}: {status}")
            data = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            if status != 204:
                self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - their names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # of the load; five would be reset when all connect at once

    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join(60)
