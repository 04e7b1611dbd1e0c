"""An object store on loopback: an S3 server that keeps objects as files, and looks at no credentials."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from localbucket import S3Handler

BUCKET = "images"


class S3(S3Handler):  # type: ignore[misc]
    """An S3 server that keeps objects as files, with the one request of obstore's that the package leaves out."""

    def _post_request(self, bucket: str, key: str) -> None:
        if key or "delete" not in self.query:
            super()._post_request(bucket, key)
            return
        answer = ET.Element("DeleteResult")
        for wanted in ET.fromstring(self._read_body()).findall(".//{*}Key"):  # noqa: S314 - our own request
            self._object_path(bucket, str(wanted.text)).unlink(missing_ok=True)
            gone = ET.SubElement(answer, "Deleted")
            ET.SubElement(gone, "Key").text = wanted.text
        self._send_xml(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Say nothing."""


@contextmanager
def serving_bucket(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a bucket below `folder`; yield the folder of its objects."""
    objects = folder / "s3" / BUCKET
    objects.mkdir(parents=True)
    handler = type("Handler", (S3,), {"data_root": objects.parent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        for name, value in {
            "ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "ALLOW_HTTP": "true", "REGION": "us-east-1",
            "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test",
        }.items():  # fmt: skip
            patch.setenv(f"AWS_{name}", value)
        yield objects
        server.shutdown()
        thread.join()
