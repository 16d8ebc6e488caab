"""The service: GET / lists, GET /NAME reads, PUT /NAME writes."""

import argparse
import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import Notes


def config():
    with open(os.environ.get("NOTES_CONFIG", "notes.conf")) as lines:
        return dict(map(str.strip, line.split("=", 1)) for line in lines if "=" in line)


class Handler(BaseHTTPRequestHandler):
    notes = None

    def do_GET(self):
        name = self.path.lstrip("/")
        try:
            self.answer(200, self.notes.read(name) if name else json.dumps(self.notes.names()))
        except (OSError, ValueError) as error:
            self.answer(404, str(error))

    def do_PUT(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        try:
            self.notes.write(self.path.lstrip("/"), text)
            self.answer(201, "")
        except (OSError, ValueError) as error:
            self.answer(400, str(error))

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


def main():
    parser = argparse.ArgumentParser("notes")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--check", action="store_true", help="ask a running service whether it answers")
    options = parser.parse_args()
    if options.check:
        urllib.request.urlopen(f"http://127.0.0.1:{options.port}/", timeout=1)
        return
    Handler.notes = Notes(config()["folder"])
    print(f"serving on port {options.port}")
    ThreadingHTTPServer(("", options.port), Handler).serve_forever()


main()
