"""Where the API's document is built: gateways share the event loop."""

from __future__ import annotations

import threading

import msgspec
import pytest
from litestar import Litestar, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.testing import TestClient

from ringroad.http.live import document_router


class Thing(msgspec.Struct):
    name: str


@get("/loop")
async def loop() -> str:
    return threading.current_thread().name


@get("/thing")
async def thing() -> Thing:
    return Thing(name="bolt")


@pytest.mark.parametrize("name", ["schema.json", "openapi.json", ""])
def test_the_document_is_built_in_a_thread_wherever_it_is_asked_for(name: str) -> None:
    built_by: list[str] = []

    def name_operation(*_: object) -> str:
        built_by.append(threading.current_thread().name)
        return f"operation{len(built_by)}"

    config = OpenAPIConfig(
        title="small", version="1", operation_id_creator=name_operation, openapi_router=document_router(),
        render_plugins=[JsonRenderPlugin(path="/schema.json")],
    )  # fmt: skip
    with TestClient(Litestar([loop, thing], openapi_config=config)) as client:
        answer = client.get(f"/api/v1/openapi/{name}")
        assert answer.json()["info"]["title"] == "small"
        assert answer.headers["content-type"].startswith("application/vnd.oai.openapi+json")
        assert client.get("/loop").text not in built_by
        assert built_by
        assert client.get("/api/v1/openapi/elsewhere").status_code == 404
