"""Fetching from a local web server: whatever it does, the end is a whole file or a clear line."""

import hashlib
import http.server
import io
import json
import re
import shutil
import sys
import threading
import time
import zipfile

import pytest

from cmlib.cli import main
from cmlib.cli.options import number_range
from cmlib.config import get_profile
from cmlib.corpora import download
from cmlib.corpora.download import ConnectionLost, FetchError, fetch
from cmlib.preparation.prepare import prepare

NAMES = ["Video_Speech_Actor_01.zip", "Video_Speech_Actor_02.zip", "Audio_Speech_Actors_01-24.zip"]


class Host:
    """A stand-in for the archive host.

    ``faults[name]`` lists what it does wrong, one fault for each request.
    """

    def __init__(self):
        host = self
        self.files = {
            name: (name.encode() + b" ") * 20_000 for name in NAMES
        }  # about half a megabyte each
        self.faults, self.requests, self.checksums, self.ranges = {}, [], True, True

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                host.answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        tell = (
            self.server.handle_error
        )  # a client that hangs up is no fault of the server; its line would be taken for cm's
        self.server.handle_error = lambda *who: (
            None if isinstance(sys.exception(), ConnectionError) else tell(*who)
        )
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/records/1188976"

    def listing(self) -> bytes:
        def entry(name, data):
            rest = {"checksum": "md5:" + hashlib.md5(data).hexdigest()} if self.checksums else {}
            return {
                "key": name,
                "size": len(data),
                "links": {"self": f"{self.url}/files/{name}/content"},
            } | rest

        return json.dumps(
            {"files": [entry(name, data) for name, data in self.files.items()]}
        ).encode()

    def answer(self, to):
        name = to.path.split("/")[-2] if to.path.endswith("/content") else "listing"
        self.requests.append((name, to.headers.get("Range")))
        data = self.files.get(name) or self.listing()
        fault = self.faults[name].pop(0) if self.faults.get(name) else "none"
        start = int(re.search(r"\d+", to.headers.get("Range", "0"))[0]) if self.ranges else 0
        status = 206 if start else 200
        if fault.isdigit():
            status, data, start = int(fault), b"sorry", 0
        elif fault == "noise":
            data = bytes(len(data))
        elif fault == "endless":
            data = data * 20
        to.send_response(status)
        if status == 206:
            to.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if status == 429:
            to.send_header("Retry-After", "0")
        to.send_header("Content-Length", str(len(data) - start))
        to.end_headers()
        body = data[start:]
        half = len(body) // 2
        if fault in ("cut", "slow", "stuck"):
            to.wfile.write(body[:half])
            to.wfile.flush()
            if fault == "cut":
                to.close_connection = True
                return
            time.sleep(0.2 if fault == "slow" else 1.0)
            body = body[half:]
        to.wfile.write(body)


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", (2, 0.5))
    h = Host()
    yield h
    h.server.shutdown()
    h.server.server_close()


def whole(host, root, *names):
    """Exactly these archives are there, whole, and nothing half."""
    assert sorted(p.name for p in root.glob("*.zip*")) == sorted(names)
    assert all((root / name).read_bytes() == host.files[name] for name in names)
    return True


def test_archives_come_whole_with_their_sums_and_only_once(host, tmp_path):
    assert fetch(tmp_path, [1, 2], url=host.url) == [tmp_path / name for name in NAMES[:2]]
    assert whole(host, tmp_path, *NAMES[:2])
    lines = dict(
        reversed(line.split("  "))
        for line in (tmp_path / "checksums.sha256").read_text().splitlines()
    )
    assert lines == {name: hashlib.sha256(host.files[name]).hexdigest() for name in NAMES[:2]}
    host.requests.clear()
    fetch(tmp_path, [2, 1], url=host.url)
    assert host.requests == [("listing", None)]


def test_sound_only_is_one_archive(host, tmp_path):
    assert fetch(tmp_path, audio_only=True, url=host.url) == [tmp_path / NAMES[2]]
    assert whole(host, tmp_path, NAMES[2])


@pytest.mark.parametrize("fault", ["cut", "stuck", "slow", "503", "429", "416"])
def test_a_temporary_fault_ends_in_a_whole_file(host, tmp_path, fault):
    host.faults = {NAMES[0]: [fault, fault], "listing": ["502"]}
    fetch(tmp_path, [1], url=host.url)
    assert whole(host, tmp_path, NAMES[0])
    ranges = [int(r[6:-1]) for name, r in host.requests if name == NAMES[0] and r]
    assert bool(ranges) == (
        fault in ("cut", "stuck")
    )  # it goes on from where it was, further on each time
    assert ranges == sorted(set(ranges))


def test_a_host_that_refuses_ranges_sends_all_again(host, tmp_path):
    host.ranges, host.faults = False, {NAMES[0]: ["cut", "cut"]}
    fetch(tmp_path, [1], url=host.url)
    assert whole(host, tmp_path, NAMES[0]) and len(host.requests) == 4


def test_a_connection_that_always_breaks_keeps_the_part_for_the_next_time(host, tmp_path):
    host.ranges, host.faults = False, {NAMES[0]: ["cut"] * 99}
    with pytest.raises(
        ConnectionLost, match=r"Actor_01.zip/content: breaks off at 3\d%, 6 times; run again"
    ):
        fetch(tmp_path, [1, 2], url=host.url)
    assert [p.name for p in tmp_path.glob("*.zip*")] == [
        NAMES[0] + ".part"
    ]  # and the second was not tried
    host.ranges, host.faults = True, {}
    host.requests.clear()
    fetch(tmp_path, [1], url=host.url)
    assert whole(host, tmp_path, NAMES[0]) and host.requests[-1][1] == f"bytes={3 << 16}-"


def test_an_unreachable_host_is_a_clear_line_that_explains_the_download_by_hand(host, tmp_path):
    host.server.shutdown()
    host.server.server_close()
    with pytest.raises(ConnectionLost, match="no connection") as error:
        fetch(tmp_path, [1], url=host.url)
    assert f"by hand: open {download.PAGE}, download {NAMES[0]} into {tmp_path}" in str(error.value)


@pytest.mark.parametrize("fault", ["noise", "endless"])
def test_another_content_is_removed_and_the_rest_is_fetched(host, tmp_path, fault):
    host.faults = {NAMES[0]: [fault]}
    with pytest.raises(
        FetchError, match=r"Actor_01.zip.part: .* the record lists .*; removed\n  run again"
    ):
        fetch(tmp_path, [1, 2], url=host.url)
    assert whole(host, tmp_path, NAMES[1])


def test_a_missing_file_is_named_at_once(host, tmp_path):
    host.faults = {NAMES[0]: ["404"]}
    with pytest.raises(FetchError, match="Actor_01.zip/content: 404 Not Found"):
        fetch(tmp_path, [1, 2], url=host.url)
    assert whole(host, tmp_path, NAMES[1])
    assert [name for name, _ in host.requests].count(NAMES[0]) == 1
    with pytest.raises(FetchError, match="does not list Video_Speech_Actor_07.zip"):
        fetch(tmp_path, [7], url=host.url)


@pytest.mark.parametrize("answer", [b"<html>maintenance</html>", b'{"files": "none"}', b"[1]"])
def test_an_answer_that_is_not_a_listing_is_refused(host, tmp_path, answer, monkeypatch):
    monkeypatch.setattr(host, "listing", lambda: answer)
    with pytest.raises(FetchError, match="not the listing of a record; check --url"):
        fetch(tmp_path, [1], url=host.url)
    with pytest.raises(FetchError, match="check --url"):
        fetch(tmp_path, [1], url="zenodo")


def test_without_a_listed_sum_the_first_download_is_the_measure(host, tmp_path):
    host.checksums = False
    fetch(tmp_path, [1], url=host.url)
    (tmp_path / NAMES[0]).unlink()
    host.faults = {NAMES[0]: ["noise"]}
    with pytest.raises(FetchError, match="at the first download"):
        fetch(tmp_path, [1], url=host.url)
    fetch(tmp_path, [1], url=host.url)
    assert whole(host, tmp_path, NAMES[0])


def test_archives_put_there_by_hand_are_checked(host, tmp_path, capsys):
    good, half, bad, long = (tmp_path / name for name in ("good", "half", "bad", "long"))
    data = host.files[NAMES[0]]
    for root, content in (
        (good, data),
        (half, data[:1000]),
        (bad, data[:-1] + b"!"),
        (long, data + b"!"),
    ):
        root.mkdir()
        (root / NAMES[0]).write_bytes(content)
        host.requests.clear()
        fetch(root, [1], url=host.url)
        assert whole(host, root, NAMES[0])
        assert host.requests[1:] == {"good": [], "half": [(NAMES[0], "bytes=1000-")]}.get(
            root.name, [(NAMES[0], None)]
        )
        assert ("removed; it is downloaded again" in capsys.readouterr().err) == (
            root.name in ("bad", "long")
        )


def test_disk_space_is_checked_first(host, tmp_path, monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10**5)
    )
    with pytest.raises(
        FetchError, match="0.0 GB are needed.* make room, or name another folder with --root"
    ):
        fetch(tmp_path, [1], url=host.url)
    assert [name for name, _ in host.requests] == ["listing"]


def test_the_command_fetches_and_prepare_reads_the_archives_packed(
    host, tmp_path, good_clip, capsys
):
    for actor in (1, 2):
        with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
            for kind in ("01", "02"):  # audio-visual and video-only
                archive.write(good_clip, f"Actor_{actor:02d}/{kind}-01-03-01-01-01-{actor:02d}.mp4")
        host.files[NAMES[actor - 1]] = packed.getvalue()
    root = tmp_path / "ravdess"
    assert (
        main(["fetch", "ravdess", "--actors", "1-2", "--root", str(root), "--url", host.url]) == 0
    )
    assert f"next: cm prepare ravdess --root {root}" in capsys.readouterr().out
    s = prepare("ravdess", get_profile("smoke"), root, tmp_path / "cache", workers=1)
    assert list(s.clips.file) == [
        f"{NAMES[a - 1]}!/Actor_{a:02d}/01-01-03-01-01-01-{a:02d}.mp4" for a in (1, 2)
    ]
    assert len(s.skipped) == 2 and s.skipped.reason.str.startswith("duplicate").all()
    assert {p.name for p in root.iterdir() if p.name[0] != "."} == {
        "checksums.sha256",
        *NAMES[:2],
    }  # nothing unpacked
    arguments = [
        "ravdess",
        "--profile",
        "smoke",
        "--root",
        str(root),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert main(["verify", *arguments]) == 0
    (root / NAMES[0]).write_bytes(host.files[NAMES[0]][:-1] + b"!")
    assert main(["verify", *arguments]) == 1
    assert f"{NAMES[0]}: not what it was" in capsys.readouterr().err
    host.faults = {NAMES[1]: ["404"]}
    (root / NAMES[1]).unlink()
    assert main(["fetch", "ravdess", "--actors", "2", "--root", str(root), "--url", host.url]) == 1
    assert capsys.readouterr().err.startswith("cm: http://127.0.0.1")


def test_actors_of_the_command(capsys):
    assert number_range("1-4,9") == [1, 2, 3, 4, 9] and number_range("24") == [24]
    for wrong in ("0-2", "25", "x", "", "4-1"):
        with pytest.raises(SystemExit):
            main(["fetch", "ravdess", "--actors", wrong])
    assert "--actors" in capsys.readouterr().err
    assert main(["fetch", "ravdess", "--actors", "1", "--audio-only"]) == 1
    assert "one archive" in capsys.readouterr().err
