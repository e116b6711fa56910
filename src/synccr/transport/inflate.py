"""Unpacking gzip and deflate as the bytes come, in small pieces. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

ENCODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})

PIECE: Final = 64 * 1024
"""Bytes that are unpacked at once, at most."""
MOST: Final = 16 * 1024 * 1024
"""Bytes that one read of the network may become: 64 times the largest read."""

_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15


class Unreadable(Exception):
    """The bytes cannot be unpacked; the message is for a person."""


class Inflater:
    """One body.

    Attributes:
        whole: everything that was begun has come to its end.
    """

    __slots__ = ("_begun", "_deflate", "_unpacker")

    def __init__(self, encoding: bytes) -> None:
        self._deflate = encoding == b"deflate"
        self._begun = False
        self._unpacker = zlib.decompressobj(_ZLIB if self._deflate else _GZIP)

    @property
    def whole(self) -> bool:
        return self._unpacker.eof or not self._begun

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack the next bytes, in pieces.

        Raises:
            Unreadable: damaged, or a bomb.
        """
        size = 0
        try:
            while data:
                piece = self._unpack(data)
                size += len(piece)
                if size > MOST:
                    raise Unreadable("the answer unpacks to far more than it may")
                if piece:
                    yield piece
                data = self._unpacker.unconsumed_tail or self._next_member()
                if not piece and not data:
                    return
        except zlib.error:
            raise Unreadable("the answer cannot be decoded") from None

    def _unpack(self, data: bytes) -> bytes:
        try:
            piece = self._unpacker.decompress(data, PIECE)
        except zlib.error:
            # Some servers leave the zlib header out, which RFC 9110 8.4.1.2 knows.
            if not self._deflate or self._begun:
                raise
            self._unpacker = zlib.decompressobj(_RAW)
            piece = self._unpacker.decompress(data, PIECE)
        self._begun = True
        return piece

    def _next_member(self) -> bytes:
        """What follows the end of one packed piece: a gzip file may have several."""
        data = self._unpacker.unused_data
        if data and not self._deflate:
            self._unpacker = zlib.decompressobj(_GZIP)
            return data
        return b""
