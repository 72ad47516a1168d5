"""Examples decoded without knowing their features."""

from __future__ import annotations

from qarib_tasks.conversion.example_decoder import decode_example


def test_decoding_needs_no_packed_lists() -> None:
    # int64_list { value: 5 value: -1 } as separate fields, float_list { value: 1 } as well.
    feature = bytes.fromhex("1a0d080508ffffffffffffffffff01")
    weights = bytes.fromhex("12050d0000803f")

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    entries = b"".join(
        field(1, field(1, name) + field(2, value)) for name, value in ((b"a", feature), (b"w", weights))
    )
    assert decode_example(field(1, entries)) == {"a": [5, -1], "w": [1.0]}
