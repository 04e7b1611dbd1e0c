"""`ringroad keys`: make, show, use and rotate the keys of both repositories.

Offline keys (both roots, Image Targets) go to a folder of their own that the server never reads.
Online keys go to ``var/keys/online``, the public roots to ``var/keys/image`` and ``var/keys/director``.

Invariants: a private key is written once, with mode 0600, into a folder with mode 0700, and never over another
file. A key file is used only when the newest root names its key id.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from securesystemslib.signer import CryptoSigner

from ringroad.build.repository.decide import ROOT_LIFETIME
from ringroad.build.repository.store import OnlineSigners, install_root
from ringroad.cli.keys_payload import describe, read_request
from ringroad.cli.supervisor import prepare_var
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from ringroad.kernel.limits import METADATA_BYTES_MAX
from ringroad.storage.db import Connection
from ringroad.storage.settings import Settings
from ringroad.trust import sign
from ringroad.trust.keys import key_from_pem, key_from_seed, private_pem
from ringroad.trust.metadata import ROLES, RepositoryName, RoleName, Root, check_signatures, parse_file
from ringroad.trust.sign import RoleHolders

REPOSITORIES: Final[tuple[RepositoryName, ...]] = ("image", "director")
OFFLINE: Final = frozenset({("image", "root"), ("image", "targets"), ("director", "root")})
NAMES: Final = {f"{repository}-{role}": (repository, role) for repository in REPOSITORIES for role in ROLES}
_ROOT_FILE = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFolders:
    """Where keys are.

    Attributes:
        public: ``var/keys``: roots, and the online keys below ``online``.
        offline: the folder the server never reads.
    """

    public: Path
    offline: Path

    def of(self, repository: RepositoryName, role: RoleName) -> Path:
        """Return the folder that holds a role's private keys."""
        return self.offline if (repository, role) in OFFLINE else self.public / "online"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCounts:
    """How many keys an offline role has, and how many of them must sign."""

    keys: int
    threshold: int

    def __post_init__(self) -> None:
        """Refuse thresholds that cannot be reached."""
        if not 1 <= self.threshold <= self.keys <= 16:
            raise InvalidInput(f"{self.threshold} of {self.keys} keys is not possible", hint="1 to 16 keys")


@click.group("keys")
def group() -> None:
    """Make, show, use and rotate signing keys."""


def _folders(function: Any) -> Any:
    """Add the two folder options and --json to a command."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--offline",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("keys-offline"),
            show_default=True,
            help="Folder of the offline keys.",
        ),
        click.option(
            "--var",
            "var",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("var"),
            show_default=True,
            help="State folder of the server.",
        ),
    ):
        function = option(function)
    return function


def _passphrase(function: Any) -> Any:
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="Encrypt the offline keys with the first line of this file.",
    )(function)


@group.command("init")
@_folders
@_passphrase
@click.option("--root-keys", default=3, show_default=True, help="Root keys of each repository.")
@click.option("--threshold", default=2, show_default=True, help="How many root keys must sign.")
@click.option("--targets-keys", default=3, show_default=True, help="Image Targets keys.")
@click.option("--targets-threshold", default=2, show_default=True, help="How many of them must sign.")
def init_command(
    *,
    var: Path,
    offline: Path,
    as_json: bool,
    passphrase_file: Path | None,
    root_keys: int,
    threshold: int,
    targets_keys: int,
    targets_threshold: int,
) -> None:
    """Make all keys and the first root of both repositories."""
    folders = KeyFolders(public=var / "keys", offline=offline)
    root = KeyCounts(keys=root_keys, threshold=threshold)
    image_targets = KeyCounts(keys=targets_keys, threshold=targets_threshold)
    refuse_used(folders)
    prepare_var(Settings(var=var))
    init_keys(
        folders,
        root=root,
        image_targets=image_targets,
        passphrase=_read_passphrase(passphrase_file),
    )
    rows = describe_keys(folders)
    if as_json:
        click.echo(json.dumps(rows))
        return
    _print(rows)
    click.echo(f"\nOffline keys are in {offline}: move them to a safe place, one per person.")
    click.echo(f"Online keys and public roots are in {folders.public}.")


@group.command("show")
@_folders
def show_command(*, var: Path, offline: Path, as_json: bool) -> None:
    """List roles, thresholds, key ids, expiry, and which private keys are at hand."""
    rows = describe_keys(KeyFolders(public=var / "keys", offline=offline))
    if as_json:
        click.echo(json.dumps(rows))
    else:
        _print(rows)


@group.command("sign-targets")
@_folders
@_passphrase
@click.argument("payload", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Signed file.")
@click.option(
    "--previous",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Image Targets that were signed last; nothing in them may get another content.",
)
def sign_targets_command(
    *,
    var: Path,
    offline: Path,
    as_json: bool,
    passphrase_file: Path | None,
    payload: Path,
    out: Path,
    previous: Path | None,
) -> None:
    """Add signatures by the Image Targets keys in the offline folder to a payload.

    Shows all that the signatures will vouch for.
    """
    raw = _read_metadata(payload)
    request = read_request(
        raw, previous=_read_metadata(previous) if previous else None, now=SystemClock().now()
    )
    if not as_json:
        for line in describe(request):
            click.echo(line)
    folders = KeyFolders(public=var / "keys", offline=offline)
    signers = load_offline_signers(
        folders, repository="image", role="targets", passphrase=_read_passphrase(passphrase_file)
    )
    _write(out, sign.add_signatures(raw, signers), mode=0o644)
    keyids = [signer.public_key.keyid for signer in signers]
    told = {
        "file": str(out),
        "keyids": keyids,
        "version": request.version,
        "new": request.new,
        "gone": request.gone,
    }
    click.echo(json.dumps(told) if as_json else f"{out}: {len(keyids)} signatures")


@group.command("rotate")
@_folders
@_passphrase
@click.argument("role", type=click.Choice(sorted(NAMES)))
def rotate_command(
    *, var: Path, offline: Path, as_json: bool, passphrase_file: Path | None, role: str
) -> None:
    """Replace the keys of ROLE by new ones, and sign the next root."""
    folders = KeyFolders(public=var / "keys", offline=offline)
    repository, name = NAMES[role]
    version = rotate_role(
        folders, repository=repository, role=name, passphrase=_read_passphrase(passphrase_file)
    )
    click.echo(
        json.dumps({"repository": repository, "root_version": version})
        if as_json
        else f"{repository} root {version} names the new {name} keys; restart the server to install it"
    )


def refuse_used(folders: KeyFolders) -> None:
    """Refuse folders that hold something.

    Raises:
        Conflict: one does; nothing was changed.
    """
    for folder in (folders.public, folders.offline):
        if folder.exists() and any(folder.iterdir()):
            raise Conflict(
                f"{folder} is not empty",
                hint="keys are never overwritten; name another folder or move this one",
            )


def init_keys(
    folders: KeyFolders, *, root: KeyCounts, image_targets: KeyCounts, passphrase: bytes = b""
) -> None:
    """Make all keys and both first roots.

    Raises:
        Conflict: there are keys already; nothing was changed.
        Unavailable: a folder cannot be written.
    """
    refuse_used(folders)
    now = SystemClock().now()
    staged = KeyFolders(public=_staging(folders.public), offline=_staging(folders.offline))
    try:
        for folder in (staged.public, staged.public / "online", staged.offline):
            folder.mkdir(parents=True, mode=0o700)
            folder.chmod(0o700)
        for repository in REPOSITORIES:
            counts = {"root": root, **({"targets": image_targets} if repository == "image" else {})}
            one = KeyCounts(keys=1, threshold=1)
            made = {role: _new_keys(counts.get(role, one).keys) for role in ROLES}
            holders = {
                role: RoleHolders(
                    keys=tuple(key.public_key for key in made[role]),
                    threshold=counts.get(role, one).threshold,
                )
                for role in ROLES
            }
            raw = sign.sign(
                sign.build_root(version=1, expires=now + ROOT_LIFETIME, holders=holders), made["root"]
            )
            for role in ROLES:
                _write_keys(staged, repository, role, made[role], passphrase=passphrase)
            _write_root(staged, repository, 1, raw)
        for ready, final in ((staged.offline, folders.offline), (staged.public, folders.public)):
            if final.exists():
                final.rmdir()
            ready.rename(final)
    except OSError as error:
        raise Unavailable("the key folders cannot be written", detail=str(error), hint=str(error)) from error
    finally:
        for folder in (staged.public, staged.offline):
            shutil.rmtree(folder, ignore_errors=True)


def rotate_role(
    folders: KeyFolders, *, repository: RepositoryName, role: RoleName, passphrase: bytes = b""
) -> int:
    """Replace a role's keys and write the next root, signed by the old and new root thresholds.

    The old key files stay, unused, until somebody removes them.

    Returns:
        The version of the new root.

    Raises:
        NotFound: the offline root keys, or the root, are not at hand.
    """
    root = read_newest_root(folders.public, repository)
    holders = sign.role_holders(root)
    signers = load_offline_signers(folders, repository=repository, role="root", passphrase=passphrase)
    fresh = _new_keys(len(holders[role].keys))
    holders[role] = RoleHolders(
        keys=tuple(key.public_key for key in fresh), threshold=holders[role].threshold
    )
    version = root.version + 1
    unsigned = sign.build_root(version=version, expires=SystemClock().now() + ROOT_LIFETIME, holders=holders)
    raw = sign.sign(unsigned, [*signers, *fresh] if role == "root" else signers)
    file = parse_file(raw, Root)
    check_signatures(file, root=root, role="root")
    check_signatures(file, root=file.signed, role="root")
    _write_keys(folders, repository, role, fresh, passphrase=passphrase)
    _write_root(folders, repository, version, raw)
    return version


def load_online_signers(public: Path) -> OnlineSigners:
    """Return the server's signers.

    Args:
        public: ``var/keys``.

    Raises:
        NotFound: a root or a key that it names is missing.
    """
    folders = KeyFolders(public=public, offline=public / "offline-keys-are-never-read-here")

    def one(repository: RepositoryName, role: RoleName) -> CryptoSigner:
        return _load(folders, repository, role, passphrase=b"")[0]

    return OnlineSigners(
        image_snapshot=one("image", "snapshot"),
        image_timestamp=one("image", "timestamp"),
        director_targets=one("director", "targets"),
        director_snapshot=one("director", "snapshot"),
        director_timestamp=one("director", "timestamp"),
    )


def load_offline_signers(
    folders: KeyFolders, *, repository: RepositoryName, role: RoleName, passphrase: bytes = b""
) -> list[CryptoSigner]:
    """Return the signers of an offline role whose keys are at hand, as many as there are.

    Raises:
        NotFound: no key of the role is in the offline folder.
        InvalidInput: a key file cannot be read, or the passphrase is wrong.
    """
    return _load(folders, repository, role, passphrase=passphrase)


def read_roots(public: Path, repository: RepositoryName) -> list[bytes]:
    """Return all roots of a repository in ascending order, to be installed one after the other.

    Raises:
        NotFound: there is none.
    """
    folder = public / repository
    found = {int(match[1]): path for path in _files(folder) if (match := _ROOT_FILE.fullmatch(path.name))}
    if not found:
        raise NotFound(f"no {repository} root in {folder}", hint="ringroad keys init makes one")
    return [found[version].read_bytes() for version in sorted(found)]


def install_all_roots(conn: Connection, public: Path, *, now: datetime) -> None:
    """Install every root below ``var/keys`` that the database does not have yet.

    Raises:
        NotFound: no keys were made.
        Untrusted: a root does not verify.
        Conflict: the database has another root of the same version: it belongs to other keys.
    """
    for repository in REPOSITORIES:
        for raw in read_roots(public, repository):
            install_root(conn, repository=repository, raw=raw, now=now)


def read_newest_root(public: Path, repository: RepositoryName) -> Root:
    """Return the newest root of a repository."""
    return parse_file(read_roots(public, repository)[-1], Root).signed


def describe_keys(folders: KeyFolders) -> list[dict[str, Any]]:
    """Return one row per role: keys, threshold, expiry of the root, and which private keys are at hand."""
    rows: list[dict[str, Any]] = []
    for repository in REPOSITORIES:
        root = read_newest_root(folders.public, repository)
        for role in ROLES:
            who = root.roles.of(role)
            here = [keyid for keyid in who.keyids if _key_file(folders, repository, role, keyid).exists()]
            rows.append(
                {
                    "role": f"{repository}-{role}",
                    "place": "offline" if (repository, role) in OFFLINE else "online",
                    "threshold": who.threshold,
                    "keyids": list(who.keyids),
                    "private_keys_here": here,
                    "root_version": root.version,
                    "root_expires": root.expires,
                }
            )
    return rows


def _load(
    folders: KeyFolders, repository: RepositoryName, role: RoleName, *, passphrase: bytes
) -> list[CryptoSigner]:
    root = read_newest_root(folders.public, repository)
    signers: list[CryptoSigner] = []
    for keyid in root.roles.of(role).keyids:
        path = _key_file(folders, repository, role, keyid)
        if not path.exists():
            continue
        signer = key_from_pem(path.read_bytes(), passphrase=passphrase)
        if signer.public_key.keyid != keyid:
            raise InvalidInput(f"{path} is not the key that its name says")
        signers.append(signer)
    if not signers:
        raise NotFound(
            f"no private key of {repository}-{role} in {folders.of(repository, role)}",
            hint="--offline names another folder; keys elsewhere sign a file: ringroad release sign --export",
        )
    return signers


def _new_keys(count: int) -> list[CryptoSigner]:
    return [key_from_seed(secrets.token_bytes(32)) for _ in range(count)]


def _key_file(folders: KeyFolders, repository: RepositoryName, role: RoleName, keyid: str) -> Path:
    return folders.of(repository, role) / f"{repository}-{role}-{keyid[:16]}.pem"


def _write_keys(
    folders: KeyFolders,
    repository: RepositoryName,
    role: RoleName,
    keys: Iterable[CryptoSigner],
    *,
    passphrase: bytes,
) -> None:
    secret = passphrase if (repository, role) in OFFLINE else b""
    for key in keys:
        path = _key_file(folders, repository, role, key.public_key.keyid)
        _write(path, private_pem(key, passphrase=secret), mode=0o600)


def _write_root(folders: KeyFolders, repository: RepositoryName, version: int, raw: bytes) -> None:
    """Write a root beside the online keys, and a copy to where it was signed."""
    for folder in (folders.offline / repository, folders.public / repository):
        folder.mkdir(exist_ok=True, mode=0o755)
        _write(folder / f"{version}.root.json", raw, mode=0o644)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Write a new file durably; an existing one is never replaced."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise Conflict(f"{path} exists", hint="it was not changed; name another file") from error
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _staging(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _read_metadata(path: Path) -> bytes:
    if path.stat().st_size > METADATA_BYTES_MAX:
        raise InvalidInput(f"{path} is larger than any metadata file")
    return path.read_bytes()


def _read_passphrase(path: Path | None) -> bytes:
    if path is None:
        return b""
    line = path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise InvalidInput(f"{path} begins with an empty line", hint="put the passphrase on its first line")
    return line


def _print(rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        here = len(row["private_keys_here"])
        click.echo(
            f"{row['role']:<20} {row['place']:<8} {row['threshold']} of {len(row['keyids'])} must sign, "
            f"{here} here   root {row['root_version']} until {row['root_expires']}"
        )
        for keyid in row["keyids"]:
            click.echo(f"    {keyid[:16]}{'' if keyid in row['private_keys_here'] else '  (elsewhere)'}")
