#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The house rules that a program can check; each finding is one line "file:line: what".

    lint.py [RULE ...]      all of RULES when none is named

Rule zero holds here too: a line with a comment "lint: WORD, because ..." may use WORD, a banned call.
"""
import fnmatch, os, re, sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PRODUCT = ["gateway", "gateway/lib", "gateway/http", "conf", "filters"]
SKIP = {"build", ".git", "__pycache__"}

BANNED = "strcpy strcat sprintf vsprintf strtok atoi gets alloca"
BANNED_OUTSIDE_LIB = ("malloc calloc realloc free strdup strndup time clock_gettime gettimeofday rand random srand "
                      "getrandom sleep usleep nanosleep")
THIRD_PARTY = ["event2/*", "event.h", "yaml.h", "ares.h", "openssl/*"]
LINES = {".c": 600, ".h": 250}
FUNCTION_LINES = 80
WIDTH = 132        # the aim is 120
SPDX = "SPDX-License-Identifier: Apache-2.0"
WORDS = re.compile(r"\b(" + "|".join(["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"]) + r")\b")

FILES = {}         # path -> text
FOUND = []


def say(path, line, what):
    FOUND.append((path, line, what))


def read_tree():
    for folder, folders, names in os.walk(TOP):
        folders[:] = [f for f in folders if f not in SKIP]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), TOP)
            if path.startswith("tests/corpus/") and name.endswith(".jsonl"):
                continue
            try:
                with open(os.path.join(TOP, path), encoding="utf-8") as f:
                    FILES[path] = f.read()
            except UnicodeDecodeError:
                continue


def product(*ends):
    return [p for p in sorted(FILES) if os.path.dirname(p) in PRODUCT and p.endswith(ends or (".c", ".h"))]


def code_only(text):
    """The same lines without comments and the insides of strings."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return token.sub(lambda m: '""' if m[0][0] == '"' else "0" if m[0][0] == "'" else "\n" * m[0].count("\n"), text)


# --- layers -------------------------------------------------------------------------------------------------------------

def may_include(folder):
    """The sections of a folder's .may_include: [(globs of file names, patterns)]; the first is for all other files."""
    sections = [(["*"], [])]
    for line in FILES.get(f"{folder}/.may_include", "").splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("["):
            sections.append((line.strip("[]").split(), []))
        elif line:
            sections[-1][1].append(line)
    return sections[1:] + sections[:1]


def resolve(path, name):
    for base in (os.path.dirname(path), "gateway", ""):
        at = os.path.normpath(os.path.join(base, name))
        if at in FILES:
            return at
    return None


def layers():
    for folder in PRODUCT:
        if any(os.path.dirname(p) == folder for p in FILES) and f"{folder}/.may_include" not in FILES:
            say(f"{folder}/.may_include", 1, "missing: says what the folder's files may include")
    for path in product(".c", ".h", ".def"):
        own = os.path.splitext(path)[0] + ".h"
        sections = may_include(os.path.dirname(path))
        allowed = next(patterns for globs, patterns in sections
                       if any(fnmatch.fnmatch(os.path.basename(path), g) for g in globs))
        for number, line in enumerate(FILES[path].splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
            if not m:
                continue
            if m[2]:
                third = any(fnmatch.fnmatch(m[2], t) for t in THIRD_PARTY)
                ok = not third or any(fnmatch.fnmatch(f"<{m[2]}>", a) for a in allowed)
                target = f"<{m[2]}>"
            else:
                target = resolve(path, m[1])
                if target is None:
                    say(path, number, f'no such file in the tree: "{m[1]}"')
                    continue
                same = [a for a in allowed if "/" in a and os.path.dirname(a) == os.path.dirname(target)]
                ok = any(fnmatch.fnmatch(target, a) for a in same) or ("@own" in allowed and target == own)
            if not ok:
                say(path, number, f"{os.path.dirname(path)} may not include {target} (its .may_include)")


# --- sizes --------------------------------------------------------------------------------------------------------------

def sizes():
    for path in product():
        text = FILES[path]
        count, limit = text.count("\n"), LINES[os.path.splitext(path)[1]]
        if count > limit:
            say(path, count, f"{count} lines, at most {limit}")
        start = 0
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            if line == "{":
                start = number - 1
            elif line.startswith("}") and start:
                if number - start + 1 > FUNCTION_LINES:
                    say(path, start, f"a function of {number - start + 1} lines, at most {FUNCTION_LINES}")
                start = 0
            if len(line) > WIDTH:
                say(path, number, f"a line of {len(line)} characters, at most {WIDTH}")


# --- calls --------------------------------------------------------------------------------------------------------------

def calls():
    def pattern(words):
        return re.compile(r"(?<![\w.>])(" + "|".join(words.split()) + r")\s*\(")
    everywhere, outside, loops = pattern(BANNED), pattern(BANNED_OUTSIDE_LIB), re.compile(r"\b((?:bufferevent|evhttp)_\w+)")
    for path in product():
        original = FILES[path].splitlines()
        for number, line in enumerate(code_only(FILES[path]).splitlines(), 1):
            found = everywhere.findall(line) + loops.findall(line)
            if os.path.dirname(path) != "gateway/lib":
                found += outside.findall(line)
            for word in found:
                if not re.search(rf"lint: {word}, because", original[number - 1]):
                    say(path, number, f"{word}() is banned")


# --- tests --------------------------------------------------------------------------------------------------------------

def tests():
    """Every .c has its unit test (parse_fields.c, a part of parse.c, shares parse_test.c); for files of gateway/ and the
    table of filters a listed other test will do."""
    listed = {}
    where = "tests/unit/covered_elsewhere"
    for number, line in enumerate(FILES.get(where, "").splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        listed[words[0]] = number
        if words[0] not in FILES:
            say(where, number, f"{words[0]} is gone: drop the line")
        elif len(words) < 2:
            say(where, number, f"say which test covers {words[0]}")
        for other in words[1:]:
            if other not in FILES or not other.startswith("tests/"):
                say(where, number, f"no such test: {other}")
    for path in product(".c"):
        test = f"tests/unit/{os.path.basename(path)[:-2]}_test.c"
        whole = path
        while "_" in os.path.basename(whole):
            whole = whole.rpartition("_")[0]
            shared = f"tests/unit/{os.path.basename(whole)}_test.c"
            if test not in FILES and f"{whole}.c" in FILES and shared in FILES:
                test = shared
        if test in FILES:
            if path in listed:
                say(where, listed[path], f"{path} has {test}: drop the line")
        elif path not in listed:
            say(path, 1, f"has no {test}" + ("" if os.path.dirname(path) != "gateway" else f", nor a line in {where}"))
        elif os.path.dirname(path) != "gateway" and path != "filters/registry.c":
            say(where, listed[path], f"only files of gateway/ may be covered elsewhere; write {test}")


# --- tables -------------------------------------------------------------------------------------------------------------

def rows(block):
    """The braced rows of an initialiser, with the offset of each."""
    depth, start = 0, 0
    for m in re.finditer(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|[{}]', block, re.S):
        if m[0] == "{":
            if depth == 0:
                start = m.start()
            depth += 1
        elif m[0] == "}":
            depth -= 1
            if depth == 0:
                yield start, block[start:m.end()]


def helps():
    """Every option, filter, reason and metric says in words what it is."""
    for path in product(".c", ".h"):
        text = FILES[path]
        for m in re.finditer(r"\bstruct field \w+\[\]\s*=\s*\{(.*?)\n\s*\};", text, re.S):
            for offset, row in rows(m[1]):
                if "FIELD_END" in row or not re.search(r"\bFIELD_\w+", row):
                    continue
                plain = re.sub(r"/\*.*?\*/", "", row, flags=re.S)
                named = re.search(r'\.help\s*=\s*"[^"]', plain)
                in_order = re.match(r'\{\s*"[^"]*"\s*,\s*FIELD_\w+\s*,\s*(?:[^",]|\([^()]*\))+(?:\([^()]*\))?\s*,\s*"[^"]', plain)
                if not named and not in_order:
                    say(path, text.count("\n", 0, m.start(1) + offset) + 1, "an option without help")
        for m in re.finditer(r"\bconst struct filter \w+\s*=\s*\{(.*?)\n\};", text, re.S):
            if not re.search(r'\.help\s*=\s*"[^"]', m[1]):
                say(path, text.count("\n", 0, m.start()) + 1, "a filter without help")
    for path in product(".def"):
        for number, line in enumerate(FILES[path].splitlines(), 1):
            if re.match(r"[A-Z]+\(", line) and re.search(r'""\s*\)\s*$', line):
                say(path, number, "a row without its sentence")


# --- text ---------------------------------------------------------------------------------------------------------------

def licence():
    for path, text in sorted(FILES.items()):
        name = os.path.basename(path)
        if name.endswith((".c", ".h", ".def", ".py", ".sh", ".lua")) or name in ("Makefile", "Dockerfile", "run"):
            if SPDX not in "\n".join(text.splitlines()[:3]):
                say(path, 1, f"has no {SPDX} among its first lines")


def words():
    for path, text in sorted(FILES.items()):
        if path.startswith("tests/corpus/") or not path.endswith((".c", ".h", ".def", ".py", ".sh", ".md", "Makefile")):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            m = WORDS.search(line)
            if m:
                say(path, number, f"unfinished: {m[1]}")
            if line != line.rstrip():
                say(path, number, "blanks at the end of the line")
            if "\t" in line and path.endswith((".c", ".h", ".py")):
                say(path, number, "a tab")


def waits():
    """Simulated tests run under virtual time: none of them waits."""
    for path, text in sorted(FILES.items()):
        if path.startswith("tests/sim/"):
            for number, line in enumerate(text.splitlines(), 1):
                m = re.search(r"\b(sleep|usleep|nanosleep|clock_gettime)\s*\(", line)
                if m:
                    say(path, number, f"{m[1]}() in a test that runs under virtual time")


RULES = {"layers": layers, "sizes": sizes, "calls": calls, "tests": tests, "helps": helps, "licence": licence,
         "words": words, "waits": waits}


def main():
    names = sys.argv[1:] or list(RULES)
    for name in names:
        if name not in RULES:
            sys.exit(f"lint: no rule {name}; there are: {' '.join(RULES)}")
    read_tree()
    for name in names:
        before = len(FOUND)
        RULES[name]()
        print(f"{name:8} {'ok' if len(FOUND) == before else len(FOUND) - before}")
    for path, line, what in FOUND:
        print(f"{path}:{line}: {what}")
    return 1 if FOUND else 0


if __name__ == "__main__":
    sys.exit(main())
