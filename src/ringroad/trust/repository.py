"""One repository's trusted metadata, and the only ways in which it may change.

No file, no network, no clock: bytes in, trusted values out, in the order of Uptane 5.4.4.3 to 5.4.4.6.
Modelled on python-tuf's `trusted_metadata_set.py`, and stricter where Uptane or we are:

1. Root: version exactly N+1, signed by the thresholds of N and of N+1; expiry is checked on the last one.
2. Keys of a role rotated: what that role signed before is forgotten (recovery from fast-forward).
3. Timestamp: signed, for this vehicle, version not lower, snapshot version not lower, not expired.
4. Snapshot: length, hash and version as the Timestamp says, signed, for this vehicle, nothing lower, not expired.
5. Targets: length, hash and version as the Snapshot says, signed, for this vehicle, not lower, no delegations,
   not expired.

Everywhere: one version number has one content; every size has a cap.

Invariant: `state` holds only files that passed every check of their step, whatever was raised afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from ringroad.kernel.limits import METADATA_BYTES_MAX
from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.metadata import (
    TIMESTAMP_BYTES_MAX,
    File,
    FileInfo,
    RepositoryName,
    RoleName,
    Root,
    S,
    Snapshot,
    Targets,
    Timestamp,
    check_signatures,
    matches,
    parse_file,
)
from ringroad.trust.state import RepositoryState

ROOT_ROTATIONS_MAX: Final = 64  # roots per refresh; four a year for a vehicle's 15 years

CheckTargets = Callable[[Targets], None]


class TrustedRepository:
    """The trusted metadata of one repository during one refresh.

    Attributes:
        name: which repository.
        state: what is trusted so far; persist it even when a later step refuses.
    """

    def __init__(
        self,
        state: RepositoryState,
        *,
        name: RepositoryName,
        now: datetime,
        vin: str = "",
        check_targets: CheckTargets | None = None,
    ) -> None:
        self.name = name
        self.state = state
        self._now = now
        self._vin = vin
        self._check_targets = check_targets
        self._root = parse_file(state.root, Root)
        self._first_root = self._root
        self._timestamp: File[Timestamp] | None = None
        self._snapshot: File[Snapshot] | None = None

    @property
    def root(self) -> Root:
        """The newest trusted root."""
        return self._root.signed

    @property
    def snapshot_info(self) -> FileInfo:
        """What the trusted Timestamp of this refresh says of the Snapshot."""
        assert self._timestamp is not None, "update_timestamp comes first"  # noqa: S101 - our bug
        return self._timestamp.signed.meta.snapshot

    @property
    def targets_info(self) -> FileInfo:
        """What the trusted Snapshot of this refresh says of the Targets."""
        assert self._snapshot is not None, "update_snapshot comes first"  # noqa: S101 - our bug
        return self._snapshot.signed.meta.targets

    def update_root(self, raw: bytes) -> None:
        """Trust the next root.

        Raises:
            Untrusted: see the module's step 1.

        Source: Uptane 2.1 section 5.4.4.3; TUF 1.0.31 section 5.3.
        """
        file = parse_file(raw, Root)
        wanted = self.root.version + 1
        if file.signed.version != wanted:
            raise refuse(Attack.ROLLBACK, f"root version {file.signed.version}, expected {wanted}")
        check_signatures(file, root=self.root, role="root")
        check_signatures(file, root=file.signed, role="root")
        self._root = file
        self.state = replace(self.state, root=raw)
        self._forget_rotated()

    def finish_roots(self) -> None:
        """Close the root chain.

        Raises:
            Untrusted: `freeze`: the last root is expired.
        """
        self._check_expiry(self._root, "root")

    def update_timestamp(self, raw: bytes) -> None:
        """Trust a Timestamp.

        Raises:
            Untrusted: see the module's step 3.

        Source: Uptane 2.1 section 5.4.4.4; TUF 1.0.31 section 5.4.
        """
        self.finish_roots()
        file = self._open(raw, Timestamp, "timestamp", bytes_max=TIMESTAMP_BYTES_MAX)
        if self.state.timestamp:
            old = parse_file(self.state.timestamp, Timestamp)
            self._check_newer(old, file, "timestamp")
            before, after = old.signed.meta.snapshot, file.signed.meta.snapshot
            if after.version < before.version:
                raise refuse(Attack.ROLLBACK, f"snapshot version {after.version} after {before.version}")
            if after.version == before.version and after != before:
                raise refuse(Attack.EQUIVOCATION, f"snapshot version {after.version} has two contents")
        self._check_expiry(file, "timestamp")
        self._timestamp = file
        self.state = replace(self.state, timestamp=raw)

    def current_snapshot(self) -> bytes | None:
        """Return the stored Snapshot when the Timestamp says that it is still the current one."""
        return self.state.snapshot if matches(self.snapshot_info, self.state.snapshot) else None

    def update_snapshot(self, raw: bytes) -> None:
        """Trust a Snapshot.

        Raises:
            Untrusted: see the module's step 4.

        Source: Uptane 2.1 section 5.4.4.5; TUF 1.0.31 section 5.5.
        """
        info = self.snapshot_info
        self._check_described(info, raw, "snapshot")
        file = self._open(raw, Snapshot, "snapshot", bytes_max=METADATA_BYTES_MAX)
        if file.signed.version != info.version:
            raise refuse(Attack.MIX_AND_MATCH, "the Snapshot has another version than the Timestamp says")
        if self.state.snapshot:
            old = parse_file(self.state.snapshot, Snapshot)
            self._check_newer(old, file, "snapshot")
            before, after = old.signed.meta.targets, file.signed.meta.targets
            if after.version < before.version:
                raise refuse(Attack.ROLLBACK, f"targets version {after.version} after {before.version}")
        self._check_expiry(file, "snapshot")
        self._snapshot = file
        self.state = replace(self.state, snapshot=raw)

    def current_targets(self) -> bytes | None:
        """Return the stored Targets when the Snapshot says that they are still the current ones."""
        return self.state.targets if matches(self.targets_info, self.state.targets) else None

    def update_targets(self, raw: bytes) -> Targets:
        """Trust and return the Targets.

        Raises:
            Untrusted: see the module's step 5, and whatever `check_targets` raises.

        Source: Uptane 2.1 section 5.4.4.6; TUF 1.0.31 section 5.6.
        """
        info = self.targets_info
        self._check_described(info, raw, "targets")
        file = self._open(raw, Targets, "targets", bytes_max=METADATA_BYTES_MAX)
        if file.signed.version != info.version:
            raise refuse(Attack.MIX_AND_MATCH, "the Targets have another version than the Snapshot says")
        if self.state.targets:
            self._check_newer(parse_file(self.state.targets, Targets), file, "targets")
        if file.signed.delegations is not None:
            raise refuse(Attack.DELEGATION, f"the {self.name} repository must not delegate")
        self._check_expiry(file, "targets")
        if self._check_targets is not None:
            self._check_targets(file.signed)
        self.state = replace(self.state, targets=raw)
        return file.signed

    def _open(self, raw: bytes, shape: type[S], role: RoleName, *, bytes_max: int) -> File[S]:
        """Parse a file, check its signatures, and check whom it is for."""
        file = parse_file(raw, shape, bytes_max=bytes_max)
        check_signatures(file, root=self.root, role=role)
        vin = getattr(file.signed, "vin", "")
        if vin != self._vin:
            # One online key signs for every vehicle: without this, another vehicle's higher version numbers
            # could be replayed here and would lock this vehicle out for good.
            raise refuse(Attack.WRONG_VEHICLE, f"{role} metadata is signed for another vehicle")
        return file

    def _check_expiry(self, file: File[S], role: RoleName) -> None:
        if file.expires_at <= self._now:
            raise refuse(Attack.FREEZE, f"{self.name} {role} metadata expired at {file.signed.expires}")

    @staticmethod
    def _check_newer(old: File[S], new: File[S], role: RoleName) -> None:
        if new.signed.version < old.signed.version:
            raise refuse(Attack.ROLLBACK, f"{role} version {new.signed.version} after {old.signed.version}")
        if new.signed.version == old.signed.version and new.signed_bytes != old.signed_bytes:
            raise refuse(Attack.EQUIVOCATION, f"{role} version {new.signed.version} has two contents")

    @staticmethod
    def _check_described(info: FileInfo, raw: bytes, role: RoleName) -> None:
        if info.length < len(raw):
            raise refuse(Attack.ENDLESS_DATA, f"{role}: {len(raw)} bytes, {info.length} were announced")
        if not matches(info, raw):
            raise refuse(Attack.MIX_AND_MATCH, f"{role}: not the file that was announced")

    def _forget_rotated(self) -> None:
        """Forget what rotated keys signed, so that a stolen key's high versions do not outlive the key.

        Source: TUF 1.0.31 section 5.3.11; for Targets our own rule, see ADR 0010.
        """
        old, new = self._first_root.signed.roles, self.root.roles
        rotated = {
            role for role in ("timestamp", "snapshot", "targets") if _keys(old, role) != _keys(new, role)
        }
        if rotated:
            self.state = replace(self.state, timestamp=b"", snapshot=b"")
        if "targets" in rotated:
            self.state = replace(self.state, targets=b"")


def _keys(roles: object, role: str) -> frozenset[str]:
    return frozenset(getattr(roles, role).keyids)
