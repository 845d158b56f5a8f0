"""Encryption at rest: what must be readable again, but not by whoever reads the database.

The key is derived from the secret key of the settings and used for nothing else. Fernet binds the time of
sealing and authenticates; a sealed text that was altered, or sealed with another key, does not open.
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from registry.core.errors import Unavailable

__all__ = ["Sealer"]

# Another use of the same secret key takes another label, and so never shares a derived key with this one.
_LABEL: Final = b"beta-registry sealing v1"


class Sealer:
    """Seals and opens texts with one key."""

    def __init__(self, key: bytes) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_LABEL).derive(key)
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, text: str) -> str:
        """Encrypt; the same text gives another sealed text each time."""
        return self._fernet.encrypt(text.encode("utf-8", "surrogatepass")).decode("ascii")

    def open(self, sealed: str) -> str:
        """Decrypt. Raises `Unavailable` when it was sealed with another key, or altered."""
        try:
            return self._fernet.decrypt(sealed.encode("utf-8", "replace")).decode(
                "utf-8", "surrogatepass"
            )
        except InvalidToken:
            raise Unavailable(
                "A stored secret cannot be opened: the secret key of the settings has changed. "
                "Set the earlier key again, or save the secret anew.",
                slug="secret-key-changed",
            ) from None
