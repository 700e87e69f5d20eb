# SPDX-License-Identifier: Apache-2.0
"""Those who make trouble around a gateway without being its clients: they reload it, swap its certificates, kill its endpoints
and take its log away."""

import asyncio
import json
import os
import random
import re
import signal

import variants
from endpoints import Endpoint
from wire import Closed


class Maker:
    pause = 1.0

    def __init__(self, world, number=0):
        self.world, self.ledger, self.places = world, world.ledger, world.places
        self.rng = random.Random("%d %s %d" % (world.seed, type(self).__name__, number))
        self.doing = "nothing"
        self.name = "%s %d" % (type(self).__name__, number)

    async def run(self):
        while not self.world.over:
            await self.world.rest()
            try:
                await self.act()
            except (Closed, OSError, AssertionError, asyncio.TimeoutError, TimeoutError) as e:
                self.ledger.problem("%s: %r while %s" % (self.name, e, self.doing))
            except Exception as e:
                self.ledger.problem("%s: %r" % (self.name, e))
            await self.world.sleep(self.rng.expovariate(1 / self.pause))


class Reloader(Maker):
    """One thing at a time, so that each order's result is known beforehand."""
    pause = 0.6

    async def order(self, good, what):
        self.doing = what
        status, body = await self.world.admin("POST", "/reload")
        said = json.loads(body)
        self.ledger.counts["reloads taken" if status == 200 else "reloads refused"] += 1
        if (status == 200) != good or status not in (200, 422):
            self.ledger.problem("%s: the answer is %d %r" % (what, status, body[:1500]))
        return said

    def put(self, text):
        variants.write(self.places.conf, text)

    async def act(self):
        kind = self.rng.random()
        if kind < 0.45:
            await self.good()
        elif kind < 0.65:
            await self.bad()
        elif kind < 0.75:
            await self.half()
        else:
            await self.renew()

    async def good(self):
        self.put(self.world.configuration(self.rng))
        how = self.rng.random()
        if how < 0.2:
            self.world.weir.send_signal(signal.SIGHUP)
            self.ledger.counts["reloads by signal"] += 1
        elif how < 0.8:
            await self.order(True, "a good configuration")
        else:
            self.ledger.counts["reloads left to the watch"] += 1
            await self.world.sleep(0.3)

    async def bad(self):
        good = self.world.configuration(self.rng)
        self.put(variants.broken(good, self.rng))
        if self.rng.random() < 0.7:
            await self.order(False, "a broken configuration")
        else:
            await self.world.sleep(0.3)
        if self.rng.random() < 0.5:
            self.put(good)

    async def half(self):
        """Written in place, in two parts, with a pause between them."""
        text = self.world.configuration(self.rng)
        at = self.rng.randrange(len(text) - 3)
        with open(self.places.conf, "w") as f:
            f.write(text[:at])
            f.flush()
            if self.rng.random() < 0.5:
                await self.order(False, "a half-written configuration")
            await asyncio.sleep(self.rng.choice([0, 0.02, 0.3]))
            f.write(text[at:])
        self.ledger.counts["half-written files"] += 1
        await self.order(True, "a configuration that was half-written before")

    async def renew(self):
        """A certificate and its key, one after the other: between the two they are no pair."""
        self.put(self.world.configuration(self.rng))
        (pem, key), (new_pem, new_key) = self.world.certificates.pick(self.rng)
        changes = open(pem, "rb").read() != new_pem
        self.ledger.counts["certificates swapped"] += changes
        if self.rng.random() < 0.3:
            with open(pem, "wb") as f:
                f.write(new_pem[:self.rng.randrange(20, 200)])
                f.flush()
                if self.rng.random() < 0.5:
                    await self.order(False, "a half-written certificate")
                f.seek(0)
                f.write(new_pem)
                f.truncate()
        else:
            variants.write(pem, new_pem)
        if self.rng.random() < 0.3:
            await self.order(not changes, "a certificate without its key" if changes else "the same certificate")
        if self.rng.random() < 0.3:
            await asyncio.sleep(self.rng.choice([0.01, 0.2]))
        variants.write(key, new_key)
        if self.rng.random() < 0.5:
            await self.order(True, "a renewed certificate")


class Killer(Maker):
    """An endpoint's moods, its deaths and its returns."""

    def __init__(self, world, endpoint, number):
        super().__init__(world, number)
        self.endpoint = endpoint

    async def act(self):
        e = self.endpoint
        if self.rng.random() < 0.5:
            self.doing = "killing %s" % e.name
            self.ledger.counts["endpoints killed"] += 1
            await e.kill(self.rng.choice(["rst", "fin"]))
            await self.world.sleep(self.rng.uniform(0.02, 1))
            await e.start()
        else:
            e.mood = self.rng.choice(Endpoint.MOODS)
            self.ledger.counts["endpoint is in the mood " + e.mood] += 1
            await self.world.sleep(self.rng.uniform(0.1, 1.5))
        e.mood = "well"

    @property
    def pause(self):
        return self.rng.choice([0.5, 5])


class Rotator(Maker):
    """Takes the access log away, has it opened anew, and reads what was in it."""
    pause = 4.0

    async def act(self):
        log, old = self.places.log, self.places.log + ".old"
        self.doing = "rotating the log"
        if os.path.exists(self.places.log + ".other"):
            os.truncate(self.places.log + ".other", 0)
        if not os.path.exists(log):
            return
        os.rename(log, old)
        self.world.weir.send_signal(signal.SIGUSR1)
        await asyncio.sleep(1)                      # a line that was under way is written by then
        with open(old, "rb") as f:
            lines = f.read().split(b"\n")
        os.unlink(old)
        for line in lines[:-1]:
            try:
                said = json.loads(line)
            except ValueError:
                self.ledger.problem("a line of the log is no JSON: %r" % line[:500])
                continue
            self.ledger.counts["log lines"] += 1
            number = re.search(r"\?i=(\d+)&", said.get("target") or "")
            if number and number.group(1) in self.ledger.wanted:
                self.ledger.lines.append(line.decode())
            if said.get("reason") in ("internal", "filter_failed"):
                self.ledger.problem("the log says %r" % line[:500])


def all_of(world):
    wild = [e for e in world.endpoints.values() if e.wild]
    return [Reloader(world), Rotator(world)] + [Killer(world, e, i) for i, e in enumerate(wild)]
