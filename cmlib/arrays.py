"""Arrays that are mapped from their files, so that they need not fit into memory."""

from __future__ import annotations

import math
import mmap
import weakref
from pathlib import Path
from typing import Literal

import numpy as np

from cmlib.damage import DamageError, fault_of_noted, set_aside

LARGE_MAP = 256_000_000  # bytes of a file from which its pages are given back (``release_maps``)
MAPPED_AROUND = 1 << 16  # bytes that are mapped with each place that is read, at most
RELEASE_AFTER = 1 << 29  # bytes that are mapped in between
_large_maps: list[weakref.ref] = []
_bytes_mapped = 0


def open_array(path: Path, mode: Literal["r", "c"] = "r") -> np.ndarray:
    """Map a ``.npy`` file into memory; "c" gives an array that may be changed, but not the file.

    DamageError if the file is no array, or has not as many bytes as it says.
    """
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            readers = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, _, dtype = readers[version](file)
            expected = file.tell() + math.prod(shape) * dtype.itemsize
    except (ValueError, KeyError) as error:
        fault = " ".join(str(error).split())[:80]
        raise DamageError(f"{path}: not an array of numpy ({fault})") from None
    size = path.stat().st_size
    if size != expected:
        raise DamageError(f"{path}: {size:,} bytes where {expected:,} are expected")
    if not math.prod(shape):  # nothing to map
        return np.load(path)
    array = np.load(path, mmap_mode=mode)
    if size > LARGE_MAP:
        _large_maps.append(weakref.ref(array))
    return array


def open_or_set_aside(path: Path, mode: Literal["r", "c"] = "r") -> np.ndarray | None:
    """``open_array`` of what can be made again, if it is there and whole; None otherwise.

    It is then compared with the checksum of ``cmlib.damage.note_checksum``, too, and set aside if
    it is damaged.
    """
    if not path.exists():
        return None
    try:
        array = open_array(path, mode)
        fault = fault_of_noted(path)
    except DamageError as error:
        fault = str(error).removeprefix(f"{path}: ")
    if fault:
        set_aside(path, fault)
        return None
    return array


def release_maps(places: int) -> None:
    """Give the pages of large mapped files back now and then, after so many more ``places`` read.

    The operating system counts every page that was read from a map as memory of this process, and
    with a page it maps those around it. Its own cache keeps them.
    """
    global _bytes_mapped
    if not _large_maps or not hasattr(mmap, "MADV_DONTNEED"):
        return
    _bytes_mapped += places * MAPPED_AROUND
    if _bytes_mapped < RELEASE_AFTER:
        return
    _bytes_mapped = 0
    for reference in list(_large_maps):
        array = reference()
        if array is None:
            _large_maps.remove(reference)
        else:
            array._mmap.madvise(mmap.MADV_DONTNEED)  # pyright: ignore[reportAttributeAccessIssue]
