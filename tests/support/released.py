"""A hub with keys of its own, whose releases are signed for real."""

from __future__ import annotations

from datetime import datetime, timedelta

from securesystemslib.signer import CryptoSigner

from ringroad.build import store
from ringroad.build.repository.store import (
    OnlineSigners,
    accept_image_targets,
    install_roots,
    pending_targets,
)
from ringroad.build.site.flash import Held
from ringroad.build.site.store_births import targets_of, trust_for
from ringroad.build.site.store_held import Anchors, take_trust
from ringroad.protocol.site import Trust
from ringroad.storage.db import Connection, transaction
from ringroad.trust import sign
from ringroad.trust.keys import public_key_dict
from ringroad.trust.sign import ImageTarget
from support.mes import CLOCK, IDS
from support.uptane import Repo, seeded

IMAGE, DIRECTOR = Repo("image"), Repo("director")
IMAGE_ROOT = IMAGE.put_root(1, expires=CLOCK.now() + timedelta(days=300))
DIRECTOR_ROOT = DIRECTOR.put_root(1, expires=CLOCK.now() + timedelta(days=300))
SIGNERS = OnlineSigners(
    image_snapshot=IMAGE.signers("snapshot")[0],
    image_timestamp=IMAGE.signers("timestamp")[0],
    director_targets=DIRECTOR.signers("targets")[0],
    director_snapshot=DIRECTOR.signers("snapshot")[0],
    director_timestamp=DIRECTOR.signers("timestamp")[0],
)


SITE_KEY = seeded("the site's own key")
ANCHORS = Anchors(
    site="wren", key_id=SITE_KEY.public_key.keyid, image_root=IMAGE_ROOT, director_root=DIRECTOR_ROOT
)


def asked(
    hub: Connection, *, key: CryptoSigner = SITE_KEY, now: datetime | None = None
) -> tuple[Trust, bytes]:
    """Return what the hub answers about trust, with the targets that it names."""
    with transaction(hub):
        given = trust_for(
            hub,
            IDS,
            SIGNERS.director_targets,
            site_id="wren",
            key=public_key_dict(key),
            now=now or CLOCK.now(),
        )
        return given, targets_of(hub, given.targets_sha256)


def trusts(hub: Connection, site: Connection) -> Held:
    """Let the site hold what its hub says of trust."""
    given, targets = asked(hub)
    with transaction(site):
        return take_trust(site, given, targets=targets, anchors=ANCHORS, now=CLOCK.now())


def publish(conn: Connection, programme_id: str = "wren") -> None:
    """Sign what a line flashes, as the offline keys do."""
    now = CLOCK.now()
    install_roots(conn, image_root=IMAGE_ROOT, director_root=DIRECTOR_ROOT, now=now)
    baseline = store.get_baseline(conn, programme_id)
    assert baseline
    images = {
        package.filename: ImageTarget(
            filename=package.filename, length=package.image_bytes, sha256=package.image_sha256,
            sha512=package.image_sha512, hardware_ids=package.hardware_ids, release_counter=package.release_counter,
        )
        for variant in baseline.packages
        for package in store.baseline_targets(conn, programme_id, variant).values()
    }  # fmt: skip
    payload = pending_targets(conn, packages=list(images.values()), now=now)
    assert payload is not None
    accept_image_targets(conn, SIGNERS, sign.add_signatures(payload, IMAGE.signers("targets")), now=now)
