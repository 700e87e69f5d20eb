# SPDX-License-Identifier: Apache-2.0
"""A CA of its own for each test of TLS, and what it signs: made by the openssl program, in the test's directory."""

import os
import subprocess


def run(*args, cwd=None, check=True):
    done = subprocess.run(["openssl"] + list(args), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    if check and done.returncode != 0:
        raise AssertionError("openssl %s: %s" % (" ".join(args), done.stderr.decode()))
    return done


KEYS = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-newkey", "rsa:2048"],
        "weak": ["-newkey", "rsa:1024"]}


class CA:
    def __init__(self, directory, name="ca", subject=None, usage="keyCertSign,cRLSign"):
        self.directory, self.name, self.serial = directory, name, 1
        self.pem, self.key = self.path(name + ".pem"), self.path(name + ".key")
        run("req", "-x509", *KEYS["ec"], "-nodes", "-keyout", self.key, "-out", self.pem, "-days", "30", "-subj",
            "/CN=" + (subject or name), "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical," + usage)

    def path(self, name):
        return os.path.join(self.directory, name)

    def issue(self, name, san="", subject=None, kind="ec", days=30, use="serverAuth", ca=False):
        """Signs a certificate for names such as "DNS:a.example"; returns the paths of the certificate and its key."""
        pem, key = self.path(name + ".pem"), self.path(name + ".key")
        csr, ext = self.path(name + ".csr"), self.path(name + ".ext")
        run("req", "-new", *KEYS[kind], "-nodes", "-keyout", key, "-out", csr, "-subj", subject or "/CN=" + name)
        with open(ext, "w") as f:
            f.write("basicConstraints=critical,CA:TRUE\n" if ca else "basicConstraints=CA:FALSE\nextendedKeyUsage=%s\n" % use)
            f.write("subjectAltName=%s\n" % san if san else "")
        self.serial += 1
        run("x509", "-req", "-in", csr, "-CA", self.pem, "-CAkey", self.key, "-set_serial", str(self.serial),
            "-days", str(days), "-extfile", ext, "-out", pem)
        return pem, key

    def below(self, name):
        """A CA that this one has signed."""
        ca = CA.__new__(CA)
        ca.directory, ca.name, ca.serial = self.directory, name, 1
        ca.pem, ca.key = self.issue(name, ca=True)
        return ca

    def expired(self, name, san, start="20200101000000Z", end="20200102000000Z", use="serverAuth"):
        """One that was valid for a day, years ago; or from and until when is said."""
        pem, key = self.issue(name, san, use=use)
        folder = self.path(name + "-db")
        os.mkdir(folder)
        for file, text in (("index.txt", ""), ("serial", "7777\n"), ("c.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index.txt\n"
                           "serial=%s/serial\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\n"
                           "commonName=supplied\n" % (folder, folder, folder))):
            with open(os.path.join(folder, file), "w") as f:
                f.write(text)
        run("ca", "-batch", "-config", os.path.join(folder, "c.cnf"), "-in", self.path(name + ".csr"), "-cert", self.pem,
            "-keyfile", self.key, "-startdate", start, "-enddate", end, "-out", pem, "-notext",
            "-extfile", self.path(name + ".ext"))
        return pem, key

    def staple(self, name, pem, serial, days=7, revoked=False):
        """A file with an OCSP response about the certificate with that number."""
        index, out = self.path(name + ".index"), self.path(name + ".ocsp")
        with open(index, "w") as f:
            state = "R\t350101000000Z\t240101000000Z" if revoked else "V\t350101000000Z\t"
            f.write("%s\t%02X\tunknown\t/CN=x\n" % (state, serial))
        run("ocsp", "-index", index, "-rsigner", self.pem, "-rkey", self.key, "-CA", self.pem, "-issuer", self.pem,
            "-cert", pem, "-respout", out, "-ndays", str(days), "-no_nonce", check=False)
        if not os.path.exists(out):
            raise AssertionError("openssl ocsp made no response")
        return out

    def crl(self, name, *serials, start="20200101000000Z", end="21200101000000Z"):
        """A file with the list of certificates of those numbers, as revoked by this CA; made again, it takes the other's place."""
        folder, out = self.path(name + "-crl"), self.path(name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "index.txt"), "w") as f:
            f.write("".join("R\t21000101000000Z\t260101000000Z\t%02X\tunknown\t/CN=x\n" % n for n in serials))
        with open(os.path.join(folder, "number"), "w") as f:
            f.write("01\n")
        with open(os.path.join(folder, "c.cnf"), "w") as f:
            f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index.txt\ncrlnumber=%s/number\ndefault_md=sha256\n" % (folder, folder))
        run("ca", "-gencrl", "-config", os.path.join(folder, "c.cnf"), "-keyfile", self.key, "-cert", self.pem,
            "-crl_lastupdate", start, "-crl_nextupdate", end, "-out", out + ".new")
        os.rename(out + ".new", out)
        return out
