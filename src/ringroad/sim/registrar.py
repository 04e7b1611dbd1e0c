"""What a plant asks of the server, over its management API.

Invariant: an image is used only if its bytes have the digest that the server named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringroad.kernel.errors import NotFound, Untrusted
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.sim.api import Api
from ringroad.sim.assembly import BaselinePackage, Blueprint
from ringroad.sim.plant import LineOrder, LineSchedule


@dataclass(slots=True)
class HttpRegistrar:
    """A `plant.Registrar` over HTTP.

    Attributes:
        api: the access of whoever runs the plant.
        programme_id: whose line it is.
    """

    api: Api
    programme_id: str
    _images: dict[str, bytes] = field(default_factory=dict)  # by sha256: the plant's own store
    _schedule: LineSchedule | None = None  # as last read

    async def current_schedule(self) -> LineSchedule | None:
        """Return the newest schedule, or None before the first; orders are read once per generation."""
        found = await self.api.get(f"/programmes/{self.programme_id}/schedules", limit=1)
        if not found:
            return None
        if self._schedule is None or self._schedule.generation != found[0]["generation"]:
            document = found[0]["document"]
            waiting = {
                order.id: order for order in [*await self._orders("open"), *await self._orders("building")]
            }
            self._schedule = LineSchedule(
                generation=found[0]["generation"],
                orders=tuple(waiting[each] for each in document["sequence"] if each in waiting),
                release_id=document["baseline_release_id"],
                stopped=document.get("stopped", {}),
            )
        return self._schedule

    async def _orders(self, state: Any) -> list[LineOrder]:
        """Return all orders in a state, page by page."""
        found: list[LineOrder] = []
        while len(found) % PAGE_ROWS_MAX == 0:
            rows = await self.api.get(
                "/orders", programme_id=self.programme_id, state=state, limit=PAGE_ROWS_MAX, offset=len(found)
            )
            if not rows:
                break
            found += [
                LineOrder(
                    id=row["id"],
                    variant=row["variant"],
                    region=row["region"],
                    state=state,
                    options=tuple(row["options"]),
                )
                for row in rows
            ]
        return found

    async def blueprint(self, *, variant: str, region: str) -> Blueprint:
        """Return the variant's ECUs and the baseline's packages with their images, as they are now."""
        document = (await self.api.get(f"/programmes/{self.programme_id}"))["document"]
        baseline = await self.api.get(f"/programmes/{self.programme_id}/baseline/{variant}")
        packages = {
            package["ecu"]: BaselinePackage(
                ecu=package["ecu"], filename=package["filename"], version=package["version"],
                format=package["format"], image=await self._image(package), hardware_ids=tuple(package["hardware_ids"]),
                release_counter=package["release_counter"],
            )
            for package in baseline["packages"]
        }  # fmt: skip
        return Blueprint(
            programme_id=self.programme_id,
            variant=variant,
            region=region,
            release_id=baseline["release_id"],
            ecus={name: document["ecus"][name] for name in document["variants"][variant]["ecus"]},
            packages=packages,
            checks=await self._checks(),
        )

    async def _checks(self) -> tuple[tuple[str, str, str], ...]:
        """Return station, gate and name of each check that the line's gates ask for; an older server asks for none."""
        try:
            asked = await self.api.get(f"/programmes/{self.programme_id}/end-of-line")
        except NotFound:
            return ()
        return tuple((each["station"], each["gate"], each["check"]) for each in asked["checks"])

    async def passed_by(
        self, order_id: str, parts: Sequence[Mapping[str, Any]]
    ) -> frozenset[tuple[str, str]]:
        """Return station and gate of those that let a car with these parts pass unseen; an older server has none.

        The server knows of the parts at the birth only: a car with one of a contained lot is looked at everywhere.
        """
        base = f"/programmes/{self.programme_id}"
        try:
            found = await self.api.post_once(f"{base}/inspections", {"order_id": order_id})
            bad = await self.api.get(f"{base}/contained-lots", limit=PAGE_ROWS_MAX) if parts else []
        except NotFound:
            return frozenset()
        if {(each["part"], each["lot"]) for each in bad} & {(each["part"], each["lot"]) for each in parts}:
            return frozenset()
        return frozenset((each["station"], each["gate"]) for each in found if not each["inspect"])

    async def _image(self, package: Mapping[str, Any]) -> bytes:
        sha256 = package["image_sha256"]
        if sha256 not in self._images:
            image = await self.api.download(f"/packages/{package['id']}/image")
            if hashlib.sha256(image).hexdigest() != sha256:
                raise Untrusted(f"the image of {package['filename']} is not the one on record")
            self._images[sha256] = image
        return self._images[sha256]

    async def start_order(self, order_id: str) -> None:
        """Note that a car entered the line."""
        await self.api.post_once(f"/orders/{order_id}/start")  # the plant knows what a lost answer means

    async def reopen_order(self, order_id: str) -> None:
        """Put an order back whose car left the line unfinished."""
        await self.api.post_once(f"/orders/{order_id}/reopen")

    async def register(self, registration: Mapping[str, Any], *, order_id: str) -> bytes | None:
        """Register a new vehicle; return its birth record, which an older server does not make."""
        body = {**registration, "order_id": order_id}
        installed = {each["serial"]: each for each in body.pop("installed")}
        body["ecus"] = [
            {**ecu, **{key: installed[ecu["serial"]][key] for key in ("filename", "version", "image_sha256")}}
            for ecu in body["ecus"]
        ]
        await self.api.post_once("/vehicles", body)
        try:
            found = await self.api.get(f"/vehicles/{registration['vin']}/birth")
        except NotFound:
            return None
        return str(found["envelope"]).encode()
