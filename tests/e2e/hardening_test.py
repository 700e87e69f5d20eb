#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What makes a mistake in the code harder to use: how the program is linked and compiled."""

import platform

from harness import *


def output(*args):
    return subprocess.run(args, capture_output=True, text=True, check=True, timeout=120).stdout


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.head = output("readelf", "-Wh", WEIR)
        cls.segments = output("readelf", "-Wl", WEIR)
        cls.dynamic = output("readelf", "-Wd", WEIR)
        cls.imports = set(re.findall(r"UND (\w+)", output("readelf", "-W", "--dyn-syms", WEIR)))

    def test_it_is_loaded_at_a_random_address(self):
        self.assertRegex(self.head, r"Type:\s+DYN")
        self.assertRegex(self.dynamic, r"FLAGS_1\).*\bPIE\b")
        self.assertNotIn("TEXTREL", self.dynamic)

    def test_what_the_loader_fills_in_is_read_only_afterwards(self):
        self.assertIn("GNU_RELRO", self.segments)
        self.assertRegex(self.dynamic, r"FLAGS_1\).*\bNOW\b")

    def test_nothing_is_both_writable_and_executable(self):
        rows = re.findall(r"^  (\w+)\s+0x\S+ 0x\S+ 0x\S+ 0x\S+ 0x\S+ ([R ][W ][E ])", self.segments, re.M)
        self.assertIn(("GNU_STACK", "RW "), rows)
        self.assertTrue(any(flags == "R E" for _, flags in rows))
        self.assertEqual([r for r in rows if r[1][1:] == "WE"], [])

    def test_libraries_are_the_systems(self):
        self.assertNotRegex(self.dynamic, r"\((RPATH|RUNPATH)\)")

    @unittest.skipIf(SANITIZED, "sanitizers have checks of their own")
    def test_frames_and_copies_are_checked(self):
        self.assertIn("__stack_chk_fail", self.imports)
        self.assertIn("__memcpy_chk", self.imports)
        self.assertIn("__vsnprintf_chk", self.imports)

    @unittest.skipIf(SANITIZED or platform.machine() != "x86_64", "of the plain build for x86-64")
    def test_large_frames_are_probed(self):
        code = output("objdump", "-d", "--no-show-raw-insn", WEIR)
        functions = dict(re.findall(r"^[0-9a-f]+ <([\w.]+)>:\n((?:.+\n)+)", code, re.M))
        # A frame of more than a page is touched page by page, so that it cannot step over the guard page.
        large = [f for f in functions.values() if re.search(r"sub +\$0x[1-9a-f][0-9a-f]{3,7},%rsp", f)]
        self.assertTrue(large)
        self.assertEqual([f for f in large if not re.search(r"or[ql] +\$0x0,(0x[0-9a-f]+)?\(%rsp", f)
                          and not re.search(r"movq +\$0x0,(0x[0-9a-f]+)?\(%rsp", f)], [])

    @unittest.skipIf(SANITIZED or platform.machine() != "x86_64", "of the plain build for x86-64")
    def test_returns_fit_a_shadow_stack(self):
        made = os.path.join(os.path.dirname(WEIR), "obj", "gateway", "control.o")
        if not os.path.exists(made):
            self.skipTest("what the program was linked from is not here")
        # Debian's own startup files have no such mark, so the program as a whole has none there.
        self.assertRegex(output("readelf", "-n", made), r"x86 feature:.*SHSTK")


if __name__ == "__main__":
    main()
