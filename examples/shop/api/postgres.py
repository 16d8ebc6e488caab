"""As much of PostgreSQL's protocol as the shop needs: a password by SCRAM-SHA-256 or MD5, and simple queries."""

import base64
import hashlib
import hmac
import os
import socket
import struct


class DatabaseError(Exception):
    pass


class Connection:
    def __init__(self, host, user, password, database, port=5432):
        self.socket = socket.create_connection((host, port), timeout=5)
        self.file = self.socket.makefile("rb")
        options = f"user\0{user}\0database\0{database}\0\0".encode()
        self.socket.sendall(struct.pack("!II", len(options) + 8, 3 << 16) + options)
        self.log_in(user, password)
        self.rows()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def query(self, text):
        """Runs a query; returns the rows of its answer."""
        self.send(b"Q", text.encode() + b"\0")
        return self.rows()

    def send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def receive(self):
        head = self.file.read(5)
        if len(head) < 5:
            raise OSError("the database has gone")
        kind, length = struct.unpack("!cI", head)
        body = self.file.read(length - 4)
        if kind == b"E":
            fields = dict((part[:1], part[1:].decode()) for part in body.split(b"\0") if part)
            raise DatabaseError(fields[b"M"])
        return kind, body

    def rows(self):
        """Reads up to the end of an answer."""
        found = []
        while True:
            kind, body = self.receive()
            if kind == b"Z":
                return found
            if kind == b"D":
                found.append(self.fields(body))

    @staticmethod
    def fields(body):
        values, at = [], 2
        for _ in range(struct.unpack_from("!H", body)[0]):
            (length,) = struct.unpack_from("!i", body, at)
            at += 4
            values.append(None if length < 0 else body[at : at + length].decode())
            at += max(length, 0)
        return values

    def asked(self):
        """What the server wants to know of whoever connects."""
        kind, body = self.receive()
        if kind != b"R":
            raise DatabaseError("the server does not ask who it is")
        return struct.unpack_from("!I", body)[0], body[4:]

    def log_in(self, user, password):
        method, offered = self.asked()
        if method == 0:
            return
        if method == 5:
            digest = lambda *parts: hashlib.md5(b"".join(parts)).hexdigest().encode()
            hashed = digest(digest(password.encode(), user.encode()), offered)
            self.send(b"p", b"md5" + hashed + b"\0")
            self.asked()
            return
        if method != 10 or b"SCRAM-SHA-256" not in offered.split(b"\0"):
            raise DatabaseError("the server wants a password by other means")
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n=,r={nonce}"
        message = f"n,,{first}".encode()
        self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(message)) + message)
        _, challenge = self.asked()
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        if not fields["r"].startswith(nonce):
            raise DatabaseError("the server answers somebody else")
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        mac = lambda key, text: hmac.digest(key, text, "sha256")
        key = mac(salted, b"Client Key")
        last = f"c=biws,r={fields['r']}"
        signed = ",".join([first, challenge.decode(), last]).encode()
        proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.sha256(key).digest(), signed)))
        self.send(b"p", f"{last},p={base64.b64encode(proof).decode()}".encode())
        _, verdict = self.asked()
        expected = base64.b64encode(mac(mac(salted, b"Server Key"), signed)).decode()
        if verdict.decode() != f"v={expected}":
            raise DatabaseError("the server does not know the password")
        self.asked()
