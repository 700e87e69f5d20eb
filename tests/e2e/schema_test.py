# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of `weir schema`, with a real validator: it takes what weir takes, and sees much of what weir refuses."""

import glob
import json
import os
import re
import subprocess

import jsonschema
import yaml

import yaml12
from docs_test import DOCS, snippets, whole
from harness import ROOT, WEIR, Case, main

LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def files(*patterns):
    return [f for p in patterns for f in sorted(glob.glob(os.path.join(ROOT, p)))]


def read(path):
    with open(path, encoding="utf-8-sig") as f:
        return re.sub(r"\{[a-z]+\}", "8080", f.read()) if "/bench/" in path else f.read()     # its ports are filled in


class Schema(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.schema = json.loads(subprocess.run([WEIR, "schema"], stdout=subprocess.PIPE, check=True, timeout=30).stdout)
        jsonschema.Draft202012Validator.check_schema(cls.schema)
        cls.validator = jsonschema.Draft202012Validator(cls.schema)

    def complaint(self, text):
        """None, or what the schema says against it."""
        best = jsonschema.exceptions.best_match(self.validator.iter_errors(yaml12.load(text)))
        return best and "%s: %s" % (best.json_path, best.message[:300])

    def test_whatever_is_good_is_taken(self):
        paths = files("conf/*.yaml", "conf/examples/*.yaml", "conf/examples/tls/*.yaml", "tests/conf/good/*.yaml",
                      "bench/*.yaml", "docker/etc/*.yaml")
        self.assertGreater(len(paths), 20)
        for path in paths:
            with self.subTest(os.path.relpath(path, ROOT)):
                self.assertIsNone(self.complaint(read(path)))

    def test_what_kubernetes_mounts_is_taken(self):
        for part in yaml.safe_load_all(read(os.path.join(ROOT, "conf", "examples", "kubernetes", "deploy.yaml"))):
            for name, text in part.get("data", {}).items():
                with self.subTest(name):
                    self.assertIsNone(self.complaint(text))

    def test_every_snippet_is_taken(self):
        for path in DOCS:
            for line, text in snippets(path):
                with self.subTest("%s:%d" % (os.path.relpath(path, ROOT), line)):
                    self.assertIsNone(self.complaint(whole(text)))

    def test_much_of_what_is_bad_is_refused(self):
        seen, missed = 0, []
        for path in files("tests/conf/bad/*.yaml"):
            try:
                seen += self.complaint(read(path)) is not None or missed.append(os.path.basename(path)) or 0
            except (yaml.YAMLError, UnicodeDecodeError):
                pass                     # no editor gets as far as the schema
        share = seen / (seen + len(missed))
        if os.environ.get("WEIR_SHOW_MISSED"):
            print("%.2f, missed: %s" % (share, " ".join(missed)))
        self.assertGreater(share, 0.6, "refused by weir and not by the schema: " + " ".join(missed))

    def test_what_is_included_need_not_be_whole(self):
        self.assertIsNone(self.complaint("version: 1\ninclude: parts/*.yaml\n"))
        self.assertIsNotNone(self.complaint("version: 1\nlisten: 127.0.0.1:80\n"))
        self.assertIsNotNone(self.complaint("include: x.yaml\n"))
        part = json.loads(subprocess.run([WEIR, "schema", "--included"], stdout=subprocess.PIPE, check=True, timeout=30).stdout)
        known = jsonschema.RefResolver("", part, store={"weir.schema.json": self.schema})
        validator = jsonschema.Draft202012Validator(part, resolver=known)
        for text, good in (("upstreams: {a: {endpoints: 'http://h:1'}}", True), ("routes: [{match: /, upstream: a}]", True),
                           ("upstreams: {a: {endpoint: 'http://h:1'}}", False), ("include: x.yaml", False), ("listen: x", False)):
            with self.subTest(text):
                self.assertEqual(validator.is_valid(yaml12.load(text)), good)
        paths = files("tests/conf/good/included/*.yaml")
        self.assertGreater(len(paths), 1)
        for path in paths:
            with self.subTest(os.path.relpath(path, ROOT)):
                self.assertTrue(validator.is_valid(yaml12.load(read(path))))

    def test_defaults_fit(self):
        def walk(node):
            if isinstance(node, dict):
                if "default" in node and "allOf" in node:
                    rows.append(node)
                for value in node.values():
                    walk(value)
            elif isinstance(node, list):
                for value in node:
                    walk(value)

        rows = []
        walk(self.schema)
        self.assertGreater(len(rows), 40)
        for row in rows:
            with self.subTest(row["title"]):
                part = jsonschema.Draft202012Validator({"$defs": self.schema["$defs"], "allOf": row["allOf"]})
                self.assertIsNone(jsonschema.exceptions.best_match(part.iter_errors(row["default"])))

    def test_every_key_is_described(self):
        def walk(node):
            for name, value in node.get("properties", {}).items():
                with self.subTest(name):
                    self.assertTrue(value["title"].endswith(name))
                    self.assertGreater(len(value["description"]), 10)
            for value in node.values():
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, dict):
                        walk(part)

        walk(self.schema)

    def test_examples_name_the_schema(self):
        paths = files("conf/*.yaml", "conf/examples/*.yaml")
        for path in paths:
            with self.subTest(os.path.relpath(path, ROOT)):
                m = LINE.match(read(path))
                self.assertTrue(m, "the first line names no schema")
                named = os.path.normpath(os.path.join(os.path.dirname(path), m.group(1)))
                self.assertEqual(os.path.relpath(named, ROOT), os.path.join("docs", "weir.schema.json"))
                self.assertTrue(os.path.exists(named))


if __name__ == "__main__":
    main()
