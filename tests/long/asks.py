# SPDX-License-Identifier: Apache-2.0
"""What clients ask under chaos, and which answers are right: a strict table for what nothing may disturb, and for the rest
whatever the trouble of the moment allows, but never wrong bytes and never an end that looks whole and is not."""

import json

from wire import BadMessage

# What weir may say of its own where endpoints misbehave and limits are tight.
TROUBLE = {"breaker_open", "no_endpoint", "connect_failed", "connect_timeout", "tls_failed", "upstream_reset", "upstream_bad",
           "upstream_cut", "first_byte_timeout", "idle_timeout", "total_timeout", "queue_full", "queue_hopeless", "queue_timeout",
           "concurrency_limited", "unresolved", "retry_budget", "replay_full"}
# What the caller's own cut may make of a request.
OWN_FAULT = {"bad_request", "client_timeout", "client_gone", "client_slow", "tls_expected"}
CALM = {"calm", "renamed"}


class Ask:
    """One request, and what may come of it."""

    def __init__(self, ledger, rng, route):
        self.ledger, self.rng, self.route = ledger, rng, route
        self.number = ledger.number()
        self.query = {"i": self.number}
        self.method, self.headers, self.up, self.chunked, self.version = "GET", [], 0, False, "1.1"
        self.unix = False                   # asked on a unix socket
        self.may_cut = False                # the answer may end before it is whole, or not come
        self.reasons = set()
        self.pick()

    # --- making one

    def pick(self):
        rng, route = self.rng, self.route
        if route == "said":
            return
        self.query["n"] = rng.choice([0, 1, 2, 100, 1000, 4000, rng.randrange(70000), rng.randrange(300000)])
        self.query["f"] = rng.choice(["length", "length", "chunked"])
        if rng.random() < 0.3:
            self.method = rng.choice(["POST", "POST", "PUT"])
            self.up = rng.choice([0, 1, 10, 3000, rng.randrange(40000), rng.randrange(200000)])
            self.query["u"] = self.up
            self.chunked = rng.random() < 0.3
            if rng.random() < 0.2:
                self.headers.append(("Idempotency-Key", "k%d" % self.number))
            if self.up and rng.random() < 0.2:
                self.headers.append(("Expect", "100-continue"))
        elif rng.random() < 0.1:
            self.method = "HEAD"
        for share, key, value in ((0.15, "d", rng.randrange(1, 300)), (0.1, "j", rng.randrange(1, 4)), (0.1, "t", 1),
                                  (0.1, "b", 1)):
            if rng.random() < share:
                self.query[key] = value
        if rng.random() < 0.1:
            self.query.update(p=rng.randrange(2, 20), g=rng.randrange(1, 20), f="chunked")
        if rng.random() < 0.05:
            self.query["s"] = rng.choice([204, 304, 404, 201])
        if rng.random() < 0.05:
            self.query["f"] = "close"
        if rng.random() < 0.2:
            self.headers.append(("X-Caller", "c%d" % rng.randrange(5)))
        if rng.random() < 0.03 and not self.chunked and not self.waits:
            self.version = "1.0"
        if route == "small" and self.up > 1000:
            self.reasons, self.may_cut = {"body_too_large"}, True
        elif route == "limited":
            self.reasons, self.may_cut = {"rate_limited"}, self.up > 0
        elif route not in CALM and route != "small":
            self.reasons = TROUBLE
            self.trouble()

    def trouble(self):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.15:
            self.query.update(x=rng.choice([0, rng.randrange(1, 300), rng.randrange(1, 70000)]), h=rng.choice(["rst", "fin"]))
        elif kind < 0.2 and self.up:
            self.query["r"] = rng.randrange(self.up)
        elif kind < 0.23 and self.up:
            self.query["e"] = 1
        elif kind < 0.26:
            self.query.update(s=rng.choice([500, 502, 503, 504, 429, 529]))
            if rng.random() < 0.5:
                self.query["a"] = rng.choice([0, 0, 1])
        elif kind < 0.28:
            self.query["o"] = rng.randrange(1, 3000)
        elif kind < 0.30:
            self.query["d"] = rng.randrange(900, 2500)
        self.may_cut = True
        if rng.random() < 0.1:
            self.headers.append(("X-Request-Timeout", "%dms" % rng.randrange(1, 400)))

    @property
    def target(self):
        if self.route == "said":
            return "/said"
        return "/%s/x?%s" % (self.route, "&".join("%s=%s" % kv for kv in self.query.items()))

    def head(self):
        lines = ["%s %s HTTP/%s" % (self.method, self.target, self.version), "Host: site.example"]
        lines += ["%s: %s" % h for h in self.headers]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.up or self.method in ("POST", "PUT"):
            lines.append("Content-Length: %d" % self.up)
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def body(self):
        """In the pieces that it is sent in."""
        data = self.ledger.bytes.up(self.number, self.up)
        each = self.rng.choice([1000, 16384, 100000]) if self.up else 1
        for at in range(0, len(data), each):
            part = data[at:at + each]
            yield b"%x\r\n%s\r\n" % (len(part), part) if self.chunked else part
        if self.chunked:
            yield b"0\r\n\r\n"

    @property
    def waits(self):
        return any(h[0] == "Expect" for h in self.headers)

    # --- judging its answer

    async def receive(self, reader, lenient=False, on_interim=None):
        """Reads and judges the answer. True when the connection goes on. Closed: it ended too early."""
        count = self.ledger.counts
        m = await reader.response(on_interim)
        count["answers %d" % m.status] += 1
        framing = reader.has_body(m, self.method == "HEAD" or m.status in (204, 304))
        closes = (m.get("connection") or "").lower() == "close" or m.version == "1.0"
        if framing is None and not (self.method == "HEAD" or m.status in (204, 304)):
            framing = "close"
            if not closes:
                raise BadMessage("an answer without a length on a connection that is kept: %r" % m.raw[:300])
        if m.get("x-number"):
            await self.from_endpoint(reader, m, framing)
        else:
            await self.from_weir(reader, m, framing, lenient)
        return not closes

    def complain(self, m, what):
        raise BadMessage("%s\nasked: %s %s %r\nanswer: %r" % (what, self.method, self.target, self.headers, m.raw[:600]))

    async def from_endpoint(self, reader, m, framing):
        if int(m.get("x-number")) != self.number or self.route == "said":
            self.complain(m, "somebody else's answer")
        wanted = int(self.query.get("s", 200))
        if m.status != wanted and not (self.reasons is TROUBLE and m.status in (500, 502, 503)):
            self.complain(m, "status %d instead of %d" % (m.status, wanted))
        want, got = self.ledger.bytes.of(self.number, int(self.query["n"]) if "n" in self.query else 2), 0
        async for part in reader.pieces(m, framing):
            if part != want[got:got + len(part)]:
                self.complain(m, "wrong bytes at %d: %r" % (got, part[:80]))
            got += len(part)
        # Where the end of the connection is the end of the answer, a FIN too early cannot be told from it; and on a unix
        # socket there is nothing but a FIN.
        unsure = self.reasons is TROUBLE and (self.query["f"] == "close" or (self.unix and framing == "close"))
        if framing is not None and got != len(want) and not unsure:
            self.complain(m, "%d bytes of %d that look whole" % (got, len(want)))
        self.ledger.counts["bytes checked"] += got

    async def from_weir(self, reader, m, framing, lenient):
        body = b"".join([part async for part in reader.pieces(m, framing)])
        if self.route == "said":
            if lenient and m.status in (400, 408):
                return
            if m.status != 200 or (body != b"always the same" and self.method != "HEAD"):
                self.complain(m, "not what was to be said: %r" % body[:200])
            return
        if m.get("x-from") == "weir" and self.route == "once":
            self.ledger.counts["fallbacks answered"] += 1
            return
        if self.method == "HEAD" and m.status >= 400:
            if not self.reasons and not lenient:
                self.complain(m, "a refusal")
            return
        try:
            reason = json.loads(body)["reason"]
        except (ValueError, KeyError) as e:
            self.complain(m, "neither an endpoint's nor weir's own: %r (%s)" % (body[:200], e))
        self.ledger.counts["reason " + reason] += 1
        if reason not in self.reasons and not (lenient and reason in OWN_FAULT):
            self.complain(m, "the reason is %s" % reason)

    def early(self, error):
        """The connection ended without a whole answer: may it?"""
        if not self.may_cut:
            raise AssertionError("%s: cut off (%s)\n%s %r" % (self.route, error, self.target, self.headers)) from error
        self.ledger.counts["answers cut off"] += 1


