"""A box with a SWUpdate client at the end of the line: what it gets instead of virtual ECUs.

The box updates itself over DDI. The plant gives it its identity, a token, the CA and the baseline's
`.swu` as `factory.swu`; installing that is the client's own work (docs/howto/plant.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.vin import Vin
from ringroad.sim.assembly import Blueprint, Surroundings
from ringroad.trust.keys import key_from_seed, key_id, private_pem, public_key_dict

TOKEN_BYTES = 24  # 48 characters; DDI allows 128


def build_box(
    folder: Path,
    vin: Vin,
    blueprint: Blueprint,
    surroundings: Surroundings,
    *,
    secret: Callable[[int], bytes],
) -> dict[str, Any]:
    """Write a box's folder and return its registration.

    Args:
        folder: made; holds `token`, `key.pem`, `ca.pem` and `factory.swu`.
        vin: its identity, also its DDI controller id.
        blueprint: exactly one ECU, with its package.
        surroundings: the server's CA is taken from here.
        secret: random bytes by count.

    Raises:
        InvalidInput: the blueprint is not that of a box.
    """
    if len(blueprint.ecus) != 1 or set(blueprint.packages) != set(blueprint.ecus):
        raise InvalidInput("a box has one ECU and one package")
    ((name, table),) = blueprint.ecus.items()
    package = blueprint.packages[name]
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    token = secret(TOKEN_BYTES).hex()
    signer = key_from_seed(secret(32))
    for file, data in (("token", token.encode()), ("key.pem", private_pem(signer))):
        (folder / file).touch(mode=0o600)
        (folder / file).write_bytes(data)
    (folder / "ca.pem").write_bytes(surroundings.ca_pem)
    (folder / "factory.swu").write_bytes(package.image)
    public = public_key_dict(signer)
    serial = f"{vin[-6:]}-00-{name}"
    return {
        "vin": vin,
        "programme_id": blueprint.programme_id,
        "variant": blueprint.variant,
        "region": blueprint.region,
        "release_id": blueprint.release_id,
        "gateway": "ddi",
        "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
        "ecus": [
            {
                "serial": serial,
                "name": name,
                "hardware_id": table["hardware_id"],
                "public_key": public,
                "key_id": key_id(public),
                "is_primary": True,
            }
        ],
        "installed": [
            {
                "serial": serial,
                "filename": package.filename,
                "version": package.version,
                "image_sha256": hashlib.sha256(package.image).hexdigest(),
            }
        ],
    }
