"""usage: app.py PORT NAME    A small app behind the proxy: threads, HTTP/1.1, keep-alive. Its log of what it saw goes to
stdout, a line each: what ended, and how."""
import json
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = bytes(range(256)) * 256


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        """The request's body in pieces, whatever its framing."""
        if self.headers.get("Transfer-Encoding"):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                raise ConnectionError("the body was cut off")
            left -= len(piece)
            yield piece

    def reply(self, body, status=200, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            getattr(self, "on_" + url.path.strip("/").replace("-", "_"), self.on_echo)(query)
            print("done", self.path, flush=True)
        except (ConnectionError, TimeoutError) as error:
            print("cut", self.path, type(error).__name__, flush=True)
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = handle_any

    def on_echo(self, query):
        length = sum(map(len, self.body()))
        self.reply(json.dumps({"app": sys.argv[2], "method": self.command, "path": self.path, "length": length,
                               "headers": [[k, v] for k, v in self.headers.items()]}).encode())

    def on_download(self, query):
        left = int(query["bytes"])
        self.send_response(200)
        self.send_header("Content-Length", str(left))
        self.end_headers()
        while left > 0:
            left -= self.wfile.write(PIECE[:left])

    def on_events(self, query):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(query["count"])):
            self.chunk(b"data: %d %.6f\n\n" % (number, time.time()))
            time.sleep(float(query.get("gap", 0.1)))
        self.wfile.write(b"0\r\n\r\n")

    def on_slow(self, query):
        time.sleep(float(query["seconds"]))
        self.reply(b'"slow"')

    def on_refuse(self, query):
        """An answer before the body has been read; the connection ends with it."""
        self.close_connection = True
        self.reply(b'"too large"', 413)

    def on_interim(self, query):
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        self.reply(b'"hinted"')

    def on_not_modified(self, query):
        self.send_response(304)
        self.send_header("ETag", '"x"')
        self.end_headers()

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), App)
    print("listening", flush=True)
    server.serve_forever()
