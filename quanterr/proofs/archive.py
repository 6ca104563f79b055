"""A zip of NumPy arrays under a JSON header of hashes: one flipped bit anywhere in the content is noticed."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CertificateFileError

#: What a damaged or foreign file may raise in the libraries that read it.
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, IndexError, TypeError, ValueError, NotImplementedError,
    RuntimeError, OverflowError, MemoryError, SyntaxError, OSError, lzma.LZMAError,
)  # fmt: skip


def write_archive(path: Path, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    """Write `header.json` and one `.npy` an array, whole or not at all, and return the SHA-256 of the header.

    The header gets the hash of every array, the comment of the archive that of the header.

    Raises
    ------
    CertificateFileError
        The file cannot be written.
    """
    members = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    text = json.dumps({**header, "members": hashes}, indent=1, ensure_ascii=False, allow_nan=False).encode()
    identity = hashlib.sha256(text).hexdigest()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = identity.encode()
        for name, data in {"header.json": text, **members}.items():
            # a ZipInfo has no time stamp of its own: the same content gives the same bytes
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 6)
    _replace(path, buffer.getvalue())
    return identity


def read_archive(path: Path, form: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]], str]:
    """Header, arrays and identity; all hashes agree.

    Raises
    ------
    CertificateFileError
        Says whether the file is missing, foreign, damaged or of another format or version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CertificateFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            comment, names = archive.comment, archive.namelist()
            content = {name: archive.read(name) for name in names}
    except UNREADABLE as error:
        reason = f"not a certificate, or cut short or altered ({short(error)})"
        raise CertificateFileError(f"{path}: {reason}: copy it again") from error
    text = content.pop("header.json", b"")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != form:
        raise CertificateFileError(f"{path}: a zip file, but not a certificate of quanterr")
    identity = hashlib.sha256(text).hexdigest()
    if comment != identity.encode():
        raise CertificateFileError(
            f"{path}: cut short or altered: the header's hash is not the one in the archive's comment: copy it again"
        )
    if header.get("version") != version:
        raise CertificateFileError(
            f"{path}: certificate format {header.get('version')}, this quanterr reads {version}: use another version"
        )
    hashes = header.get("members")
    if not isinstance(hashes, dict) or len(names) != len(set(names)) or content.keys() != hashes.keys():
        raise CertificateFileError(f"{path}: members are missing or do not belong to it: it was altered")
    for name, member in content.items():
        if hashlib.sha256(member).hexdigest() != hashes[name]:
            raise CertificateFileError(f"{path}: {name} is altered: its hash is not the one in the header")
    try:
        arrays = {name.removesuffix(".npy"): _array(member) for name, member in content.items()}
    except UNREADABLE as error:
        raise CertificateFileError(f"{path}: malformed certificate: {short(error)}") from error
    return header, arrays, identity


def require_writable(folder: Path) -> None:
    """Make the folder; better now than after hours of work.

    Raises
    ------
    CertificateFileError
        It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CertificateFileError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from error


def short(error: BaseException) -> str:
    """One line of an error of another library."""
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    np.lib.format.write_array(buffer, little, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _array(content: bytes) -> NDArray[Any]:
    stream = io.BytesIO(content)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise ValueError("bytes after the end of an array")
    return array


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all, also after a loss of power."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with open(partial, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise CertificateFileError(f"{path}: cannot be written: {error.strerror}; choose another folder") from error
