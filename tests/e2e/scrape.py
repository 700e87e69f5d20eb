# SPDX-License-Identifier: Apache-2.0
"""Prometheus' text format (0.0.4), read strictly: nothing that a stricter scraper could stumble over is forgiven."""

import math
import re

from harness import ask

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
HELP = re.compile(r"# HELP (%s) (\S.*)\Z" % NAME)
TYPE = re.compile(r"# TYPE (%s) (counter|gauge|histogram)\Z" % NAME)
SAMPLE = re.compile(r"(%s)(\{.+\})? (\S+)\Z" % NAME)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"')
VALUE = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?\Z")       # all that weir counts; no sign, no exponent
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class BadPage(AssertionError):
    pass


def read_labels(text, line):
    """{a="x",b="y"} as a dict."""
    labels, at, rest = {}, 0, text[1:-1]
    while True:
        m = LABEL.match(rest, at)
        if not m or m.group(1) in labels:
            raise BadPage("labels of %r" % line)
        labels[m.group(1)] = re.sub(r'\\[\\"n]', lambda e: ESCAPES[e.group(0)], m.group(2))
        at = m.end()
        if at == len(rest):
            return labels
        if rest[at] != ",":
            raise BadPage("labels of %r" % line)
        at += 1


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.type = name, help_text, None
        self.samples = []                # (name, labels, value), as they stand

    def may_hold(self, name):
        if self.type == "histogram":
            return name in (self.name + "_bucket", self.name + "_sum", self.name + "_count")
        return name == self.name


class Page:
    """A page of /metrics. Fails with BadPage where the format is broken."""

    def __init__(self, text):
        self.families = {}
        self.values = {}                 # (name, labels as a sorted tuple): value
        if not text.endswith("\n"):
            raise BadPage("the last line has no end: %r" % text[-80:])
        family = None
        for line in text[:-1].split("\n"):
            family = self.read_line(line, family)
        for family in self.families.values():
            self.check_family(family)

    def read_line(self, line, family):
        m = HELP.match(line)
        if m:
            if m.group(1) in self.families:
                raise BadPage("a second HELP: %r" % line)
            self.families[m.group(1)] = Family(m.group(1), m.group(2))
            return self.families[m.group(1)]
        m = TYPE.match(line)
        if m:
            if not family or family.name != m.group(1) or family.type or family.samples:
                raise BadPage("a TYPE that does not follow its HELP: %r" % line)
            family.type = m.group(2)
            return family
        m = SAMPLE.match(line)
        if not m or not VALUE.match(m.group(3)):
            raise BadPage("not a line of the format: %r" % line)
        if not family or not family.type or not family.may_hold(m.group(1)):
            raise BadPage("a sample that is not below its TYPE: %r" % line)
        labels = read_labels(m.group(2), line) if m.group(2) else {}
        key = (m.group(1), tuple(sorted(labels.items())))
        if key in self.values:
            raise BadPage("a series twice: %r" % line)
        self.values[key] = float(m.group(3))
        family.samples.append((m.group(1), labels, float(m.group(3))))
        return family

    def check_family(self, f):
        if not f.type:
            raise BadPage("%s has no TYPE" % f.name)
        if (f.type == "counter") != f.name.endswith("_total"):
            raise BadPage("%s is a %s" % (f.name, f.type))
        if f.type != "histogram":
            for _, labels, value in f.samples:
                if "le" in labels or not (value.is_integer() or f.name.endswith("_seconds")):
                    raise BadPage("%s %r is no plain number" % (f.name, labels))
            return
        series = {}
        for name, labels, value in f.samples:
            rest = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
            one = series.setdefault(rest, {"buckets": [], "_sum": None, "_count": None})
            if name.endswith("_bucket"):
                one["buckets"].append((labels["le"], value))
            elif "le" in labels:
                raise BadPage("%s %r has a bucket's label" % (name, labels))
            else:
                one[name[len(f.name):]] = value
        for rest, one in series.items():
            self.check_histogram(f.name, rest, one)

    @staticmethod
    def check_histogram(name, labels, one):
        bounds = [math.inf if le == "+Inf" else float(le) for le, _ in one["buckets"]]
        counts = [n for _, n in one["buckets"]]
        if not bounds or bounds[-1] != math.inf or bounds != sorted(set(bounds)):
            raise BadPage("%s %r: bounds %r" % (name, labels, bounds))
        if counts != sorted(counts) or not all(n.is_integer() for n in counts):
            raise BadPage("%s %r: buckets %r" % (name, labels, counts))
        if one["_count"] != counts[-1] or one["_sum"] is None:
            raise BadPage("%s %r: count %r of %r, sum %r" % (name, labels, one["_count"], counts[-1], one["_sum"]))
        if one["_sum"] > 0 and one["_count"] == 0:
            raise BadPage("%s %r: a sum of nothing" % (name, labels))

    def get(self, name, **labels):
        """The one series of this name with exactly these labels."""
        return self.values[("weir_" + name, tuple(sorted(labels.items())))]

    def sum(self, name, **labels):
        """Of all series of this name that have these labels among theirs; there must be one."""
        found = [v for (n, ls), v in self.values.items() if n == "weir_" + name and labels.items() <= dict(ls).items()]
        if not found:
            raise AssertionError("no %s with %r" % (name, labels))
        return sum(found)

    def by(self, name, label, **labels):
        """{value of the label: value of the series} of those that have these labels among theirs."""
        return {dict(ls)[label]: v for (n, ls), v in self.values.items()
                if n == "weir_" + name and labels.items() <= dict(ls).items()}


def scrape(weir):
    r = ask(weir.admin, "/metrics")
    if r.status != 200 or not r.get("content-type").startswith("text/plain; version=0.0.4"):
        raise BadPage("%d %r" % (r.status, r.get("content-type")))
    return Page(r.body.decode())
