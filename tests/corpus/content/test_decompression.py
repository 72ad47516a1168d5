"""Compressed files as streams, and those that hold far more than they can."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.content import decompression
from qarib_tasks.corpus.content.decompression import Allowance, limited, unpacked
from qarib_tasks.errors import InputError

TEXT = "نص طويل\n".encode() * 5000
LIMITS = SourceConfig(name="s", path="any")


def zstd(data: bytes) -> bytes:
    import pyarrow

    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("packed", "compress"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstd), ("", bytes)],
)
def test_every_format_gives_the_text_back(packed: str, compress: Callable[[bytes], bytes]) -> None:
    data = compress(TEXT)
    assert limited(unpacked(io.BytesIO(data), packed), Allowance(len(data), "a.txt", LIMITS)).read() == TEXT


@pytest.mark.parametrize(("packed", "compress"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_parts_with_zeros_and_other_data_after_them(packed: str, compress: Callable[[bytes], bytes]) -> None:
    def text(data: bytes) -> bytes:
        return limited(unpacked(io.BytesIO(data), packed), Allowance(len(data), "a.txt", LIMITS)).read()

    one, zeros = compress(TEXT), bytes(8)
    for data in (one + one, one + zeros + one, compress(b"") + one + one + zeros * 200_000):
        assert text(data) == TEXT * 2
    with pytest.raises(OSError, match="other data follows the compressed data"):
        text(one + TEXT)
    for cut in (5, len(one) - 5, len(one) + 5, 2 * len(one) - 5):
        with pytest.raises(EOFError, match="cut short"):
            text((one + one)[:cut])


def test_a_bomb_ends_with_the_file_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.compress(bytes(1 << 20))
    assert len(data) * LIMITS.most_expansion < 1 << 20
    # A small file may: every text of that size can be kept in memory.
    assert (
        len(limited(unpacked(io.BytesIO(data), "gz"), Allowance(len(data), "bomb.gz", LIMITS)).read())
        == 1 << 20
    )
    monkeypatch.setattr(decompression, "FREE_EXPANSION", 1000)
    with pytest.raises(InputError) as raised:
        limited(unpacked(io.BytesIO(data), "gz"), Allowance(len(data), "bomb.gz", LIMITS)).read()
    assert raised.value.where == "bomb.gz"


def test_all_that_is_in_a_file_has_one_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "FREE_EXPANSION", 1000)
    allowance = Allowance(1, "many.zip", LIMITS)
    for _ in range(10):
        assert len(limited(io.BytesIO(bytes(100)), allowance).read()) == 100
    with pytest.raises(InputError, match=r"many\.zip: unpacks to more than 200 times its 1 bytes"):
        limited(io.BytesIO(bytes(1)), allowance).read()


@pytest.mark.parametrize("window", [27, 30, 31])
def test_zstd_with_a_long_window(window: int) -> None:
    from backports import zstd

    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: window,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    # Without the size of the whole, as from a pipe, the frame says that the window is as large as this.
    data = compressor.compress(TEXT) + compressor.flush()
    assert unpacked(io.BytesIO(data), "zst").read() == TEXT
    with pytest.raises(EOFError):
        unpacked(io.BytesIO(data[:-1]), "zst").read()
