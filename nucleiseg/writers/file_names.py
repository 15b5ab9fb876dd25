"""Turn image names into paths that every file system takes and that stay apart.

Images come from other computers: their names may be longer than a file name here, be reserved on Windows, hold line
breaks or bytes that are not text, or differ in case only. One such name must not prevent the results of the others.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

LONGEST_PART = 100
"""UTF-8 bytes of a folder's or file's name. File systems end at 255 bytes or characters; suffixes, digests and names of
temporary files need some of them."""

LONGEST_PATH = 180
"""UTF-8 bytes of a whole path: Windows allows 260 characters with all folders above."""

UNSAFE = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|^[-.]|[. ]$')
"""Characters that Windows refuses in a name (https://learn.microsoft.com/windows/win32/fileio/naming-a-file), control
characters, bytes that are not UTF-8 (lone surrogates in Python), and characters that hide a file
or make it look like an option at the start of a name."""

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
"""Names of devices on Windows, with any suffix."""

DIGEST = 8
"""Hexadecimal digits of the name's SHA-256 that are appended where the path is not the name itself."""


def safe_paths(names: Sequence[str], suffix: str) -> list[PurePosixPath]:
    """Return a relative path for each name.

    A name is kept, its `/` separating folders, where every file system takes it. Else unsafe characters become `_`,
    long parts are cut, and the first digits of the name's SHA-256 are appended: `CON` becomes `_CON-<digest>`. So do
    names that differ only in case or in the composition of accents, which one file system in three takes for the same.

    Args:
        names: image names, each once.
        suffix: of the files, with its dot.

    Returns:
        Paths without `..`, below whatever folder they are put into.
    """
    cleaned = []
    for name in names:
        parts = [UNSAFE.sub("_", part) or "_" for part in name.split("/")]
        parts = [f"_{part}" if RESERVED.match(part) else part for part in parts]
        parts = [part.encode()[:LONGEST_PART].decode(errors="ignore").rstrip(". ") for part in parts]
        folders = [f"{part}_" if part.lower().endswith(suffix) else part for part in parts[:-1]]  # a.png/b with a.png
        path = "/".join([*folders, parts[-1]])
        cleaned.append(path if len(path.encode()) <= LONGEST_PATH else parts[-1])
    counts = Counter(map(_folded, cleaned))
    paths = []
    for name, path in zip(names, cleaned, strict=True):
        if path != name or counts[_folded(path)] > 1:
            path += "-" + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:DIGEST]
        paths.append(PurePosixPath(path + suffix))
    return paths


def _folded(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
