"""Signatures on manifests: who is believed, and that nothing else passes for a signature."""

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.repository import ModelVersion, Repository, RepositoryError
from models.signing import Signer, SigningError, Trust, signer, trusted_keys
from tests.models import factory

OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def publish(root: Path, key: Ed25519PrivateKey | None = OURS, model: str = "toy") -> ModelVersion:
    repository = Repository(root)
    with repository.staging(model) as staged:
        return repository.publish(staged, factory.fill(staged, model=model), signer=None if key is None else Signer(key))


def opened(root: Path, *, required: bool = True, version: int = 1) -> ModelVersion:
    trust = Trust([THEIRS.public_key(), OURS.public_key()][1:], required=required)
    return Repository(root, trust=trust).open("toy", version)


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_a_signed_version_is_opened_and_its_signature_lies_beside_its_manifest(tmp_path: Path) -> None:
    version = publish(tmp_path)
    assert opened(tmp_path) == version
    assert sorted(path.name for path in version.path.iterdir()) == [
        "golden.npz", "manifest.json", "manifest.json.sig", "model.onnx",
    ]  # fmt: skip
    assert (version.path / "manifest.json.sig").stat().st_mode & 0o777 == 0o644


def test_an_unsigned_version_is_refused_where_signatures_are_required(tmp_path: Path) -> None:
    version = publish(tmp_path, None)
    assert opened(tmp_path, required=False) == version
    with pytest.raises(RepositoryError, match=r"toy/1: manifest\.json\.sig: expected a signature, found none"):
        opened(tmp_path)


@pytest.mark.parametrize("required", [True, False])
def test_a_wrong_signature_is_refused_whether_one_is_required_or_not(tmp_path: Path, required: bool) -> None:
    version = publish(tmp_path)
    file = version.path / "manifest.json.sig"
    good, manifest = file.read_bytes(), (version.path / "manifest.json").read_bytes()
    raw = base64.b64decode(good)
    wrong = {
        "of another key": Signer(THEIRS).sign(manifest),
        "of another manifest": Signer(OURS).sign(manifest + b" "),
        "without the domain": base64.b64encode(OURS.sign(manifest)) + b"\n",
        "empty": b"",
        "no base64": b"*" * 88 + b"\n",
        "raw": raw,
        "short": base64.b64encode(raw[:-1]) + b"\n",
        "twice": good + good,
        "without its end": good[:-1],
        "spelt otherwise": good[:-4] + bytes([good[-4] + 1]) + good[-3:],
        "endless": good * 1000,
    }
    for name, data in wrong.items():
        file.write_bytes(data)
        with pytest.raises(RepositoryError, match=r"manifest\.json\.sig: expected"):
            opened(tmp_path, required=required)
        assert name
    file.write_bytes(good)
    assert opened(tmp_path, required=required)


def test_a_signature_is_no_link(tmp_path: Path) -> None:
    version = publish(tmp_path)
    file = version.path / "manifest.json.sig"
    file.rename(tmp_path / "elsewhere.sig")
    for target in (tmp_path / "elsewhere.sig", tmp_path / "nowhere"):
        file.symlink_to(target)
        with pytest.raises(RepositoryError, match=r"manifest\.json\.sig: expected a regular file"):
            opened(tmp_path, required=False)
        file.unlink()


def test_no_version_passes_for_another(tmp_path: Path) -> None:
    for _ in range(2):
        publish(tmp_path)
    folder = tmp_path / "toy"
    (folder / "2").rename(folder / "3")
    shutil.copytree(folder / "1", folder / "2")
    for number in (2, 3):
        with pytest.raises(RepositoryError, match=r"expected this model and version, found toy/[12]"):
            opened(tmp_path, version=number)


def test_keys_are_read_from_pem(tmp_path: Path) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(pem(OURS))
    public.write_bytes(b"# ours and theirs\n" + public_pem(THEIRS) + b"\n" + public_pem(OURS))
    trust = Trust(trusted_keys(public), required=True)
    trust.check(b"manifest", signer(private).sign(b"manifest"))
    trust.check(b"manifest", Signer(THEIRS).sign(b"manifest"))
    with pytest.raises(SigningError):
        trust.check(b"manifesto", signer(private).sign(b"manifest"))


def test_keys_made_by_openssl_are_read(tmp_path: Path) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    Trust(trusted_keys(public), required=True).check(b"m", signer(private).sign(b"m"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected an Ed25519 private key in PEM"),
        (pem(OURS)[:60], "expected an Ed25519 private key in PEM"),
        (public_pem(OURS), "expected an Ed25519 private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "another kind"),
        (pem(OURS, b"password"), "without a password"),
    ],
    ids=["empty", "cut", "public", "another kind", "password"],
)
def test_a_private_key_that_is_none_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "key.pem").write_bytes(data)
    with pytest.raises(SigningError, match=words):
        signer(tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "found none"),
        (pem(OURS), "found none"),
        (public_pem(ec.generate_private_key(ec.SECP256R1())), "another kind"),
        (public_pem(OURS).replace(b"MCow", b"MCox"), "expected Ed25519 public keys"),
    ],
    ids=["empty", "private", "another kind", "altered"],
)
def test_public_keys_that_are_none_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "keys.pem").write_bytes(data)
    with pytest.raises(SigningError, match=words):
        trusted_keys(tmp_path / "keys.pem")
    with pytest.raises(SigningError, match="No such file"):
        trusted_keys(tmp_path / "nowhere")


def test_without_cryptography_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for read in (signer, trusted_keys):
        with pytest.raises(SigningError, match=r"pip install 'sameway\[signing\]'"):
            read(tmp_path / "key.pem")
