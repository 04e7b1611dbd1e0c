"""Who a device is: tokens, gateway tokens, client certificates and enrolment, and everybody who is not let in."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, rows, serving

pytestmark = pytest.mark.engines
OTHER = "WRRDEM00000000002"
INVITED = {"Authorization": "EnrolmentToken enrol_1"}
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Gateway:
    """A gateway over TLS."""

    url: str
    origin: str
    pki: Path
    folder: Path

    def base(self, vin: str = VIN) -> str:
        return f"{self.origin}/DEFAULT/controller/v1/{vin}"

    def client(self, pem: bytes | None = None, key: ec.EllipticCurvePrivateKey | None = None) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.pki / "ca.pem")
        if pem is not None and key is not None:
            path = self.folder / f"client-{sha256(pem).hexdigest()[:8]}.pem"
            secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(pem + secret)
            context.load_cert_chain(path)
        return httpx.Client(verify=context, timeout=60)

    def invite(self, vin: str = VIN, token: str = "enrol_1", *, until: str = "now() + '1 h'") -> None:  # noqa: S107 - of the test
        with psycopg.connect(self.url, autocommit=True) as conn:
            query = "UPDATE vehicle SET enrolment_sha256 = %s, enrolment_until = {} WHERE vin = %s"
            conn.execute(query.format(until), (sha256(token.encode()).digest(), vin))

    def enrol(self, client: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
        return client.post(f"{self.origin}/enrol/v1/{VIN}/certificate", content=body, headers=headers)


@contextmanager
def gateway(url: str, folder: Path, **more: object) -> Iterator[Gateway]:
    blobs = folder / "blobs"
    blobs.mkdir()
    fill(url, FolderBlobs(blobs), b"image")
    with psycopg.connect(url, autocommit=True) as conn:
        add_vehicle(conn, OTHER, "other", "ddi")
    with serving(url, FolderBlobs(blobs), pki=folder / "pki", **more) as origin:  # type: ignore[arg-type]
        yield Gateway(url=url, origin=origin, pki=folder / "pki", folder=folder)


@pytest.fixture
def door(pg_url: str, tmp_path: Path) -> Iterator[Gateway]:
    with gateway(pg_url, tmp_path) as made:
        yield made


def key_and_request(name: str = VIN) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key, csr.public_bytes(Encoding.PEM)


def authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, certificate(name, key.public_key(), name, key, ca=True)


def certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    begins: datetime = NOW - timedelta(hours=1),
    ends: datetime = NOW + timedelta(days=1),
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def test_a_device_enrols_once_polls_by_its_certificate_and_renews_it(door: Gateway) -> None:
    door.invite()
    key, csr = key_and_request()
    with door.client() as client:
        made = eventually(lambda: ok(door.enrol(client, csr, **INVITED)))
        for again in (csr, key_and_request()[1]):  # a replayed token is worth nothing, whatever comes with it
            assert door.enrol(client, again, **INVITED).status_code == 401
        assert client.get(door.base()).status_code == 401
    (kept,) = rows(door.url, f"SELECT certificate_until FROM vehicle WHERE vin = '{VIN}'")  # noqa: S608 - ours
    until = x509.load_pem_x509_certificate(made.content).not_valid_after_utc
    assert kept["certificate_until"] == until
    with door.client(made.content, key) as client:
        assert client.get(door.base()).status_code == 200
        assert client.put(f"{door.base()}/configData", json={"data": {}}).status_code == 200  # through ASGI
        assert client.get(door.base(OTHER)).status_code == 401  # another vehicle's
        wrong = {"Authorization": "TargetToken wrong"}
        assert client.get(door.base(), headers=wrong).status_code == 401  # a wrong token is not made good
        second, csr = key_and_request()
        renewed = door.enrol(client, csr)
        assert renewed.status_code == 200
        assert client.get(door.base()).status_code == 200  # its answer may be lost
        assert client.post(f"{door.origin}/enrol/v1/{VIN}/token").status_code == 401
    with door.client(renewed.content, second) as newer:
        third, csr = key_and_request()
        renewed = door.enrol(newer, csr)
        assert renewed.status_code == 200
        with door.client(made.content, key) as client:
            assert eventually(lambda: client.get(door.base()).status_code == 401)  # the first has ended
        assert newer.get(door.base()).status_code == 200
    means = rows(door.url, "SELECT body FROM fact WHERE kind = 'vehicle.enrolled' ORDER BY seq")
    assert [fact["body"]["means"] for fact in means] == ["certificate", "renewal", "renewal"]
    with door.client(renewed.content, third) as client:
        assert client.get(door.base()).status_code == 200
        with psycopg.connect(door.url, autocommit=True) as conn:
            conn.execute("UPDATE vehicle SET certificates = '{}'")  # revoked, on an open connection
        assert eventually(lambda: client.get(door.base()).status_code == 401)
        assert door.enrol(client, key_and_request()[1]).status_code == 401


def ok(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code == 200 else None


def test_a_device_gets_a_token_of_its_own_once(door: Gateway) -> None:
    door.invite()
    url = f"{door.origin}/enrol/v1/{VIN}/token"
    with door.client() as client:
        token = eventually(lambda: ok(client.post(url, headers=INVITED))).json()["token"]
        assert client.post(url, headers=INVITED).status_code == 401
        own = {"Authorization": f"TargetToken {token}"}
        assert client.get(door.base(), headers=own).status_code == 200
        assert client.get(door.base(OTHER), headers=own).status_code == 401
        old = {"Authorization": f"TargetToken {TOKEN}"}
        assert client.get(door.base(), headers=old).status_code == 401  # the one before has ended
    kept = rows(door.url, "SELECT v.*, f.body FROM vehicle v, fact f")
    assert token not in str(kept)
    assert "enrol_1" not in str(kept)


@pytest.mark.parametrize(
    ("vin", "token", "until"),
    [
        (VIN, "enrol_2", "now() + '1 h'"),
        (VIN, "", "now() + '1 h'"),
        (VIN, "enrol_1", "now()"),  # too old
        (OTHER, "enrol_1", "now() + '1 h'"),  # another's
        ("WRRDEM00000000003", "enrol_1", "now() + '1 h'"),  # nobody's
    ],
)
def test_who_is_not_invited_gets_nothing(door: Gateway, vin: str, token: str, until: str) -> None:
    door.invite(until=until)
    door.invite(OTHER, "enrol_9")
    headers = {"Authorization": f"EnrolmentToken {token}".strip()}
    with door.client() as client:
        eventually(lambda: client.get(door.base()).status_code == 401)
        for wanted in ("token", "certificate"):
            url = f"{door.origin}/enrol/v1/{vin}/{wanted}"
            answer = client.post(url, headers=headers, content=key_and_request(vin)[1])
            assert answer.status_code == 401
            assert client.get(url).status_code == 405
    assert rows(door.url, "SELECT * FROM fact") == []


def weak() -> bytes:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505 - the case
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, VIN)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def forged() -> bytes:
    """A request for a key that its sender does not have."""
    body = x509.load_pem_x509_csr(key_and_request()[1]).public_bytes(Encoding.DER)
    return x509.load_der_x509_csr(body[:-4] + bytes(4)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "body", [key_and_request(OTHER)[1], weak(), forged(), b"", b"-----BEGIN", b"\xff" * 100, b"x" * 20_000]
)
def test_a_bad_request_is_refused_and_the_invitation_stays(door: Gateway, body: bytes) -> None:
    door.invite()
    with door.client() as client:
        eventually(lambda: door.enrol(client, body, **INVITED).status_code == 400)
        assert door.enrol(client, key_and_request()[1], **INVITED).status_code == 200


def test_no_certificate_but_a_good_one_lets_anybody_in(pg_url: str, tmp_path: Path) -> None:
    root_key, root = authority("Maker Root")
    stranger_key, _ = authority("Maker Root")  # of the same name
    bundle = tmp_path / "maker.pem"
    bundle.write_bytes(root.public_bytes(Encoding.PEM))
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    good = certificate(VIN, public, "Maker Root", root_key)
    old = certificate(VIN, public, "Maker Root", root_key, ends=NOW - timedelta(minutes=1))
    early = certificate(VIN, public, "Maker Root", root_key, begins=NOW + timedelta(hours=2))
    theirs = certificate(OTHER, public, "Maker Root", root_key)
    server = certificate(VIN, public, "Maker Root", root_key, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    strange = certificate(VIN, public, "Maker Root", stranger_key)
    with gateway(pg_url, tmp_path, client_ca=bundle) as door:
        with door.client(good.public_bytes(Encoding.PEM), key) as client:
            assert client.get(door.base()).status_code == 200
        for bad in (old, early, theirs, server, strange):
            with door.client(bad.public_bytes(Encoding.PEM), key) as client:
                try:
                    assert client.get(door.base()).status_code == 401
                except httpx.TransportError:
                    continue  # TLS refused it already
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute("UPDATE vehicle SET certificates_after = now()")
        with door.client(good.public_bytes(Encoding.PEM), key) as client:
            assert eventually(lambda: client.get(door.base()).status_code == 401)  # revoked
            assert door.enrol(client, key_and_request()[1]).status_code == 401


def test_a_proxy_of_ours_hands_a_certificate_on_and_nobody_else_does(pg_url: str, tmp_path: Path) -> None:
    root_key, root = authority("Maker Root")
    bundle = tmp_path / "maker.pem"
    bundle.write_bytes(root.public_bytes(Encoding.PEM))
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = certificate(VIN, public, "Maker Root", root_key).public_bytes(Encoding.PEM)
    old = certificate(VIN, public, "Maker Root", root_key, ends=NOW - timedelta(minutes=1))
    strange = certificate(VIN, public, "Maker Root", authority("Maker Root")[0])
    header = {"X-SSL-Client-Cert": quote(pem)}
    with gateway(pg_url, tmp_path, client_ca=bundle) as door, door.client() as client:
        assert client.get(door.base(), headers=header).status_code == 401  # we trust no proxy
    (tmp_path / "blobs").rename(tmp_path / "before")
    with psycopg.connect(pg_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")  # what gates decided is append-only
        conn.execute(
            "TRUNCATE assignment, campaign, release, software_package, ecu, vehicle, programme CASCADE"
        )
    proxies = (ip_network("127.0.0.0/8"),)
    with gateway(pg_url, tmp_path, client_ca=bundle, proxies=proxies) as door, door.client() as client:
        assert client.get(door.base(), headers=header).status_code == 200
        assert client.get(door.base(OTHER), headers=header).status_code == 401
        for bad in (old, strange):
            word = quote(bad.public_bytes(Encoding.PEM))
            assert client.get(door.base(), headers={"X-SSL-Client-Cert": word}).status_code == 401
        for word in ("", "garbage", "%00" * 40, quote(pem[:-40]), quote(pem + pem), "A" * 60_000):
            assert client.get(door.base(), headers={"X-SSL-Client-Cert": word}).status_code in (400, 401)


def test_a_gateway_token_speaks_for_every_ddi_vehicle_on_record_until_it_is_revoked(door: Gateway) -> None:
    header = {"Authorization": "GatewayToken gw_1"}
    with psycopg.connect(door.url, autocommit=True) as conn, door.client() as client:
        add_vehicle(conn, "WRRDEM00000000004", "native", "native")
        for given in ("GatewayToken gw_1", "GatewayToken", f"GatewayToken {TOKEN}"):
            assert (
                client.get(door.base(), headers={"Authorization": given}).status_code == 401
            )  # off by default
        conn.execute(
            "INSERT INTO gateway_token (id, name, token_sha256, created_by, created_at)"
            " VALUES ('gateway_1', 'depot', %s, 'test', now())",
            (sha256(b"gw_1").digest(),),
        )
        assert eventually(lambda: client.get(door.base(), headers=header).status_code == 200)
        assert client.get(door.base(OTHER), headers=header).status_code == 200
        for unknown in ("WRRDEM00000000003", "WRRDEM00000000004"):  # nobody registers himself; DDI only
            assert client.get(door.base(unknown), headers=header).status_code == 401
        native = f"{door.origin}/uptane/v1/vehicles/{VIN}"
        assert client.get(native, headers=header).status_code == 401
        wrong = {"Authorization": "GatewayToken gw_2"}
        assert client.get(door.base(), headers=wrong).status_code == 401
        conn.execute("UPDATE gateway_token SET revoked_at = now()")
        assert eventually(lambda: client.get(door.base(), headers=header).status_code == 401)
