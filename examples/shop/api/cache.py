"""As much of Redis' protocol as the shop needs."""

import socket


class Cache:
    def __init__(self, host, port=6379):
        self.socket = socket.create_connection((host, port), timeout=2)
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        """Sends a command and returns the answer."""
        encoded = [word.encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self.socket.sendall(b"".join(parts))
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind != b"$":
            return rest
        if rest == b"-1":
            return None
        return self.file.read(int(rest) + 2)[:-2]
