"""The shop's service: products and orders as JSON."""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cache import Cache
from postgres import Connection, DatabaseError

PORT = 8000


def connect():
    with open(os.environ["DATABASE_PASSWORD_FILE"]) as file:
        password = file.read().strip()
    return Connection(
        os.environ["DATABASE_HOST"], os.environ["DATABASE_USER"], password, os.environ["DATABASE_NAME"]
    )


def products():
    """All products, and whether they came from the cache."""
    cache = Cache(os.environ["CACHE_HOST"])
    cached = cache.call("GET", "products")
    if cached is not None:
        return json.loads(cached), "hit"
    with connect() as database:
        rows = database.query("SELECT id, name, price_cents FROM products ORDER BY id")
    found = [{"id": int(id), "name": name, "price_cents": int(price)} for id, name, price in rows]
    cache.call("SET", "products", json.dumps(found), "EX", "60")
    return found, "miss"


def orders():
    with connect() as database:
        rows = database.query(
            "SELECT name, sum(count) FROM orders JOIN products ON products.id = product GROUP BY name ORDER BY name"
        )
    return {name: int(count) for name, count in rows}


def order(wanted):
    with connect() as database:
        values = int(wanted["product"]), int(wanted["count"])
        rows = database.query("INSERT INTO orders (product, count) VALUES (%d, %d) RETURNING id" % values)
    return {"order": int(rows[0][0])}


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value, **headers):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        try:
            if self.path == "/health":
                self.answer(200, {"orders": len(orders())})
            elif self.path == "/products":
                found, cache = products()
                self.answer(200, found, X_Cache=cache)
            elif self.path == "/orders":
                self.answer(200, orders())
            else:
                self.answer(404, {"error": "there is no such thing"})
        except (OSError, DatabaseError) as error:
            self.answer(503, {"error": str(error)})

    def do_POST(self):
        try:
            wanted = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.answer(201, order(wanted))
        except (ValueError, KeyError, TypeError, DatabaseError) as error:
            self.answer(400, {"error": str(error)})
        except OSError as error:
            self.answer(503, {"error": str(error)})


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
    else:
        print(f"serving on port {PORT}")
        ThreadingHTTPServer(("", PORT), Handler).serve_forever()
