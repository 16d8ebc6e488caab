"""Numbers through a queue: `fill` puts them in, `work` factors them, `show` serves what was found."""

import json
import socket
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8000

with open("/etc/jobs.json") as file:
    SETTINGS = json.load(file)


class Queue:
    """As much of Redis' protocol as is needed here."""

    def __init__(self):
        self.socket = socket.create_connection((SETTINGS["queue"], 6379))
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        encoded = [str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self.socket.sendall(b"".join(parts))
        return self.value()

    def value(self):
        line = self.file.readline()
        if not line:
            raise OSError("the queue has gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind == b"*":
            return [self.value() for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        return int(rest) if kind == b":" else rest.decode()


def fill():
    queue = Queue()
    # Once, whoever comes again.
    if queue.call("SETNX", "filled", 1):
        queue.call("RPUSH", "todo", *range(2, SETTINGS["numbers"] + 2))
    print(f"{SETTINGS['numbers']} numbers")


def factors(number):
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found + [number] * (number > 1)


def work():
    queue = Queue()
    name = socket.gethostname()
    # What another run of this worker had taken and not finished is taken up again: its list has its name.
    while True:
        number = queue.call("LINDEX", f"doing:{name}", -1) or queue.call(
            "BRPOPLPUSH", "todo", f"doing:{name}", 0
        )
        found = " ".join(map(str, factors(int(number))))
        queue.call("HSET", "done", number, found)
        queue.call("LREM", f"doing:{name}", 1, number)
        print(f"{number} = {found}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            flat = Queue().call("HGETALL", "done")
            status, value = 200, dict(zip(flat[::2], flat[1::2]))
        except OSError as error:
            status, value = 503, {"error": str(error)}
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def show():
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()


def check():
    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=2)


{"fill": fill, "work": work, "show": show, "check": check}[sys.argv[1]]()
