"""Signing keys: RSA or EC P-256, with a self-signed certificate, and the names that registries know them by.

Spec: docker registry auth, "Distribution Registry v2 Bearer token specification"; RFC 7517; RFC 7638.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import hashlib
import ipaddress
import json
import logging
from typing import TYPE_CHECKING, Final, NoReturn, Self, TypeAlias

import anyio.to_thread
import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from ocidist.errors import CredentialStoreError, UsageError
from ocidist.issuer.paths import KeyFiles, KeyPaths, is_readable_by_others, load_or_create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

RSA_BITS: Final = 2048
"""Bits of a new RSA key, and the fewest of any: RFC 7518, section 3.3."""

MAX_RSA_BITS: Final = 8192
"""Most bits of an RSA key; a larger one takes seconds to sign with."""

VALID_DAYS: Final = 3650
"""Days for which a new certificate is valid. Registries stop taking tokens when it ends, and reload it at a restart."""

# Clocks of the machines that check the certificate may be behind.
_BACKDATED: Final = dt.timedelta(hours=1)
_LIBTRUST_BYTES: Final = 30
_COMMON_NAME: Final = 64  # characters, by X.520

_logger = logging.getLogger("ocidist.issuer")


class KeyKind(enum.Enum):
    """The kinds of keys that registries of all versions verify."""

    RSA = "RS256"
    EC = "ES256"


class KeyId(enum.Enum):
    """How a token names its key.

    docker-registry 2.8 knows keys by their libtrust id, 3.x by their thumbprint. Both take the certificate in ``x5c``
    before they look at the name.
    """

    LIBTRUST = "libtrust"
    THUMBPRINT = "thumbprint"


@attrs.frozen(eq=False)
class KeyMaterial:
    """A private key and its certificate. A secret: the key is masked in ``repr`` and cannot be pickled.

    Attributes:
        private_key: The key that signs: RSA of 2048 to 8192 bits, or EC P-256.
        certificate: Its certificate; self-signed, or issued by an authority that the registry trusts.

    Raises:
        UsageError: The key is of another kind, or not the certificate's.
    """

    private_key: PrivateKey = attrs.field(repr=lambda _: "'***'")
    certificate: x509.Certificate = attrs.field(repr=lambda found: repr(found.subject.rfc4514_string()))

    def __attrs_post_init__(self) -> None:
        """Check that they belong together."""
        kind_of(self.private_key.public_key())
        try:
            same = self.certificate.public_key() == self.private_key.public_key()
        except (ValueError, UnsupportedAlgorithm):
            same = False
        if not same:
            raise UsageError("the certificate is that of another key")

    @classmethod
    def generate(
        cls,
        *,
        kind: KeyKind = KeyKind.RSA,
        dns: Iterable[str] = ("localhost",),
        ips: Iterable[str] = (),
        valid_days: float = VALID_DAYS,
    ) -> Self:
        """Make a new key with a self-signed CA certificate. Takes a tenth of a second, so call it in a worker thread.

        The certificate may sign others, and serve and ask over TLS: key usage ``digitalSignature`` and ``keyCertSign``,
        extended key usage ``serverAuth`` and ``clientAuth``.

        Args:
            kind: Kind of the key.
            dns: DNS names in the certificate; the first is its common name.
            ips: IP addresses in the certificate.
            valid_days: Days from now at which it ends.

        Raises:
            UsageError: A name or address cannot be written into a certificate, there is none, or the days are not
                positive.
        """
        key: PrivateKey
        if kind is KeyKind.EC:
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        return cls(key, _self_signed(key, _names(dns, ips), valid_days))

    @classmethod
    def from_pem(cls, key: bytes, certificate: bytes) -> Self:
        """Read a key (PEM, not encrypted) and its certificate (PEM, the first one of a chain).

        Raises:
            CredentialStoreError: They cannot be read, or do not belong together. No message quotes them.
        """
        try:
            private = serialization.load_pem_private_key(key, password=None)
            found = x509.load_pem_x509_certificates(certificate)[0]
        except (ValueError, TypeError, UnsupportedAlgorithm):
            problem = "it is no key and certificate in PEM, or the key is encrypted"
        else:
            try:
                if isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
                    return cls(private, found)
                problem = "the key is neither RSA nor EC P-256"
            except UsageError as error:
                problem = error.message
        # Raised out here, without the context of an error whose frames hold the key. Somebody may have swapped the two.
        del key, certificate
        raise CredentialStoreError(f"the signing key cannot be used: {problem}")

    @classmethod
    async def load_or_create(
        cls,
        paths: KeyPaths | None = None,
        *,
        kind: KeyKind = KeyKind.RSA,
        dns: Iterable[str] = ("localhost",),
        ips: Iterable[str] = (),
        valid_days: float = VALID_DAYS,
    ) -> Self:
        """Read the key of a path, or create it if there is none.

        Nothing that exists is overwritten. Other processes may do the same at the same time: all get the same key. A
        process that is killed on the way leaves all files or none, as far as the next caller can see. Cancelling it
        does not stop a creation that has begun.

        Args:
            paths: Where it is; ``KeyPaths.default()`` unless given.
            kind: Kind of a new key.
            dns: DNS names in a new certificate; the first is its common name.
            ips: IP addresses in a new certificate.
            valid_days: Days from now at which a new certificate ends.

        Raises:
            CredentialStoreError: Some files exist and some do not, they do not belong together, or cannot be read or
                written.
            UsageError: A name or address cannot be written into a certificate.
        """
        names = _names(dns, ips)
        place = paths or KeyPaths.default()

        def create() -> KeyFiles:
            return cls.generate(kind=kind, dns=names.dns, ips=names.ips, valid_days=valid_days).to_files()

        try:
            return await anyio.to_thread.run_sync(cls._load, place, create)
        except CredentialStoreError as error:
            raise error.locate(operation="load signing key", reference=str(place.key)) from None

    @classmethod
    def _load(cls, place: KeyPaths, create: Callable[[], KeyFiles]) -> Self:
        files = load_or_create(place, create)
        if is_readable_by_others(place.key):
            _logger.warning("the signing key %s can be read by others than its owner: chmod 600 it", place.key)
        found = cls.from_files(files)
        ends = found.certificate.not_valid_after_utc
        if ends <= dt.datetime.now(dt.UTC):
            _logger.warning("the certificate %s ended at %s: registries refuse its tokens", place.certificate, ends)
        return found

    @classmethod
    def from_files(cls, files: KeyFiles) -> Self:
        """Read what is in the three files.

        Raises:
            CredentialStoreError: They cannot be read, or do not belong together.
        """
        found = cls.from_pem(files.key, files.certificate)
        # Not compared as text: others write PEM with headers, or as PKCS #1.
        try:
            same = serialization.load_pem_public_key(files.public_key) == found.public_key
        except (ValueError, UnsupportedAlgorithm):
            same = False
        if not same:
            raise CredentialStoreError("the signing key cannot be used: the public key file is that of another key")
        return found

    def to_files(self) -> KeyFiles:
        """Return what the three files hold."""
        private = self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return KeyFiles(private, self.public_pem, self.certificate_pem)

    @property
    def algorithm(self) -> str:
        """The one JWS algorithm of this key: ``RS256`` or ``ES256``."""
        return kind_of(self.public_key).value

    @property
    def public_key(self) -> PublicKey:
        """The public key."""
        return self.private_key.public_key()

    @property
    def public_pem(self) -> bytes:
        """The public key in PEM."""
        return self.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM: the ``rootcertbundle`` of docker-registry."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def x5c(self) -> list[str]:
        """The certificate as tokens carry it: base64 of its DER (RFC 7515, section 4.1.6)."""
        return [base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()]

    def key_id(self, kind: KeyId) -> str:
        """Return a name of the key."""
        return key_id(self.public_key, kind)

    def jwks(self, kind: KeyId = KeyId.THUMBPRINT) -> str:
        """Return a JWK set with the public key: the ``jwks`` file of docker-registry 3.x.

        Args:
            kind: Which name the key has in it; it has to be that of the tokens.
        """
        entry = {**to_jwk(self.public_key), "use": "sig", "alg": self.algorithm, "kid": self.key_id(kind)}
        return json.dumps({"keys": [entry]}, separators=(",", ":"))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key is a secret and is not pickled")


def kind_of(key: object) -> KeyKind:
    """Return the kind of a public key.

    Raises:
        UsageError: It is none of the kinds that tokens are signed with, or too short or too long to use.
    """
    match key:
        case rsa.RSAPublicKey() if RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return KeyKind.RSA
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return KeyKind.EC
        case _:
            raise UsageError(f"tokens are signed with RSA keys of {RSA_BITS} to {MAX_RSA_BITS} bits or EC P-256 keys")


def key_id(key: PublicKey, kind: KeyId) -> str:
    """Return a name of a public key.

    Spec: RFC 7638, section 3 (thumbprint); docker registry auth, "Distribution Registry v2 Bearer token specification"
    (``kid``, whose form libtrust gave it: 240 bits of SHA-256 in base32, in groups of four).
    """
    if kind is KeyId.THUMBPRINT:
        text = json.dumps(to_jwk(key), sort_keys=True, separators=(",", ":"))
        return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:_LIBTRUST_BYTES]).decode()
    return ":".join(text[at : at + 4] for at in range(0, len(text), 4))


def to_jwk(key: PublicKey) -> Mapping[str, str]:
    """Return the members of a JWK that say what the key is, and nothing else (RFC 7638, section 3.2)."""
    made = RSAAlgorithm.to_jwk(key, as_dict=True) if isinstance(key, rsa.RSAPublicKey) else _ec_jwk(key)
    return {name: str(value) for name, value in made.items() if name != "key_ops"}


def _ec_jwk(key: ec.EllipticCurvePublicKey) -> Mapping[str, object]:
    return ECAlgorithm.to_jwk(key, as_dict=True)


@attrs.frozen
class _Names:
    dns: tuple[str, ...]
    ips: tuple[str, ...]

    @property
    def general(self) -> list[x509.GeneralName]:
        addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in self.ips]
        return [*map(x509.DNSName, self.dns), *addresses]

    @property
    def first(self) -> str:
        return [*self.dns, *self.ips][0]


def _names(dns: Iterable[str], ips: Iterable[str]) -> _Names:
    if isinstance(dns, str) or isinstance(ips, str):
        raise UsageError("dns and ips are collections of names, not one string")
    names = _Names(tuple(dns), tuple(ips))
    try:
        if names.general and len(names.first) <= _COMMON_NAME and all(names.dns):
            return names
    except (ValueError, TypeError):
        pass
    raise UsageError("a certificate takes DNS names in ASCII (the first of at most 64 characters) and IP addresses")


def _self_signed(key: PrivateKey, names: _Names, valid_days: float) -> x509.Certificate:
    if not 0 < valid_days <= 365 * 100:
        raise UsageError("a certificate is valid for more than no days and less than a hundred years")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names.first)])
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=valid_days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names.general), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
