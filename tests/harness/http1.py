"""HTTP/1.1 on sockets, for the proxies of the tests: heads, and bodies in the framing they came in."""


class Malformed(Exception):
    """Not HTTP/1.1, or cut in the middle."""


class Head:
    """A start line and its headers; names are compared without case, order and spelling are kept."""

    def __init__(self, start, headers):
        self.start, self.headers = start, list(headers)

    @property
    def method(self):
        return self.start.split(" ", 1)[0]

    @property
    def target(self):
        return self.start.split(" ")[1]

    @property
    def path(self):
        return self.target.split("?", 1)[0]

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    def get(self, name, default=None):
        return next((v for n, v in self.headers if n.lower() == name.lower()), default)

    def remove(self, *names):
        gone = {n.lower() for n in names}
        self.headers = [(n, v) for n, v in self.headers if n.lower() not in gone]

    def set(self, name, value):
        self.remove(name)
        self.headers.append((name, value))

    def tokens(self, name):
        return [t.strip().lower() for n, v in self.headers if n.lower() == name.lower() for t in v.split(",")]

    def copy(self):
        return Head(self.start, self.headers)

    def encode(self):
        lines = [self.start, *(f"{n}: {v}" for n, v in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Reader:
    """Reads heads and bodies off one socket."""

    def __init__(self, sock):
        self.socket, self._buffer = sock, b""

    def head(self, limit=65536):
        """The next head; None when the peer closed between messages."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > limit:
                raise Malformed("the head is too long")
            data = self.socket.recv(65536)
            if not data:
                if self._buffer:
                    raise Malformed("cut in the head")
                return None
            self._buffer += data
        raw, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        start, *lines = raw.decode("latin-1").split("\r\n")
        if start.count(" ") < 1:
            raise Malformed(f"not a start line: {start!r}")
        return Head(start, [(line.split(":", 1)[0], line.split(":", 1)[1].strip()) for line in lines if ":" in line])

    def body(self, head, answer_to=None):
        """The body's bytes, chunk framing included. answer_to: for a response, the method it answers."""
        if answer_to is not None and (answer_to == "HEAD" or head.status in (204, 304) or head.status < 200):
            return
        if "chunked" in head.tokens("transfer-encoding"):
            yield from self._chunks()
        elif head.get("content-length") is not None:
            left = int(head.get("content-length"))
            while left:
                data = self._some(left)
                left -= len(data)
                yield data
        elif answer_to is not None:
            while True:
                data = self._some(1 << 20, at_end=b"")
                if not data:
                    return
                yield data

    def rest(self):
        """What was read beyond the last message (an upgraded connection)."""
        data, self._buffer = self._buffer, b""
        return data

    def _some(self, at_most, at_end=None):
        if not self._buffer:
            self._buffer = self.socket.recv(65536)
            if not self._buffer:
                if at_end is not None:
                    return at_end
                raise Malformed("cut in the body")
        data, self._buffer = self._buffer[:at_most], self._buffer[at_most:]
        return data

    def _line(self):
        while b"\r\n" not in self._buffer:
            data = self.socket.recv(65536)
            if not data:
                raise Malformed("cut in a chunked body")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _chunks(self):
        while True:
            line = self._line()
            yield line + b"\r\n"
            left = int(line.split(b";")[0], 16)
            if left == 0:
                while True:  # trailers up to the empty line
                    line = self._line()
                    yield line + b"\r\n"
                    if not line:
                        return
            left += 2
            while left:
                data = self._some(left)
                left -= len(data)
                yield data


def answer(status, text="", headers=(), content_type="text/plain"):
    """A whole response as bytes."""
    body = text.encode() if isinstance(text, str) else text
    head = Head(f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}",
                [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers])
    return head.encode() + body


REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 408: "Request Timeout", 409: "Conflict",
           412: "Precondition Failed", 413: "Content Too Large", 429: "Too Many Requests", 500: "Internal Server Error",
           502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 508: "Loop Detected"}
