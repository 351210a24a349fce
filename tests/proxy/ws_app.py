"""usage: ws_app.py PORT NAME    A WebSocket server: says its name, then echoes every message."""
import sys

from websockets.sync.server import serve


def echo(socket):
    socket.send(sys.argv[2])
    for message in socket:
        socket.send(message)


if __name__ == "__main__":
    with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None) as server:
        print("listening", flush=True)
        server.serve_forever()
