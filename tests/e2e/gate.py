# SPDX-License-Identifier: Apache-2.0
"""An upstream that answers when the test says so, and knows exactly how many requests it has at a time.

One thread takes requests (without bodies); answers are written by whoever calls release(). A request counts from its last
byte's arrival until its answer is about to be written or its connection is closed, whichever comes first; connections are
looked at again whenever a request comes, so that one that was closed before is not counted with it.
"""

import select
import selectors
import socket
import threading
import time

from harness import PATIENCE, Peer, answer_bytes


class Visit:
    def __init__(self, peer, request):
        self.peer, self.request = peer, request
        self.started = False             # the head of its answer was written

    @property
    def key(self):
        return self.request.get("x-api-key")

    def gone(self):
        """Has the other side closed the connection?"""
        poll = select.poll()
        poll.register(self.peer.sock, select.POLLRDHUP)
        return bool(poll.poll(0))


class Gate:
    def __init__(self, port=0):
        self.changed = threading.Condition()
        self.visits = []                 # under way, the oldest first
        self.seen = []                   # all that ever came, in their order
        self.most = 0
        self.is_open = False
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(1024)
        self.port = self.listener.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.error = None
        self.peers = set()
        self.selector = selectors.DefaultSelector()
        self.bell, self.bell_end = socket.socketpair()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.selector.register(self.bell_end, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    # --- the gate's thread

    def run(self):
        try:
            while True:
                for key, _ in self.selector.select():
                    if key.fileobj is self.bell_end:
                        return
                    with self.changed:
                        if key.fileobj is self.listener:
                            self.welcome()
                        else:
                            self.read(key.data)
                        self.changed.notify_all()
        except Exception as e:           # shown by stop(), which is on the test's thread
            self.error = e

    def welcome(self):
        sock, _ = self.listener.accept()
        peer = Peer(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peers.add(peer)
        self.selector.register(sock, selectors.EVENT_READ, peer)

    def read(self, peer):
        try:
            got = peer.sock.recv(65536)
        except ConnectionResetError:
            got = b""
        if not got:
            self.selector.unregister(peer.sock)
            self.peers.discard(peer)
            self.visits = [v for v in self.visits if v.peer is not peer]
            peer.close()
            return
        peer.buf += got
        while b"\r\n\r\n" in peer.buf:
            self.begin(Visit(peer, peer.read_request()))

    def begin(self, visit):
        self.visits = [v for v in self.visits if not v.gone()]
        self.visits.append(visit)
        self.seen.append(visit)
        self.most = max(self.most, len(self.visits))
        if self.is_open:
            self.answer(visit)

    # --- any thread, under the lock

    def answer(self, visit, body=b"x"):
        self.visits = [v for v in self.visits if v is not visit]
        try:
            visit.peer.sock.sendall(body if visit.started else answer_bytes(body=body))
        except OSError:
            pass                         # it is gone, and will be read so

    # --- the test's thread

    def wait(self, n):
        """Until exactly n requests are here."""
        until = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                self.visits = [v for v in self.visits if not v.gone()]
                if len(self.visits) == n:
                    return list(self.visits)
                if time.monotonic() > until:
                    raise AssertionError("%d requests at the upstream, not %d" % (len(self.visits), n))
                self.changed.wait(0.01)

    def wait_seen(self, n):
        """Until n requests have come since the start."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.seen) >= n, PATIENCE):
                raise AssertionError("%d requests came, not %d" % (len(self.seen), n))

    def start(self, visit, n):
        """Writes the head and the first byte of an answer of n bytes; release() writes what is left."""
        with self.changed:
            visit.started = True
            visit.peer.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nx" % n)

    def release(self, n=1, body=b"x"):
        """Answers the n oldest."""
        with self.changed:
            for visit in self.visits[:n]:
                self.answer(visit, body)

    def open(self):
        """Answers all, and from now on at once."""
        with self.changed:
            self.is_open = True
            for visit in list(self.visits):
                self.answer(visit)

    def shut(self):
        with self.changed:
            self.is_open = False

    def stop(self):
        self.bell.send(b".")
        self.thread.join(PATIENCE)
        for s in [self.listener, self.bell, self.bell_end] + [p.sock for p in self.peers]:
            s.close()
        self.selector.close()
        if self.error:
            raise AssertionError("the upstream saw: %r" % self.error)
