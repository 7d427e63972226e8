#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Both ends of what kubectl port-forward carries, for its tests.

usage: forwarded.py serve PORT        the pod's: listens on 127.0.0.1
       forwarded.py echo PORT COUNT   COUNT connections at once, each with
                                      bytes of its own that have to come back
       forwarded.py put PORT SIZE     SIZE bytes there; compares checksums
       forwarded.py get PORT SIZE     SIZE bytes back; compares checksums
       forwarded.py hold PORT         a connection until it is ended

The first line of a connection says what it is for; what follows ends with the
sender's half.
"""

import hashlib
import random
import socket
import socketserver
import sys
import threading


def some_bytes(seed, size):
    return random.Random(seed).randbytes(size)


class Server(socketserver.StreamRequestHandler):
    def handle(self):
        word, *rest = self.rfile.readline().decode().split()
        if word == "GET":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nhello from " +
                             socket.gethostname().encode() + b"\n")
        elif word == "put":
            digest = hashlib.sha256()
            while piece := self.rfile.read(1 << 16):
                digest.update(piece)
            self.wfile.write(digest.hexdigest().encode())
        elif word == "get":
            self.wfile.write(some_bytes(1, int(rest[0])))
        else:  # echo, hold
            while piece := self.rfile.read1(1 << 16):
                self.wfile.write(piece)


def dial(port, line):
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.sendall(line.encode() + b"\n")
    return connection


def read_all(connection):
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def echo_one(port, seed, wrong):
    sent = some_bytes(seed, 100000 + seed)
    try:
        with dial(port, "echo") as connection:
            sender = threading.Thread(target=lambda: (
                connection.sendall(sent),
                connection.shutdown(socket.SHUT_WR)))
            sender.start()
            if read_all(connection) != sent:
                wrong.append(seed)
            sender.join()
    except OSError as error:
        wrong.append(f"{seed}: {error}")


def echo(port, count):
    wrong = []
    threads = [threading.Thread(target=echo_one, args=(port, i, wrong))
               for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return f"wrong {wrong}" if wrong else f"{count} right"


def put(port, size):
    sent = some_bytes(2, size)
    with dial(port, "put") as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        there = read_all(connection).decode()
    return "same" if there == hashlib.sha256(sent).hexdigest() else "different"


def get(port, size):
    with dial(port, f"get {size}") as connection:
        received = read_all(connection)
    return "same" if received == some_bytes(1, size) else (
        f"different, {len(received)} bytes")


def hold(port):
    with dial(port, "hold") as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        print("held", flush=True)
        return f"ended {connection.recv(1)!r}"


def main():
    what, port, *rest = sys.argv[1:]
    if what == "serve":
        socketserver.ThreadingTCPServer.allow_reuse_address = True
        socketserver.ThreadingTCPServer.daemon_threads = True
        socketserver.ThreadingTCPServer.request_queue_size = 128
        socketserver.ThreadingTCPServer(("127.0.0.1", int(port)),
                                        Server).serve_forever()
    print({"echo": echo, "put": put, "get": get,
           "hold": hold}[what](int(port), *map(int, rest)))


if __name__ == "__main__":
    main()
