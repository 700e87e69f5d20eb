#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Request heads that weir accepts and llhttp refuses, shown to h11: what it refuses too, weir should not have accepted.

    judge.py FOLDER      one head in each file (tests/fuzz/llhttp_fuzz.c writes them); 1 if weir stands alone with one
"""
import os, sys

import h11


def refusal(head):
    """Why h11 will have none of it; None: it accepts."""
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        conn.receive_data(head)
        event = conn.next_event()
    except h11.RemoteProtocolError as e:
        return str(e)
    return None if isinstance(event, h11.Request) else f"not a whole head: {event}"


def main():
    folder, bad = sys.argv[1], {}
    names = sorted(os.listdir(folder))
    for name in names:
        with open(os.path.join(folder, name), "rb") as f:
            head = f.read()
        why = refusal(head)
        if why:
            bad.setdefault(why, []).append((len(head), head))
    for why, heads in bad.items():
        print(f"accepted by weir alone, {len(heads)} times; h11 says: {why}\n  {min(heads)[1][:400]!r}")
    print(f"{len(names)} heads that llhttp refuses: h11 accepts {len(names) - sum(map(len, bad.values()))}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
