"""usage: ws_client.py URL NAME    Talks to ws_app.py through whatever is between them; exit 0 when all is well."""
import os
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

URL, NAME = sys.argv[1:]
failures = []


def talk(number):
    try:
        with connect(URL, max_size=None) as socket:
            assert socket.recv(10) == NAME
            for message in ("hello", "\u00e4" * 100, b"", os.urandom(70_000), os.urandom(1 << 20), "GET / HTTP/1.1\r\n\r\n"):
                socket.send(message)
                assert socket.recv(10) == message, f"{len(message)} bytes came back changed"
            assert socket.ping().wait(10), "no pong"
            socket.close(4000, "enough")
            try:
                socket.recv(5)
            except ConnectionClosed as closed:
                assert closed.rcvd.code == 4000, closed
    except Exception as error:
        failures.append(f"client {number}: {error!r}")


threads = [threading.Thread(target=talk, args=(i,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("\n".join(failures))
sys.exit(1 if failures else 0)
