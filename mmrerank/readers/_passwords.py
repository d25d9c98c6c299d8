"""The passwords of encrypted files, for this process only.

They are no option of the reader: an option belongs to its name, and the name of a reader is written into the collection. So the
command line, or whoever runs this in Python, hands them over once, and every file that asks for one is tried with each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from mmrerank.errors import InputError

_PASSWORDS: list[str] = []
_MOST_BYTES = 256 << 20  # of a file that is decrypted in memory


def use_passwords(passwords: Sequence[str]) -> None:
    """From now on encrypted PDFs are tried with these, in this order, and no others; nothing is written down.

    Raises:
        InputError: a single text in place of a sequence, or an empty password, which is tried in any case.

    >>> use_passwords(["april", "may"])
    >>> use_passwords([])
    """
    if isinstance(passwords, str):
        raise InputError("passwords are a sequence of texts; got one text", hint="use_passwords([password])")
    if not all(passwords):
        raise InputError("a password is empty; without any, files are opened as they are")
    _PASSWORDS[:] = passwords


def known_passwords() -> tuple[str, ...]:
    """Them, for a process that works for this one."""
    return tuple(_PASSWORDS)


def number_of_passwords() -> int:
    """How many there are to try."""
    return len(_PASSWORDS)


def encoded_passwords() -> Iterator[bytes]:
    """The empty one, then each in the encodings of newer and of older files."""
    yield b""
    for password in _PASSWORDS:
        encodings = {password.encode("utf-8"): None, password.encode("latin-1", "replace"): None}
        yield from encodings


def decrypted(path: Path) -> bytes:
    """The file without its encryption where qpdf opens it with none or one of the passwords; b"" where it does not.

    For what pdfium refuses: it never tries an empty password as the owner's, and knows fewer schemes. Cost: the file is written anew in
    memory, so it is asked last.
    """
    import pikepdf

    if path.stat().st_size > _MOST_BYTES:
        return b""
    for password in ("", *_PASSWORDS):
        buffer = BytesIO()
        try:
            with pikepdf.open(path, password=password) as document:
                document.save(buffer)
        except pikepdf.PasswordError:
            continue
        except pikepdf.PdfError:  # a scheme that it does not know either, or damage
            break
        return buffer.getvalue()
    return b""
