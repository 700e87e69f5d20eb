# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client by RFC 6455, no more than the tests need."""

import base64
import hashlib
import os
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def handshake(peer, path="/ws", host="test.example"):
    key = base64.b64encode(os.urandom(16))
    peer.send(b"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
              b"Sec-WebSocket-Key: %s\r\n\r\n" % (path.encode(), host.encode(), key))
    m = peer.read_response()
    assert m.status == 101, (m.first, m.fields, m.body)
    assert m.get("upgrade").lower() == "websocket" and m.get("connection").lower() == "upgrade", m.fields
    wanted = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    assert m.get("sec-websocket-accept") == wanted, m.fields
    return m


def frame(op, payload=b"", fin=True, mask=None):
    mask = os.urandom(4) if mask is None else mask
    n = len(payload)
    head = bytes([(0x80 if fin else 0) | op])
    if n < 126:
        head += bytes([0x80 | n])
    elif n < 65536:
        head += bytes([0x80 | 126]) + struct.pack(">H", n)
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", n)
    key = int.from_bytes((mask * (n // 4 + 1))[:n], "little")
    return head + mask + (int.from_bytes(payload, "little") ^ key).to_bytes(n, "little")


def read_frame(peer):
    """(fin, opcode, payload)"""
    a, b = peer.take(2)
    assert not b & 0x80, "a server's frame is masked"
    n = b & 0x7f
    if n == 126:
        n, = struct.unpack(">H", peer.take(2))
    elif n == 127:
        n, = struct.unpack(">Q", peer.take(8))
    return bool(a & 0x80), a & 0x7f, peer.take(n)
