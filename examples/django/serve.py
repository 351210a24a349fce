#!/usr/bin/env python3
"""The app server: the standard library's WSGI server, threaded, so that the example needs nothing but Django.

A real deployment runs gunicorn here; it is the last line of `exec` either way."""
import os
import signal
import socketserver
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.db import connection

from wsgi import application


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def main():
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")
    server = Server(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Handler)
    server.set_app(application)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print("serving", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
