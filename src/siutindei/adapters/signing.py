"""Signs checkpoints, and checks them: see `ports.Notary`.

The key is one of ours, 32 bytes of a ring, or stays in KMS and signs there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from siutindei.adapters.aws_faults import Fault, faults
from siutindei.app.ports import Altered, Checkpoint, Unavailable, Unusable
from siutindei.domain.errors import Invalid
from siutindei.verify_receipt import (
    NotProved,
    checkpoint_body,
    key_line,
    open_checkpoint,
    parse_key,
    signature_line,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siutindei.adapters.keys import KeyRing

_ALGORITHM: Final = "ED25519_SHA_512"


def _nobody(_: bytes) -> bytes:
    raise Unusable("nothing can be signed with a public key; leave --key out")


@attrs.frozen(kw_only=True)
class NoteNotary:
    """See `ports.Notary`.

    Attributes:
        keys: the lines of the public keys, the one that signs first.
        signature: signs with that one.
    """

    keys: tuple[str, ...]
    signature: Callable[[bytes], bytes] = _nobody

    def sign(self, *, size: int, root: bytes) -> str:
        """Sign a checkpoint."""
        name, public = parse_key(self.keys[0])
        body = checkpoint_body(name, size, root)
        return f"{body}\n{signature_line(name, public, self.signature(body.encode()))}"

    def open(self, note: str) -> tuple[Checkpoint, str]:
        """Check a signed note, and read it."""
        try:
            for key in self.keys[1:]:
                # A key that is in use no more signed what it signed.
                try:
                    return _opened(note, key)
                except NotProved:
                    continue
            return _opened(note, self.keys[0])
        except NotProved as error:
            raise Altered(str(error)) from None


def _opened(note: str, key: str) -> tuple[Checkpoint, str]:
    found = open_checkpoint(note, [key])
    return Checkpoint(origin=found.origin, size=found.size, root=found.root), key


def notary_of_ring(origin: str, ring: KeyRing) -> NoteNotary:
    """Give the notary that signs with the current key of a ring."""
    signers = {name: Ed25519PrivateKey.from_private_bytes(key) for name, key in ring.keys.items()}
    ids = [ring.current, *sorted(signers.keys() - {ring.current})]
    return NoteNotary(
        keys=tuple(key_line(origin, signers[id].public_key().public_bytes_raw()) for id in ids),
        signature=signers[ring.current].sign,
    )


def notary_of_keys(lines: Sequence[str]) -> NoteNotary:
    """Give a notary that signs nothing, and knows the keys of these lines.

    Raises:
        Invalid: one is no line of a key.
    """
    try:
        for line in lines:
            parse_key(line)
    except NotProved as error:
        raise Invalid("key", str(error)) from None
    return NoteNotary(keys=tuple(lines))


def notary_at_kms(origin: str, key_id: str, *, connect: Callable[[], Any]) -> NoteNotary:
    """Give the notary that lets KMS sign; the key never leaves it.

    Args:
        origin: the log's name.
        key_id: the key's id, its ARN or an alias: an asymmetric one, ECC_NIST_EDWARDS25519.
        connect: gives a client of `kms`.

    Raises:
        Unusable: there is no such key, it is of another kind, or it may not be used.
        Unavailable: not now.
    """

    def asked(what: str, **given: Any) -> Any:
        try:
            with faults():
                return getattr(connect(), what)(KeyId=key_id, **given)
        except Fault as found:
            if found.transient:
                raise Unavailable(f"KMS does not answer ({found.code}); try again") from None
            raise Unusable(
                f"KMS does not sign with {key_id} ({found.code}); name a key of the kind "
                "ECC_NIST_EDWARDS25519, and allow kms:Sign and kms:GetPublicKey on it"
            ) from None

    def signature(body: bytes) -> bytes:
        answer = asked("sign", Message=body, MessageType="RAW", SigningAlgorithm=_ALGORITHM)
        signed: bytes = answer["Signature"]
        return signed

    public = load_der_public_key(asked("get_public_key")["PublicKey"])
    if not isinstance(public, Ed25519PublicKey):
        raise Unusable(f"the key {key_id} in KMS is not one of Ed25519; make another one")
    return NoteNotary(keys=(key_line(origin, public.public_bytes_raw()),), signature=signature)
