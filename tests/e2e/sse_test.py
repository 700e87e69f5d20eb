# SPDX-License-Identifier: Apache-2.0
"""Event streams: each event arrives when it is sent, alone, unchanged. Times are printed, order is what fails."""

import time

from harness import Case, dial, main, request_bytes


def read_events(peer, n):
    """The events and the time each arrived, less the time of the request."""
    start = time.monotonic()
    peer.send(request_bytes(path="/sse/%d/20" % n))
    r = peer.read_response(body=False)
    head = time.monotonic() - start
    events, times = [], []
    while True:
        data = peer.chunk()
        if not data:
            peer.fields()
            return r, head, events, times
        events.append(data)
        times.append(time.monotonic() - start)


class Events(Case):
    def test_they_come_one_by_one(self):
        m = self.mock()
        w = self.proxy(m)
        with dial(m.port) as p:
            _, direct_head, direct, _ = read_events(p, 20)
        with w.dial() as p:
            r, head, events, times = read_events(p, 20)
        self.assertEqual(r.get("content-type"), "text/event-stream")
        self.assertEqual(len(events), len(direct))
        for n, event in enumerate(events[:20], 1):
            self.assertTrue(event.startswith(b"id: %d\ndata:" % n) and event.endswith(b"\n\n"), event)
            self.assertEqual(event.count(b"data:"), 1)
        self.assertEqual(events[-1], direct[-1])
        gaps = [b - a for a, b in zip(times, times[1:20])]
        print("head after %.1f ms (direct %.1f ms), first event after %.1f ms, gaps %.1f to %.1f ms" %
              (head * 1e3, direct_head * 1e3, times[0] * 1e3, min(gaps) * 1e3, max(gaps) * 1e3))
        self.assertGreater(times[19] - times[0], 19 * 0.015)
        # The head does not wait for the first event.
        self.assertLess(head, times[0])

    def test_many_streams_at_once(self):
        w = self.proxy(self.mock())
        peers = [w.dial() for _ in range(100)]
        for p in peers:
            p.send(request_bytes(path="/sse/5/30"))
        for p in peers:
            self.assertEqual(p.read_response().body.count(b"\n\n"), 6)
            p.close()

    def test_a_chat_stream(self):
        w = self.proxy(self.mock("--events", "5", "--interval", "5ms"))
        r = w.ask("/v1/chat/completions", "POST", body=b'{"stream":true}', headers=[("Content-Type", "application/json")])
        self.assertEqual(r.body.count(b"data: {"), 5)
        self.assertTrue(r.body.endswith(b"data: [DONE]\n\n"))

    def test_a_stream_outlives_the_total_timeout(self):
        w = self.proxy(self.mock(), route=", timeout: 100ms")
        self.assertEqual(w.ask("/sse/10/30").body.count(b"\n\n"), 11)


if __name__ == "__main__":
    main()
