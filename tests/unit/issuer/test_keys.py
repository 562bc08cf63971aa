from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anyio
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ocidist.errors import CredentialStoreError, UsageError
from ocidist.issuer import KeyId, KeyKind, KeyMaterial, KeyPaths, TrustedKeys, paths
from ocidist.issuer.keys import key_id
from tests.http.test_leaks import told
from tests.unit.issuer.support import key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


def private_pem(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# --- what a key is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(KeyKind))
def test_the_certificate_is_what_registries_and_tls_need(kind: KeyKind) -> None:
    made = KeyMaterial.generate(kind=kind, dns=["registry.test", "localhost"], ips=["127.0.0.1", "::1"])
    found = made.certificate
    assert found.issuer == found.subject
    assert found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "registry.test"
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["registry.test", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [*map(ipaddress.ip_address, ("127.0.0.1", "::1"))]
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.key_encipherment) == (True, True, False)
    assert set(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    found.verify_directly_issued_by(found)


def test_keys_are_rsa_2048_unless_ec_is_asked_for() -> None:
    assert isinstance(key().private_key, rsa.RSAPrivateKey)
    assert key().private_key.key_size == 2048
    assert (key().algorithm, key(KeyKind.EC).algorithm) == ("RS256", "ES256")


def test_the_libtrust_id_is_that_of_the_specification() -> None:
    # The key of the specification's example, and the name it has there.
    numbers = {
        name: int.from_bytes(base64.urlsafe_b64decode(text + "="), "big")
        for name, text in {
            "x": "m7zUpx3b-zmVE5cymSs64POG9QcyEpJaYCD82-549_Q",
            "y": "dU3biz8sZ_8GPB-odm8Wxz3lNDr1xcAQQPQaOcr1fmc",
            "d": "R7OnbfMaD5J2jl7GeE8ESo7CnHSBm_1N2k9IXYFrKJA",
        }.items()
    }
    public = ec.EllipticCurvePublicNumbers(numbers["x"], numbers["y"], ec.SECP256R1())
    private = ec.EllipticCurvePrivateNumbers(numbers["d"], public).private_key()
    assert key_id(private.public_key(), KeyId.LIBTRUST) == "PYYO:TEWU:V7JH:26JV:AQTZ:LJC3:SXVJ:XGHA:34F2:2LAQ:ZRMK:Z7Q6"


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    # RFC 7638, section 3.1.
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn"
        "jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qM"
        "QvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJz"
        "KnqDKgw"
    )
    number = int.from_bytes(base64.urlsafe_b64decode(modulus + "=="), "big")
    found = key_id(rsa.RSAPublicNumbers(65537, number).public_key(), KeyId.THUMBPRINT)
    assert found == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("kind", list(KeyKind))
def test_the_jwk_set_is_one_that_libraries_read(kind: KeyKind) -> None:
    (entry,) = json.loads(key(kind).jwks())["keys"]
    assert entry["kid"] == key(kind).key_id(KeyId.THUMBPRINT)
    assert (entry["use"], entry["alg"]) == ("sig", key(kind).algorithm)
    assert "d" not in entry
    (read,) = jwt.PyJWKSet.from_json(key(kind).jwks()).keys
    assert read.key == key(kind).public_key
    for name in ("use", "alg", "kid"):
        del entry[name]
    text = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    own = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
    assert own == key(kind).key_id(KeyId.THUMBPRINT)


def test_a_key_is_a_secret() -> None:
    secret = private_pem(key().private_key).decode()
    shown = repr(key()) + str(key()) + repr(key().to_files())
    assert not any(line in shown for line in secret.splitlines() if line)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(key())


@pytest.mark.parametrize(
    "options",
    [
        {"dns": []},
        {"dns": "localhost"},
        {"dns": [""]},
        {"dns": ["bücher.test"]},
        {"dns": ["a" * 65]},
        {"ips": ["localhost"]},
        {"valid_days": 0},
        {"valid_days": 40000},
        {"valid_days": float("nan")},
    ],
)
def test_names_that_no_certificate_takes_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        KeyMaterial.generate(kind=KeyKind.EC, **options)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    "private",
    [
        lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 -- that is the point
        lambda: ec.generate_private_key(ec.SECP384R1()),
    ],
)
def test_keys_that_registries_do_not_take_are_refused(
    private: Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey],
) -> None:
    with pytest.raises(CredentialStoreError, match="tokens are signed with"):
        KeyMaterial.from_pem(private_pem(private()), key().certificate_pem)


def test_what_is_no_key_is_not_quoted() -> None:
    good = key().to_files()
    for private, certificate in [(b"s3cret", good.certificate), (good.key, b"s3cret"), (good.key[:-60], b"")]:
        with pytest.raises(CredentialStoreError) as caught:
            KeyMaterial.from_pem(private, certificate)
        assert "s3cret" not in str(caught.value)
    encrypted = key().private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(CredentialStoreError, match="encrypted"):
        KeyMaterial.from_pem(encrypted, good.certificate)
    with pytest.raises(CredentialStoreError, match="another key"):
        KeyMaterial.from_pem(good.key, key(KeyKind.EC).certificate_pem)


def test_certificates_of_unknown_curves_are_refused() -> None:
    good = key(KeyKind.EC).to_files()
    der = key(KeyKind.EC).certificate.public_bytes(serialization.Encoding.DER)
    strange = der.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03010f"))
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(strange) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(CredentialStoreError, match="another key"):
        KeyMaterial.from_pem(good.key, pem)
    with pytest.raises(UsageError):
        TrustedKeys.from_certificates(pem)


def _modes(*files: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in files]


def _fill(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _everything(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _contents(files: Iterable[Path]) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files}


# --- the files -------------------------------------------------------------------------------------------------------


async def test_n15_a_key_is_made_once_and_then_read(tmp_path: Path) -> None:
    where = KeyPaths.inside(tmp_path / "new" / "keys")
    old = os.umask(0)
    try:
        made = await KeyMaterial.load_or_create(where, kind=KeyKind.EC)
    finally:
        os.umask(old)
    before = _contents(where.all)
    found = await KeyMaterial.load_or_create(where)
    assert found.public_pem == made.public_pem
    assert found.certificate == made.certificate
    assert _contents(where.all) == before
    assert _modes(*where.all, where.key.parent) == [0o600, 0o644, 0o644, 0o700]
    assert _names(where.key.parent) == {where.lock.name, *(path.name for path in where.all)}


async def test_the_default_place_is_that_of_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    await KeyMaterial.load_or_create(kind=KeyKind.EC)
    for name in ("registry_auth.key", "registry_auth.pub", "registry_auth_ca.crt"):
        assert (tmp_path / ".registry-certs" / name).is_file()


@pytest.mark.parametrize("missing", [0, 1, 2])
async def test_some_files_without_the_others_are_an_error_and_stay(tmp_path: Path, missing: int) -> None:
    where = KeyPaths.inside(tmp_path)
    await KeyMaterial.load_or_create(where, kind=KeyKind.EC)
    where.all[missing].unlink()
    before = _contents(_everything(tmp_path))
    with pytest.raises(CredentialStoreError, match="nothing is overwritten"):
        await KeyMaterial.load_or_create(where)
    assert _contents(_everything(tmp_path)) == before


@pytest.mark.parametrize("other", [0, 1, 2])
async def test_files_that_do_not_belong_together_are_an_error(tmp_path: Path, other: int) -> None:
    where, stranger = KeyPaths.inside(tmp_path, "one"), KeyPaths.inside(tmp_path, "two")
    await KeyMaterial.load_or_create(where, kind=KeyKind.EC)
    await KeyMaterial.load_or_create(stranger, kind=KeyKind.EC)
    where.all[other].write_bytes(stranger.all[other].read_bytes())
    with pytest.raises(CredentialStoreError, match="another key") as caught:
        await KeyMaterial.load_or_create(where)
    secret = where.key.read_text().splitlines()[1]
    assert secret not in told(caught.value)
    assert str(where.key) in str(caught.value)


async def test_a_file_that_is_too_large_or_no_file_is_an_error(tmp_path: Path) -> None:
    where = KeyPaths.inside(tmp_path)
    await KeyMaterial.load_or_create(where, kind=KeyKind.EC)
    _fill(where.public_key, paths.MAX_KEY_FILE + 1)
    with pytest.raises(CredentialStoreError, match="larger"):
        await KeyMaterial.load_or_create(where)
    _make_directory(where.public_key)
    with pytest.raises(CredentialStoreError, match="directory"):
        await KeyMaterial.load_or_create(where)


async def test_a_fifo_in_the_place_of_a_key_holds_nobody_up(tmp_path: Path) -> None:
    where = KeyPaths.inside(tmp_path)
    for path in where.all:
        os.mkfifo(path)
    with anyio.fail_after(5), pytest.raises(CredentialStoreError, match="not a file"):
        await KeyMaterial.load_or_create(where)


async def test_public_keys_in_any_pem_are_read(tmp_path: Path) -> None:
    where = KeyPaths.inside(tmp_path)
    made = await KeyMaterial.load_or_create(where)
    first, _, rest = made.public_pem.partition(b"\n")
    pkcs1 = made.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
    # Libtrust, whose files registry-admin has, writes its key id into the PEM.
    for text in (first + b"\nkeyID: ABCD:EFGH\n\n" + rest, pkcs1, b"The key of the registry.\n" + made.public_pem):
        _write(where.public_key, text)
        assert (await KeyMaterial.load_or_create(where)).public_key == made.public_key
    _write(where.public_key, b"no key")
    with pytest.raises(CredentialStoreError, match="public key file"):
        await KeyMaterial.load_or_create(where)


async def test_a_key_that_others_can_read_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = KeyPaths.inside(tmp_path)
    await KeyMaterial.load_or_create(where, kind=KeyKind.EC)
    assert not caplog.records
    where.key.chmod(0o640)
    await KeyMaterial.load_or_create(where)
    assert "chmod 600" in caplog.text


async def test_a_certificate_that_ended_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = KeyPaths.inside(tmp_path)
    await KeyMaterial.load_or_create(where, kind=KeyKind.EC, valid_days=1e-9)
    assert f"the certificate {where.certificate} ended at" in caplog.text


def test_three_names_for_one_file_are_refused() -> None:
    with pytest.raises(UsageError, match="three files"):
        KeyPaths("a", "b", "a")


PROGRAM = """
import sys, anyio
from ocidist.issuer import KeyKind, KeyMaterial, KeyPaths
print(anyio.run(lambda: KeyMaterial.load_or_create(KeyPaths.inside(sys.argv[1]))).public_pem.hex())
"""


def test_n15_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "keys")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    answers = {process.communicate(timeout=45)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(answers) == 1
    assert len(answers.pop()) > 100


DIE = """
import os, signal, sys
from ocidist.issuer.paths import KeyFiles, KeyPaths, load_or_create
directory, step, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
events = {"os.link": "link", "os.remove": "unlink", "open": "open"}
count = 0
def reached(what):
    global count
    count += what == step
    if count == number:
        os.kill(os.getpid(), signal.SIGKILL)
for name in ("fsync", "ftruncate", "pwrite"):
    true = getattr(os, name)
    setattr(os, name, lambda *args, name=name, true=true: (reached(name), true(*args)))
sys.addaudithook(lambda event, args: event in events and directory in str(args) and reached(events[event]))
load_or_create(KeyPaths.inside(directory), lambda: KeyFiles(b"first key", b"first public key", b"first certificate"))
"""
STEPS = [("open", 4), ("fsync", 8), ("link", 3), ("unlink", 6), ("ftruncate", 1), ("pwrite", 1)]


@pytest.mark.parametrize(("step", "number"), [(step, n) for step, most in STEPS for n in range(1, most + 1)])
def test_n15_a_process_that_is_killed_leaves_all_files_or_none(tmp_path: Path, step: str, number: int) -> None:
    directory = tmp_path / "keys"
    killed = subprocess.run([sys.executable, "-c", DIE, str(directory), step, str(number)], check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    where = KeyPaths.inside(directory)
    found = paths.load_or_create(where, lambda: paths.KeyFiles(b"second key", b"second public key", b"2nd certificate"))
    # Whichever of the two it is: all of it is, and what is read afterwards is the same.
    assert found.key in {b"first key", b"second key"}
    assert (found.public_key[:1], found.certificate[:1]) == ((b"f", b"f") if found.key[:1] == b"f" else (b"s", b"2"))
    assert paths.load_or_create(where, lambda: pytest.fail("there is a key already")) == found
    assert _names(directory) == {where.lock.name, *(path.name for path in where.all)}


def test_what_somebody_else_put_there_meanwhile_stays(tmp_path: Path) -> None:
    where = KeyPaths.inside(tmp_path)

    def create() -> paths.KeyFiles:
        where.certificate.write_bytes(b"theirs")
        return key(KeyKind.EC).to_files()

    with pytest.raises(CredentialStoreError, match="exists"):
        paths.load_or_create(where, create)
    assert where.certificate.read_bytes() == b"theirs"


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    where = KeyPaths.inside(tmp_path)
    held = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(0.5)"
    with subprocess.Popen([sys.executable, "-c", held, str(where.lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        paths.load_or_create(where, key(KeyKind.EC).to_files)
        assert time.monotonic() - started > 0.2


@pytest.mark.parametrize("mask", [0, 0o777])
def test_private_files_have_their_mode_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        paths.write_private(tmp_path / "secret", b"x")
    finally:
        os.umask(old)
    assert _modes(tmp_path / "secret") == [0o600]
    with pytest.raises(FileExistsError):
        paths.write_private(tmp_path / "secret", b"y")
