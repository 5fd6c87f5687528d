"""One way to name a value by its content, so that a result can say exactly what it was computed with; and the digest of
a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def content_hash(value: Any, length: int = 12) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of a JSON-serialisable value, independent of dictionary
    order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
