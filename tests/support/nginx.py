"""Debian's nginx, with the configuration of the how-to page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ringroad.cli.supervisor import answers
from support.gateways import eventually

PAGE = Path(__file__).parents[2] / "docs/howto/behind-nginx.md"
PROGRAMS = ("/usr/sbin/nginx", "/usr/bin/nginx")
AROUND = """daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
access_log off;
{temporary}
{server}
}}
"""


def program() -> str | None:
    return next((path for path in PROGRAMS if Path(path).exists()), None)


def server_block(ports: Sequence[int], *, listen: int, certificate: Path, key: Path) -> str:
    """Return the page's configuration with addresses of our own."""
    found = re.search(r"^```nginx\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    text = found[1]
    for page, ours in (
        ("127.0.0.1:8080", f"127.0.0.1:{ports[0]}"), ("127.0.0.1:8081", f"127.0.0.1:{ports[1]}"),
        ("listen 8443", f"listen 127.0.0.1:{listen}"), ("/etc/nginx/ringroad.crt", str(certificate)),
        ("/etc/nginx/ringroad.key", str(key)),
    ):  # fmt: skip
        assert page in text
        text = text.replace(page, ours)
    return text


@contextmanager
def nginx(folder: Path, server: str, *, port: int) -> Iterator[None]:
    """Run nginx until the block ends."""
    name = program()
    assert name is not None
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(AROUND.format(folder=folder, temporary=temporary, server=server))
    with subprocess.Popen(
        [name, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    ) as process:
        try:
            assert eventually(lambda: process.poll() is not None or answers("127.0.0.1", port), within_s=30)
            assert process.poll() is None, (folder / "error.log").read_text()
            yield
        finally:
            process.terminate()
