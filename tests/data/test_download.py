"""Fetching over a connection that breaks, lies and serves the wrong thing: what arrives is whole and right, or not
there."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import trees

from rrg_lib import cli
from rrg_lib.data import download
from rrg_lib.data.download import CHECKSUMS, Fetching, fetch
from rrg_lib.data.openi_download import download_openi
from rrg_lib.errors import ConfigurationError, DownloadError, StorageError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
QUICK = Fetching(tries=3, timeout=2, wait=0)


class Server(ThreadingHTTPServer):
    """Serves `files`; `mood` says how. `asked` are the Range headers of the requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.mood, self.asked, self.tag = {"/file.tgz": CONTENT}, "plain", [], '"1"'

    def url(self, name: str = "file.tgz") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server: Server = self.server
        data, mood = server.files.get(self.path), server.mood
        server.asked.append(self.headers.get("Range"))
        if data is None or mood == "gone":
            return self._send(404, b"not here")
        if mood == "busy":
            return self._send(503, b"")
        if mood == "login":
            return self._send(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        start, status, headers = 0, 200, {"ETag": server.tag}
        if (asked := self.headers.get("Range")) and mood != "deaf" and self.headers.get("If-Range") == server.tag:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(data):
                return self._send(416, b"")
            headers["Content-Range"] = (
                f"bytes {start + (7 if mood == 'off by seven' else 0)}-{len(data) - 1}/{len(data)}"
            )
        rest = data[start:]
        if mood in ("cuts", "deaf", "off by seven") and len(rest) > 100_000:
            return self._send(status, rest[:100_000], headers, length=len(rest))
        if mood == "cuts at once" and len(server.asked) < 3:
            return self._send(status, b"", headers, length=len(rest))
        if mood == "says too much":
            return self._send(status, rest, headers, length=len(rest) + 5000)
        if mood == "says too little":
            return self._send(status, rest, headers, length=len(rest) - 5000)
        return self._send(status, rest, headers)

    def _send(self, status, body, headers=None, length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self.close_connection = True


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def get(server, folder, **options) -> str:
    return fetch(server.url(), folder / "file.tgz", how=QUICK, progress=False, **options)


def test_a_file_arrives_whole_and_its_hash_is_recorded(server, tmp_path):
    assert get(server, tmp_path) == SHA
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert json.loads((tmp_path / CHECKSUMS).read_text()) == {"file.tgz": SHA}
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKSUMS, "file.tgz"]
    asked = len(server.asked)
    assert get(server, tmp_path) == SHA and len(server.asked) == asked  # what is there is not fetched again


def test_a_cut_connection_is_gone_on_with_where_it_broke(server, tmp_path):
    server.mood = "cuts"
    assert get(server, tmp_path) == SHA
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_server_that_cuts_at_once_is_asked_again(server, tmp_path):
    server.mood = "cuts at once"
    assert get(server, tmp_path) == SHA and len(server.asked) == 3


@pytest.mark.parametrize("mood", ["deaf", "off by seven"])
def test_what_a_server_does_not_go_on_with_rightly_is_never_stitched_together(mood, server, tmp_path):
    server.mood = mood
    with pytest.raises(
        DownloadError,
        match=r"3 times with nothing new\. 100,000 bytes are kept in .*file\.tgz\.part; run again to go on",
    ):
        get(server, tmp_path)
    assert not (tmp_path / "file.tgz").exists()
    server.mood = "cuts"
    assert get(server, tmp_path) == SHA


def test_a_file_that_changed_meanwhile_is_begun_anew(server, tmp_path):
    server.mood = "deaf"
    with pytest.raises(DownloadError):
        get(server, tmp_path)
    changed = CONTENT[::-1]
    server.files["/file.tgz"], server.tag, server.mood = changed, '"2"', "plain"
    assert get(server, tmp_path) == hashlib.sha256(changed).hexdigest()
    assert (tmp_path / "file.tgz").read_bytes() == changed


def test_a_length_that_is_too_large_is_never_taken_for_the_file(server, tmp_path):
    server.mood = "says too much"
    with pytest.raises(DownloadError, match=r"3 times with nothing new\. Run again later"):
        get(server, tmp_path)
    assert not (tmp_path / "file.tgz").exists()


def test_a_length_that_is_too_small_is_found_by_the_hash(server, tmp_path):
    server.mood = "says too little"
    with pytest.raises(DownloadError, match=f"expected {SHA}. It was deleted"):
        get(server, tmp_path, sha256=SHA)
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_deleted_by_a_known_hash_and_by_the_first_one_recorded(server, tmp_path):
    with pytest.raises(DownloadError, match="what came has the SHA-256"):
        get(server, tmp_path, sha256="0" * 64)
    assert get(server, tmp_path) == SHA
    (tmp_path / "file.tgz").write_bytes(b"damaged on this disk")
    server.files["/file.tgz"] = b"other bytes"
    with pytest.raises(DownloadError, match=f"expected {SHA}"):
        get(server, tmp_path)
    server.files["/file.tgz"] = CONTENT
    assert get(server, tmp_path) == SHA and (tmp_path / "file.tgz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ("gone", "answered 404"),
        ("busy", "answered 503 .*3 times with nothing new"),
        ("login", "sent a web page instead of the file"),
    ],
)
def test_a_server_that_has_not_got_it_is_quoted(mood, message, server, tmp_path):
    server.mood = mood
    with pytest.raises(DownloadError, match=message):
        get(server, tmp_path)
    assert not (tmp_path / "file.tgz").exists()


def test_no_server_no_encryption_and_no_room_are_told(server, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match="3 times with nothing new"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", how=QUICK, progress=False)
    with pytest.raises(DownloadError, match="expected an address that begins with https://"):
        fetch("http://example.org/file", tmp_path / "file", how=QUICK, progress=False)
    with pytest.raises(DownloadError, match="expected an address that begins with https://"):
        fetch("file://localhost/etc/passwd", tmp_path / "file", how=QUICK, progress=False)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(StorageError, match=r"has 300,000 bytes to come and .* has 1,000 left"):
        get(server, tmp_path)


def test_without_a_network_it_is_told_at_once_and_a_download_that_has_begun_waits_for_it(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(download.urllib.request, "urlopen", no_network)
    slept = []
    with pytest.raises(
        DownloadError,
        match=r"nowhere\.invalid is not known here .*is there a network\? .* put it at .*file: it is taken from there",
    ):
        fetch("https://nowhere.invalid/file", tmp_path / "file", progress=False, sleep=slept.append)
    assert slept == []  # told at once, not after a minute of waiting
    (tmp_path / "begun.part").write_bytes(b"some of it")
    with pytest.raises(DownloadError, match=r"6 times with nothing new\. 10 bytes are kept"):
        fetch("https://nowhere.invalid/begun", tmp_path / "begun", progress=False, sleep=slept.append)
    assert slept == [1, 2, 4, 8, 16]


def test_a_file_that_the_user_put_there_is_taken_and_its_hash_recorded(tmp_path):
    (tmp_path / "file.tgz").write_bytes(CONTENT)
    assert fetch("https://nowhere.invalid/file.tgz", tmp_path / "file.tgz", how=QUICK, progress=False) == SHA
    assert json.loads((tmp_path / CHECKSUMS).read_text()) == {"file.tgz": SHA}


# ---- the collection


@pytest.fixture
def openi(server, tmp_path):
    """The two archives of Open-i with three studies, on the server; the folder of what is in them."""
    root = trees.openi(tmp_path / "source", trees.picked()[:3])
    members = [
        (f"ecgen-radiology/{path.name}", path.read_bytes()) for path in sorted((root / "ecgen-radiology").iterdir())
    ]
    server.files["/NLMCXR_reports.tgz"] = trees.tar_of(members)
    server.files["/NLMCXR_png.tgz"] = trees.tar_of(
        [(path.name, path.read_bytes()) for path in sorted((root / "NLMCXR_png").iterdir())]
    )
    return root


def test_the_collection_is_fetched_unpacked_and_read_once_the_licence_is_accepted(
    server, openi, tmp_path, monkeypatch, capsys
):
    def rrg(*arguments):
        monkeypatch.setattr(
            sys, "argv", ["rrg", "prepare", "iu_xray", "--quiet", "--data-root", str(tmp_path / "root"), *arguments]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr()

    options = ("--download", "--mirror", server.url(""), "--out", str(tmp_path / "out"), "--workers", "1")
    code, said = rrg(*options)
    assert code == 2 and "creativecommons.org/licenses/by-nc-nd/4.0" in said.out and "was not accepted" in said.err
    assert server.asked == []
    server.mood = "cuts"
    code, said = rrg(*options, "--accept-licence")
    assert code == 0 and "PreparedDataset(iu_xray: 3 train" in said.out
    names = sorted(path.name for path in (tmp_path / "root" / "NLMCXR_png").iterdir())
    assert names == sorted(path.name for path in (openi / "NLMCXR_png").iterdir())
    asked = len(server.asked)
    assert rrg(*options)[0] == 0 and len(server.asked) == asked  # accepted and fetched: not asked again


def test_an_archive_of_wrong_bytes_leaves_no_folder(server, openi, tmp_path):
    server.files["/NLMCXR_png.tgz"] = server.files["/NLMCXR_png.tgz"][:-200]
    with pytest.raises(DownloadError, match=r"NLMCXR_png\.tgz: is cut short, damaged, or no archive"):
        download_openi(tmp_path / "root", lambda _: True, address=server.url(""), how=QUICK, progress=False)
    assert not (tmp_path / "root" / "NLMCXR_png").exists() and (tmp_path / "root" / "NLMCXR_reports").is_dir()


def test_only_the_collection_can_be_fetched(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rrg", "prepare", "mimic_cxr", "--download"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "fetches iu_xray alone" in capsys.readouterr().err


def test_a_licence_that_is_declined_fetches_nothing(tmp_path):
    with pytest.raises(ConfigurationError, match="was not accepted, so nothing was fetched"):
        download_openi(tmp_path / "root", lambda _: False)
    assert not (tmp_path / "root").exists()
