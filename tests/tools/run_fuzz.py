#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs each libFuzzer target for a while, from seeds made of the corpora and the configurations.

    run_fuzz.py [--seconds S] [--only NAME] [--jobs N]

Seeds are written to build/fuzz/seeds; a target NAME_fuzz also takes tests/fuzz/corpus/NAME (kept inputs: a crash that was
mended goes there). What it finds new is kept in build/fuzz/found/NAME; a crash stands in build/fuzz and fails the run, and
so does a request head that weir accepts, and llhttp and h11 both refuse (judge.py).
"""
import argparse, base64, concurrent.futures, glob, hashlib, json, os, re, shutil, subprocess, sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = f"{TOP}/build/fuzz"
SEED_MAX = 16384
# Which seeds suit a target: by a word in its name; the last row is for all others, which have inputs of their own.
SUIT = [("request", ["requests"]), ("response", ["responses"]), ("parse", ["requests", "responses"]),
        ("chunk", ["requests", "responses"]), ("conf", ["conf"]),
        ("uri", ["targets"]), ("llhttp", ["requests"]), ("", [])]
# The steps of a lifecycle are short and slow: long lists of them, and weighing what is rare, cost more than they find.
OPTIONS = {"lifecycle": ["-max_len=1000", "-entropic=0"]}


def keep(kind, data):
    if len(data) <= SEED_MAX:
        os.makedirs(f"{OUT}/seeds/{kind}", exist_ok=True)
        with open(f"{OUT}/seeds/{kind}/{hashlib.sha1(data).hexdigest()}", "wb") as f:
            f.write(data)


def make_seeds():
    for kind in ("requests", "responses"):
        with open(f"{TOP}/tests/corpus/{kind}.jsonl") as f:
            for line in filter(str.strip, f):
                raw = base64.b64decode(json.loads(line)["raw_b64"])
                keep(kind, raw)
                words = raw.split(b"\r\n", 1)[0].split(b" ")
                if kind == "requests" and len(words) > 1:
                    keep("targets", words[1])
    for path in glob.glob(f"{TOP}/tests/conf/**/*.yaml", recursive=True) + glob.glob(f"{TOP}/conf/**/*.yaml", recursive=True):
        with open(path, "rb") as f:
            keep("conf", f.read())


def make_dictionary():
    """The words of configurations, from the tables and readers that know them, and what YAML is made of."""
    words = set('- |: |# |[|]|{|}|, |"|\'|&a |*a|? || |> |!!str |---|...|<<: |~|null|true|false|:id|client_ip|header:x|a + b|'
                '10ms|1s..2s|5m|1h|64KiB|10%|100/s|6000/min|127.0.0.1:80|[::1]:80|unix:/x|http://a:1|/a/|0|1|65536|'
                '${A}|${A:-b}|${A:?c}|$${|${file:/x}|${_KEY:-q7zkq}'.split("|"))
    for path in glob.glob(f"{TOP}/conf/*.c") + glob.glob(f"{TOP}/filters/*.c"):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        words.update(re.findall(r'\.key = "(\w+)"', text))
        for table in re.findall(r"words\[\] = \{(.*?)\}", text, re.S):
            words.update(re.findall(r'"([\w/]+)"', table))
    for path in glob.glob(f"{TOP}/filters/*.c"):
        words.add(os.path.basename(path)[:-2])
    os.makedirs(OUT, exist_ok=True)
    with open(f"{OUT}/conf.dict", "w", encoding="utf-8") as f:
        for word in sorted(words - {""}):
            f.write('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"\n')


def run(target, seconds):
    name = os.path.basename(target)[:-len("_fuzz")]
    found = f"{OUT}/found/{name}"
    os.makedirs(found, exist_ok=True)
    kinds = next(kinds for word, kinds in SUIT if word in name)
    dirs = [found] + [f"{OUT}/seeds/{k}" for k in kinds] + [f"{TOP}/tests/fuzz/corpus/{name}"]
    dictionary = next((d for d in (f"{OUT}/{name}.dict", f"{TOP}/tests/fuzz/{name}.dict") if os.path.exists(d)), "")
    cmd = [target, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
           f"-artifact_prefix={OUT}/{name}-", *OPTIONS.get(name, []), *([f"-dict={dictionary}"] if dictionary else []),
           *(d for d in dirs if os.path.isdir(d))]
    disputed = f"{OUT}/disputed/{name}"
    shutil.rmtree(disputed, ignore_errors=True)
    os.makedirs(disputed)
    result = subprocess.run(cmd, env=dict(os.environ, DISPUTED=disputed), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    text = result.stdout.decode(errors="replace")
    if result.returncode:
        print(f"--- {name}\n{text[-6000:]}---")
    units = [x.split()[-1] for x in text.splitlines() if x.startswith("stat::number_of_executed_units")]
    if os.listdir(disputed):
        judged = subprocess.run([sys.executable, f"{TOP}/tests/tools/judge.py", disputed], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        print(judged.stdout, end="")
        result.returncode = result.returncode or judged.returncode
    print(f"{name:20} {'FAILED' if result.returncode else 'ok':7} {units[0] if units else '?'} runs", flush=True)
    return result.returncode == 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=int, default=20)
    ap.add_argument("--only", default="")
    ap.add_argument("--jobs", type=int, default=1)
    args = ap.parse_args()
    sources = sorted(glob.glob(f"{TOP}/tests/fuzz/*_fuzz.c"))
    targets = [f"{TOP}/build/san-fuzzer/tests/fuzz/{os.path.basename(s)[:-2]}" for s in sources]
    make_seeds()
    make_dictionary()
    targets = [t for t in targets if args.only in os.path.basename(t)]
    if any(t.endswith("/llhttp_fuzz") and not os.path.exists(t) for t in targets):
        print("llhttp: skipped, for node-llhttp is not installed")
        targets = [t for t in targets if not t.endswith("/llhttp_fuzz")]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        good = list(pool.map(lambda t: run(t, args.seconds), targets))
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
