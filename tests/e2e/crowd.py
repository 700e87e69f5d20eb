# SPDX-License-Identifier: Apache-2.0
"""Many callers at once: kept connections, which the kernel spreads over weir's workers."""

import selectors
import socket
import time

from harness import PATIENCE, Peer

WORKERS_MAX = 256                        # a connection's number in the log: its worker is the remainder


class Crowd:
    def __init__(self, port, n, source="127.0.0.1"):
        self.peers = [Peer(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0)))
                      for _ in range(n)]

    def close(self):
        for p in self.peers:
            p.close()

    def send(self, requests):
        """Spreads them over the connections, one behind the other where there are more requests than connections."""
        self.shares = [requests[i::len(self.peers)] for i in range(len(self.peers))]
        for peer, share in zip(self.peers, self.shares):
            if share:
                peer.send(b"".join(share))

    def read(self, n):
        """The answers of send(), in the order of its requests."""
        answers = [None] * n
        for i, (peer, share) in enumerate(zip(self.peers, self.shares)):
            for j in range(len(share)):
                answers[i + j * len(self.peers)] = peer.read_response()
        return answers

    def read_as_they_come(self):
        """(when it was there, answer) of one request sent on each connection."""
        with selectors.DefaultSelector() as selector:
            for peer in self.peers:
                selector.register(peer.sock, selectors.EVENT_READ, peer)
            for _ in self.peers:
                ready = selector.select(PATIENCE)
                if not ready:
                    raise AssertionError("no further answer came")
                peer = ready[0][0].data
                answer = peer.read_response()
                selector.unregister(peer.sock)
                yield time.monotonic(), answer

    def ask(self, requests):
        self.send(requests)
        return self.read(len(requests))


def workers_of(weir):
    """Which workers had connections, by the log."""
    return {line["conn"] % WORKERS_MAX for line in weir.log()}
