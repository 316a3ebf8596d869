"""Unpacks an HTTP body that came compressed although it was asked for as it is."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from animate_pipelines.errors import FetchError
from animate_server.addresses import redact

_STEP_BYTES = 1 << 20  # unpacked at a time: a bomb meets the limit of bytes before it meets the memory
_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def unpacked(chunks: Iterable[bytes], encoding: str, url: str) -> Iterator[bytes]:
    """Yield the bytes behind a content coding.

    Raises `FetchError` for another coding than gzip and deflate, and for a body that is cut or does not unpack.
    """
    if encoding in ("", "identity"):
        yield from chunks
        return
    if encoding not in _WINDOWS:
        message = f"{redact(url)} answered in {encoding!r}, though the file was asked for as it is"
        raise FetchError(message, value=encoding, limit="identity, gzip, deflate")
    unpacker = zlib.decompressobj(_WINDOWS[encoding])
    try:
        for chunk in chunks:
            pending = chunk
            while pending:
                yield unpacker.decompress(pending, _STEP_BYTES)
                pending = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise FetchError(f"{redact(url)} answered with {encoding} that does not unpack: {error}") from None
    if not unpacker.eof:
        raise FetchError(f"{redact(url)} answered with {encoding} that ends before its end")
