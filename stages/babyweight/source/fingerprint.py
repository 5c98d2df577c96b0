"""FarmHash's Fingerprint64 of many strings at once, in NumPy's whole-array operations.

BigQuery calls it `FARM_FINGERPRINT`, TensorFlow `tf.fingerprint`: with that, `prepare` takes three times the memory
and the processor's time (docs/benchmarks.md). The algorithm is `farmhashna::Hash64` of
https://github.com/google/farmhash, version 1.1.
"""

import sys

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.babyweight.source import arrays

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

_K0, _K1, _K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_CHUNK = 64
"""Strings of more bytes are hashed in chunks of this many."""


def fingerprints(strings: pa.Array) -> Words:
    """Each string's Fingerprint64, a function of its UTF-8 bytes alone.

    Args:
        strings: [n], text or binary, without nulls.

    Returns:
        [n].
    """
    strings = strings.cast(pa.large_binary())
    if not len(strings):
        return np.zeros(0, np.uint64)
    text = np.frombuffer(strings.buffers()[2] or b"", np.uint8)
    edges = arrays.edges(strings)
    starts, lengths = edges[:-1], np.diff(edges)
    shortest, longest = lengths.min(), lengths.max()
    hashes = np.empty(len(lengths), np.uint64)
    for least, most, function in _BY_LENGTH:
        if least <= shortest and longest <= most:  # true of nearly all keys
            return function(text, starts, lengths)
        if shortest <= most and least <= longest:
            rows = np.flatnonzero((least <= lengths) & (lengths <= most))
            hashes[rows] = function(text, starts[rows], lengths[rows])
    return hashes


def _fetch(text: Bytes, at: Positions, size: int = 8) -> Words:
    """The bytes from each position, as a number."""
    words = np.ndarray(max(len(text) - size + 1, 0), f"<u{size}", text, strides=(1,))  # a word starts at each byte
    return np.asarray(words[at], np.uint64)


def _rotated(v: Words, bits: int) -> Words:
    """Rotate to the right."""
    return (v >> np.uint64(bits)) | (v << np.uint64(64 - bits))


def _shift_mix(v: Words) -> Words:
    return v ^ (v >> np.uint64(47))


def _of_two(u: Words, v: Words, factor: Words) -> Words:
    """`HashLen16`: hash two numbers into one."""
    a = _shift_mix((u ^ v) * factor)
    return _shift_mix((v ^ a) * factor) * factor


def _factor(lengths: Positions) -> Words:
    return _K2 + lengths.astype(np.uint64) * np.uint64(2)


def _to_0(text: Bytes, starts: Positions, lengths: Positions) -> Words:
    return np.full(len(lengths), _K2)


def _to_3(text: Bytes, starts: Positions, lengths: Positions) -> Words:
    first, middle, last = (text[at].astype(np.uint64) for at in (starts, starts + lengths // 2, starts + lengths - 1))
    y = first + (middle << np.uint64(8))
    z = lengths.astype(np.uint64) + (last << np.uint64(2))
    return _shift_mix(y * _K2 ^ z * _K0) * _K2


def _to_7(text: Bytes, starts: Positions, lengths: Positions) -> Words:
    first, last = _fetch(text, starts, 4), _fetch(text, starts + lengths - 4, 4)
    return _of_two(lengths.astype(np.uint64) + (first << np.uint64(3)), last, _factor(lengths))


def _to_16(text: Bytes, starts: Positions, lengths: Positions) -> Words:
    factor = _factor(lengths)
    a, b = _fetch(text, starts) + _K2, _fetch(text, starts + lengths - 8)
    c, d = _rotated(b, 37) * factor + a, (_rotated(a, 25) + b) * factor
    return _of_two(c, d, factor)


def _ends(text: Bytes, starts: Positions, lengths: Positions, k: np.uint64, factor: Words) -> tuple[Words, ...]:
    """The steps that strings of 17 to 64 bytes share, on their first and last 16 bytes."""
    a, b = _fetch(text, starts) * k, _fetch(text, starts + 8)
    c, d = _fetch(text, starts + lengths - 8) * factor, _fetch(text, starts + lengths - 16) * _K2
    return a, _rotated(a + b, 43) + _rotated(c, 30) + d, a + _rotated(b + _K2, 18) + c


def _to_32(text: Bytes, starts: Positions, lengths: Positions) -> Words:
    factor = _factor(lengths)
    _, y, z = _ends(text, starts, lengths, _K1, factor)
    return _of_two(y, z, factor)


def _to_64(text: Bytes, starts: Positions, lengths: Positions) -> Words:
    factor = _factor(lengths)
    a, y, z = _ends(text, starts, lengths, _K2, factor)
    z = _of_two(y, z, factor)
    e, f = _fetch(text, starts + 16) * factor, _fetch(text, starts + 24)
    g = (y + _fetch(text, starts + lengths - 32)) * factor
    h = (z + _fetch(text, starts + lengths - 24)) * factor
    return _of_two(_rotated(e + f, 43) + _rotated(g, 30) + h, e + _rotated(f + a, 18) + g, factor)


def _longer(text: Bytes, starts: Positions, lengths: Positions) -> Words:
    chunks = (lengths - 1) // _CHUNK
    hashes = np.empty(len(lengths), np.uint64)
    for count in np.unique(chunks):
        rows = np.flatnonzero(chunks == count)
        hashes[rows] = _of_chunks(text, starts[rows], lengths[rows], int(count))
    return hashes


def _of_chunks(text: Bytes, starts: Positions, lengths: Positions, count: int) -> Words:
    """Fingerprints of strings that have `count` whole chunks and a rest of 1 to 64 bytes."""

    def weak(at: Positions, a: Words, b: Words) -> tuple[Words, Words]:
        first, second, third, fourth = (_fetch(text, at + i) for i in (0, 8, 16, 24))
        a = a + first
        b = _rotated(b + a + fourth, 21)
        c = a + second + third
        return c + fourth, b + _rotated(c, 44) + a

    def mixed(state: tuple[Words, ...], at: Positions, factor: Words, scale: np.uint64) -> tuple[Words, ...]:
        x, y, z, v0, v1, w0, w1 = state
        x = _rotated(x + y + v0 + _fetch(text, at + 8), 37) * factor ^ w1 * scale
        y = _rotated(y + v1 + _fetch(text, at + 48), 42) * factor + v0 * scale + _fetch(text, at + 40)
        z = _rotated(z + w0, 33) * factor
        v = weak(at, v1 * factor, x + w0)
        w = weak(at + 32, z + w1, y + _fetch(text, at + 16))
        return z, y, x, *v, *w

    seed, nothing = np.full(len(starts), 81, np.uint64), np.zeros(len(starts), np.uint64)
    y = seed * _K1 + np.uint64(113)
    z = _shift_mix(y * _K2 + np.uint64(113)) * _K2
    state: tuple[Words, ...] = (seed * _K2 + _fetch(text, starts), y, z, *[nothing] * 4)
    for chunk in range(count):
        state = mixed(state, starts + chunk * _CHUNK, np.full(1, _K1), np.uint64(1))
    x, y, z, v0, v1, w0, w1 = state
    factor = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w0 = w0 + ((lengths - 1) % _CHUNK).astype(np.uint64)
    v0 = v0 + w0
    w0 = w0 + v0
    x, y, z, v0, v1, w0, w1 = mixed((x, y, z, v0, v1, w0, w1), starts + lengths - _CHUNK, factor, np.uint64(9))
    first = _of_two(v0, w0, factor) + _shift_mix(y) * _K0 + z
    return _of_two(first, _of_two(v1, w1, factor) + x, factor)


_BY_LENGTH = (
    (0, 0, _to_0),
    (1, 3, _to_3),
    (4, 7, _to_7),
    (8, 16, _to_16),
    (17, 32, _to_32),
    (33, _CHUNK, _to_64),
    (_CHUNK + 1, sys.maxsize, _longer),
)
"""The function for each range of lengths, in bytes."""
