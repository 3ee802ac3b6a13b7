"""The secrets of API keys: how they are made, recognised and digested.

`ailb_`, 43 characters for 256 random bits, 6 for their CRC-32: letters and digits, so that a double
click selects all of it. The checksum tells a mistyped key without asking the store, and is what
scanners for leaked secrets look for.
"""

import hashlib
import secrets
import string
import zlib

from ailb_server.domain.api_key import Secret

PREFIX = "ailb_"
PEPPER_BYTES = 32
SIGNING_PREFIX = "ailbs_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_BITS = 256
# 62 ** 43 is just above 2 ** 256, 62 ** 6 above 2 ** 32.
_RANDOM_CHARACTERS = 43
_CHECK_CHARACTERS = 6
_LENGTH = len(PREFIX) + _RANDOM_CHARACTERS + _CHECK_CHARACTERS
_SHOWN_CHARACTERS = len(PREFIX) + 6


def new_secret() -> str:
    """A secret that nobody can guess."""
    random = PREFIX + _base62(secrets.randbits(_RANDOM_BITS), _RANDOM_CHARACTERS)
    return random + _check(random)


def is_secret(text: str) -> bool:
    """Whether it is made as ours are; says nothing of whether it opens anything."""
    return (
        len(text) == _LENGTH
        and text.startswith(PREFIX)
        and text.isascii()
        and _check(text[:-_CHECK_CHARACTERS]) == text[-_CHECK_CHARACTERS:]
    )


def shown(secret: str) -> str:
    """How a secret begins: enough to recognise it, with 220 of its bits left to guess."""
    return secret[:_SHOWN_CHARACTERS]


class Digester:
    """BLAKE2b-256, keyed by a pepper of PEPPER_BYTES bytes.

    A quick digest is right here: there is nothing to guess in 256 random bits, and every call pays
    for it. The key keeps whoever can write to the database from putting in digests of their own.
    """

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def digest(self, secret: str) -> bytes:
        """32 bytes."""
        return hashlib.blake2b(secret.encode(), key=self._pepper, digest_size=32).digest()

    def signing_secret(self, digest: bytes) -> str:
        """What a caller signs with, by the digest of its key's secret: 256 bits that lead neither
        back to that secret nor, without the pepper, from the digest here."""
        made = hashlib.blake2b(
            digest, key=self._pepper, digest_size=32, person=b"ailb signing"
        ).hexdigest()
        return SIGNING_PREFIX + made

    def kept(self, secret: str) -> Secret:
        """What is kept of a secret."""
        return Secret(shown(secret), self.digest(secret))


def pepper_of(setting: str) -> bytes:
    """The pepper that the setting KEY_PEPPER stands for."""
    return hashlib.blake2b(
        setting.encode(), digest_size=PEPPER_BYTES, person=b"ailb pepper"
    ).digest()


def fingerprint(pepper: bytes) -> bytes:
    """Tells whether it is the same pepper; does not lead back to it."""
    return hashlib.blake2b(pepper, digest_size=32, person=b"ailb pepper fp").digest()


def _check(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK_CHARACTERS)


def _base62(number: int, characters: int) -> str:
    found = []
    for _ in range(characters):
        number, digit = divmod(number, len(_DIGITS))
        found.append(_DIGITS[digit])
    return "".join(reversed(found))
