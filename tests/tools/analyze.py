#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Static analysis of the product's sources: each finding as its tool prints it, and a line a tool at the end.

    analyze.py [--jobs N] [--only gcc,clang-tidy,cppcheck] [FILE ...]

gcc         -fanalyzer: leaks, uses after free, null pointers along paths through a file
clang-tidy  the checks of .clang-tidy, which says why others are left out
cppcheck    warnings and portability

A finding is mended, or told off where it stands with the reason: NOLINT(check) for clang-tidy, cppcheck-suppress.
"""
import argparse, concurrent.futures, glob, os, subprocess, sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ["gateway", "gateway/lib", "gateway/http", "conf", "filters"]
INCLUDES = ["-Igateway", "-I."]
LANGUAGE = ["-std=gnu11", "-D_GNU_SOURCE"]
# Two words at once, for the cells of limits: the build asks x86-64 for it in the same way.
MACHINE = ["-mcx16"] if os.uname().machine == "x86_64" else []

# cppcheck reads no attributes behind a pointer to a function, and knows no predefined macro.
CPPCHECK = ["cppcheck", "--quiet", "--enable=warning,portability", "--inline-suppr", "--std=c11", "--error-exitcode=1",
            "--template={file}:{line}: {severity}: {message} [{id}]", "-D_GNU_SOURCE", "-D__attribute__(x)=", "-D__x86_64__=1",
            "-D__LP64__=1", "-D__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16=1",
            # Compares constants with pieces of 8 bytes at their end, and takes every branch for any length.
            "--suppress=pointerOutOfBoundsCond:gateway/http/char.h"]

TOOLS = {
    "gcc": lambda f: ["gcc", *LANGUAGE, *MACHINE, *INCLUDES, "-O1", "-fno-strict-aliasing", "-fanalyzer", "-Werror", "-c",
                      "-o", "/dev/null", f],
    "clang-tidy": lambda f: ["clang-tidy", "--quiet", f, "--", *LANGUAGE, *MACHINE, *INCLUDES],
    "cppcheck": lambda f: [*CPPCHECK, *INCLUDES, f],
}


def run(job):
    tool, path = job
    done = subprocess.run(TOOLS[tool](path), cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    return tool, path, done.returncode, done.stdout


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--jobs", type=int, default=os.cpu_count())
    ap.add_argument("--only", default=",".join(TOOLS))
    ap.add_argument("files", nargs="*")
    args = ap.parse_args()
    files = args.files or [os.path.relpath(f, TOP) for d in FOLDERS for f in sorted(glob.glob(f"{TOP}/{d}/*.c"))]
    tools = args.only.split(",")
    bad = dict.fromkeys(tools, 0)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for tool, path, code, text in pool.map(run, [(t, f) for t in tools for f in files]):
            if code:
                bad[tool] += 1
                print(f"--- {tool}: {path}\n{text}", flush=True)
    for tool in tools:
        print(f"{tool:12} {len(files)} files, {bad[tool] or 'none'} with findings")
    return 1 if any(bad.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
