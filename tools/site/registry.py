"""Programs for the browser, from the npm registry: each of one version, and checked."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cmlib import files

FETCHED = files.ROOT / "build"  # packages are kept here for the next build


class PackageError(RuntimeError):
    """A package that cannot be had; the message says what to do."""


@dataclass(frozen=True)
class Package:
    """A package of the registry.

    ``sha512`` is what the registry states: ``npm view NAME@VERSION dist.integrity``.
    """

    name: str
    version: str
    sha512: str

    @property
    def path(self) -> Path:
        """Where the package is kept once it is fetched."""
        return FETCHED / f"{self.name}-{self.version}.tgz"

    def read(self, member: str) -> bytes:
        """One file of the package, which is fetched first, with npm, where it is not there yet.

        PackageError where npm or the registry is not there, or where the package is another one.
        """
        if not self.path.exists():
            self._fetch()
        digest = base64.b64encode(hashlib.sha512(self.path.read_bytes()).digest()).decode()
        if digest != self.sha512:
            raise PackageError(f"{self.path}: not the package that we know; delete it and retry")
        with tarfile.open(self.path) as package:
            content = package.extractfile(f"package/{member}")
            assert content is not None, member
            return content.read()

    def _fetch(self) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise PackageError("npm is not there; install Node.js, which brings it (Debian: npm)")
        FETCHED.mkdir(exist_ok=True)
        command = [npm, "pack", "--silent", f"{self.name}@{self.version}"]
        done = subprocess.run(command, cwd=FETCHED, capture_output=True, text=True)
        if done.returncode or not self.path.exists():
            reason = " ".join(done.stderr.split())[-300:]
            raise PackageError(f"{self.name} {self.version} cannot be fetched from npm: {reason}")


RUNTIME = Package(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
MATHS = Package(
    "mathjax",
    "3.2.2",
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
)


def write_runtime(folder: Path) -> None:
    """Write ONNX Runtime Web to ``folder``, the program that computes networks in a browser.

    Its WebAssembly is zipped, to a quarter of its size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = "ort.wasm.bundle.min.mjs"
    (folder / script).write_bytes(RUNTIME.read(f"dist/{script}"))
    program = RUNTIME.read("dist/ort-wasm-simd-threaded.wasm")
    (folder / "onnxruntime.wasm.gz").write_bytes(gzip.compress(program, 9, mtime=0))


def write_maths(folder: Path) -> None:
    """Write MathJax to ``folder``, which typesets formulas."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tex-svg.js").write_bytes(MATHS.read("es5/tex-svg.js"))
