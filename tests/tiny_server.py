"""A server on loopback whose faults are told beforehand, one answer after the other."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """Files by path, and for each what goes wrong in its next answers.

    A fault is a dictionary: `cut` (bytes after which the connection breaks), `status`, `no_range` (the whole file is
    sent), `no_length`, `data` (other bytes), `shift` (a range begins elsewhere), `redirect`, `kind` (content type).
    """

    def __init__(self):
        self.files, self.faults, self.asked, self.tagged = {}, {}, [], True

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"


def handler(site):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            data = site.files[self.path[1:]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()

        def do_GET(self):
            path, wanted = self.path[1:], self.headers.get("Range")
            site.asked.append(wanted)
            faults = site.faults.get(path) or [{}]
            fault = faults.pop(0) if faults else {}
            if "redirect" in fault:
                self.send_response(302)
                self.send_header("Location", site.url(fault["redirect"]))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = fault.get("data", site.files.get(path))
            status = fault.get("status", 200 if data is not None else 404)
            if status != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            start, fresh = 0, self.headers.get("If-Range") not in (None, tag)
            if wanted and not fault.get("no_range") and not fresh:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start += fault.get("shift", 0)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if site.tagged:
                self.send_header("ETag", tag)
            self.send_header("Content-Type", fault.get("kind", "application/octet-stream"))
            if fault.get("no_length"):
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start : start + fault.get("cut", len(data))])
            if "cut" in fault:
                self.wfile.flush()
                self.close_connection = True

    return Handler


@contextmanager
def serving():
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(site))
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
