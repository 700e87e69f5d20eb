#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at weir's TLS with testssl.sh and sslscan, which others wrote for looking at servers.

    tls_scan.py [--weir build/weir] [--profile NAME,...] [--keep FOLDER]

For each profile a gateway on a free port, with a certificate of a CA made for the occasion, that answers 200 to everything.
What testssl.sh finds above LOW, or sslscan of protocols and ciphers that are not wanted, fails; but for what is said of whom one
trusts and of revocation, which a CA made for the occasion cannot have.
"""
import argparse, json, os, re, subprocess, sys, tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{TOP}/tests/e2e")
from certs import CA                                            # noqa: E402
from harness import connects, free_port, wait_until             # noqa: E402

# What a site says to browsers is the site's to say; that it says nothing would be a finding of its own.
HEADERS = "{strict-transport-security: max-age=63072000, x-content-type-options: nosniff, x-frame-options: DENY}"
SEVERITY = ["OK", "INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"]
EXEMPT = re.compile(r"cert_(chain_of_trust|crlRevoked|ocspRevoked|revocation|caIssuers|crlDistributionPoints|ocspURL|"
                    r"mustStapleExtension|certificatePolicies_EV|trust|eTLS)|OCSP_stapling|DNS_CAArecord|certificate_transparency")
WANTED = {"intermediate": {"TLSv1.2", "TLSv1.3"}, "modern": {"TLSv1.3"}}
WEAK = re.compile(r"CBC|RC4|3DES|NULL|MD5|EXP|anon|ADH|^(?!TLS_|ECDHE)|-SHA$")


def gateway(weir, profile, folder):
    """(process, port)"""
    ca = CA(folder)
    pem, key = ca.issue("server", "DNS:localhost,IP:127.0.0.1", days=90)
    staple, port = ca.staple("server", pem, 2), free_port()
    conf = os.path.join(folder, "weir.yaml")
    with open(conf, "w") as f:
        f.write(f"version: 1\nlisten:\n- at: 127.0.0.1:{port}\n  tls:\n    profile: {profile}\n"
                f"    certificates: {{certificate: {pem}, key: {key}, ocsp: {staple}}}\n"
                f"log: {{to: none}}\nroutes: [{{match: /, respond: {{status: 200, headers: {HEADERS}, body: ok}}}}]\n")
    log = open(os.path.join(folder, "weir.log"), "w+b")
    proc = subprocess.Popen([weir, "run", "-c", conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_until("weir", lambda: connects(port))
    return proc, port


def testssl(port, folder):
    """(findings above LOW, LOW ones and what it could not look at (WARN), all)"""
    out = os.path.join(folder, "testssl.json")
    done = subprocess.run(["testssl", "--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1",
                           "--add-ca", os.path.join(folder, "ca.pem"), "--jsonfile", out, f"localhost:{port}"],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=900)
    with open(os.path.join(folder, "testssl.txt"), "wb") as f:
        f.write(done.stdout + done.stderr)
    with open(out) as f:
        found = json.load(f)
    if len(found) < 50:
        raise SystemExit(f"tls_scan: testssl.sh gave {len(found)} findings only: {done.stdout[-2000:].decode()}")
    rank = {s: i for i, s in enumerate(SEVERITY)}
    told = [f for f in found if not EXEMPT.search(f["id"])]
    bad = [f for f in told if rank.get(f["severity"], 0) > rank["LOW"]]
    return bad, [f for f in told if f["severity"] in ("LOW", "WARN")], found


def sslscan(port, folder, profile):
    """What is not as wanted."""
    done = subprocess.run(["sslscan", "--no-colour", "--show-certificate", f"localhost:{port}"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=300)
    text = done.stdout.decode(errors="replace")
    with open(os.path.join(folder, "sslscan.txt"), "w") as f:
        f.write(text)
    on = {m[1] for m in re.finditer(r"^(SSLv\d|TLSv1\.\d)\s+enabled", text, re.M)}
    ciphers = re.findall(r"^(?:Preferred|Accepted)\s+\S+\s+\d+ bits\s+(\S+)", text, re.M)
    bad = [f"protocols {sorted(on)}"] if on != WANTED[profile] else []
    bad += [f"cipher {c}" for c in ciphers if WEAK.search(c)]
    for wrong in ("Insecure session renegotiation", "Compression enabled", "vulnerable to heartbleed"):
        if re.search(rf"(?<!not ){wrong}", text):
            bad.append(wrong)
    return bad if ciphers else bad + ["no ciphers at all"], on, ciphers


def scan(weir, profile, folder):
    proc, port = gateway(weir, profile, folder)
    try:
        bad, low, found = testssl(port, folder)
        odd, on, ciphers = sslscan(port, folder, profile)
    finally:
        proc.terminate()
        status = proc.wait(30)
    print(f"{profile}: testssl.sh {len(found)} findings, {sum(f['severity'] == 'LOW' for f in low)} LOW, {len(bad)} above; "
          f"sslscan: {' '.join(sorted(on))}, {len(ciphers)} ciphers, {len(odd)} not wanted")
    for f in low + bad:
        print(f"  {f['severity']:8} {f['id']}: {f['finding']}")
    for text in odd:
        print(f"  sslscan  {text}")
    if status != 0:
        print(f"  weir ended with status {status}")
    return not bad and not odd and status == 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--weir", default=f"{TOP}/build/weir")
    ap.add_argument("--profile", default="intermediate,modern")
    ap.add_argument("--keep", help="folder for what the two said")
    args = ap.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        for profile in args.profile.split(","):
            folder = os.path.join(args.keep or scratch, profile)
            os.makedirs(folder)
            good &= scan(args.weir, profile, folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
