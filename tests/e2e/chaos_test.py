# SPDX-License-Identifier: Apache-2.0
"""Mixed chaos for a short while, always from the same seed; tests/long/chaos.py says what is looked at."""

import os
import subprocess
import sys

from harness import Case, ROOT, WEIR, main


class Chaos(Case):
    def chaos(self, *args):
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "long", "chaos.py"), "--weir", WEIR, "--cpu", "0.7",
                               "--keep", self.directory, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout[-8000:].decode("latin-1"))

    def test_twenty_seconds(self):
        self.chaos("--seconds", "20", "--seed", "6")

    def test_the_end_comes_in_the_midst_of_it(self):
        self.chaos("--seconds", "5", "--seed", "7", "--rough")


if __name__ == "__main__":
    main()
