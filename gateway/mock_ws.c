/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A WebSocket (RFC 6455) that echoes, frame by frame: what comes as a fragment goes back as one, a ping as a pong, a close as
 * a close, which ends the connection. Payload is unmasked and sent on while it comes, so a frame may be of any size.
 */
#include "mock_conn.h"

#include <event2/event.h>
#include <openssl/evp.h>

enum { OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

static void refuse(struct mock_conn *c, const char *status)
{
    struct page p = {0};
    page_printf(&p, "HTTP/1.1 %s\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n"
                    "Connection: close\r\n\r\n", status);
    mock_put_page(c, &p);
    c->keep_alive = false;
    mock_answered(c);
}

void mock_ws_open(struct mock_conn *c, const struct http_head *head)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    struct str key = http_head_get(head, STR("sec-websocket-key"));
    char text[24 + sizeof(guid)];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char accept[EVP_MAX_MD_SIZE * 2];
    struct page p = {0};

    if (!c->parser.upgrade || !str_eq_nocase(http_head_get_id(head, HEADER_UPGRADE), STR("websocket"))) {
        refuse(c, "426 Upgrade Required");
        return;
    }
    if (!str_eq(head->method, STR("GET")) || key.len != 24 || c->request_chunked || c->body_left ||
        !str_eq(http_head_get(head, STR("sec-websocket-version")), STR("13"))) {
        refuse(c, "400 Bad Request");
        return;
    }
    memcpy(text, key.at, key.len);
    memcpy(text + key.len, guid, sizeof(guid) - 1);
    unsigned digest_len = 0;
    if (EVP_Digest(text, key.len + sizeof(guid) - 1, digest, &digest_len, EVP_sha1(), NULL) != 1) {
        refuse(c, "500 Internal Server Error");
        return;
    }
    EVP_EncodeBlock(accept, digest, (int)digest_len);
    page_printf(&p, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    mock_put_page(c, &p);
    c->ws = (struct mock_ws){0};
    c->state = MOCK_WS;
}

/* Closes with a status of RFC 6455 7.4. */
static void fail(struct mock_conn *c, unsigned status)
{
    mock_put(c, (const char[]){(char)0x88, 2, (char)(status >> 8), (char)status}, 4);
    c->keep_alive = false;
    mock_answered(c);
}

/* Bytes of the frame's head, as far as is known from those that are there. */
static unsigned head_needs(const struct mock_ws *ws)
{
    if (ws->head_len < 2)
        return 2;
    unsigned len = ws->head[1] & 0x7f, mask = ws->head[1] & 0x80 ? 4 : 0;
    return 2 + (len == 127 ? 8u : len == 126 ? 2u : 0u) + mask;
}

static bool head_is_legal(const struct mock_ws *ws)
{
    unsigned op = ws->head[0] & 15;
    bool control = op >= OP_CLOSE;
    if (ws->head[0] & 0x70 || !(ws->head[1] & 0x80))
        return false;
    if (op > OP_PONG || (op > 2 && !control))
        return false;
    return !control || (ws->head[0] & 0x80 && ws->left <= 125);
}

/* The head is whole: sends the answer's. */
static void begin_frame(struct mock_conn *c)
{
    struct mock_ws *ws = &c->ws;
    unsigned len_bytes = head_needs(ws) - 6;
    ws->left = len_bytes ? 0 : ws->head[1] & 0x7f;
    for (unsigned i = 0; i < len_bytes; i++)
        ws->left = ws->left << 8 | ws->head[2 + i];
    if (!head_is_legal(ws)) {
        fail(c, 1002);
        return;
    }
    unsigned op = ws->head[0] & 15;
    uint8_t out[10];
    memcpy(out, ws->head, 2 + len_bytes);
    out[1] &= 0x7f;
    if (op == OP_PING)
        out[0] = 0x80 | OP_PONG;
    ws->close = op == OP_CLOSE;
    ws->in_frame = true;
    ws->at = 0;
    if (op != OP_PONG)
        mock_put(c, out, 2 + len_bytes);
}

static void end_frame(struct mock_conn *c)
{
    c->ws.in_frame = false;
    c->ws.head_len = 0;
    if (c->ws.close) {
        c->keep_alive = false;
        mock_answered(c);
    }
}

static size_t take_payload(struct mock_conn *c, const char *at, size_t len)
{
    struct mock_ws *ws = &c->ws;
    const uint8_t *mask = ws->head + head_needs(ws) - 4;
    char plain[4096];
    size_t n = len < sizeof(plain) ? len : sizeof(plain);
    if (n > ws->left)
        n = (size_t)ws->left;
    for (size_t i = 0; i < n; i++)
        plain[i] = (char)((uint8_t)at[i] ^ mask[(ws->at + i) & 3]);
    ws->at = (unsigned)(ws->at + n) & 3;
    ws->left -= n;
    if ((ws->head[0] & 15) != OP_PONG)
        mock_put(c, plain, n);
    return n;
}

size_t mock_ws_data(struct mock_conn *c, const char *at, size_t len)
{
    struct mock_ws *ws = &c->ws;
    size_t used = 0;
    if (!ws->in_frame) {
        while (used < len && ws->head_len < head_needs(ws))
            ws->head[ws->head_len++] = (uint8_t)at[used++];
        if (ws->head_len < 2 || ws->head_len < head_needs(ws))
            return used;
        if (!(ws->head[1] & 0x80)) {
            fail(c, 1002);
            return used;
        }
        begin_frame(c);
    } else {
        used = take_payload(c, at, len);
    }
    if (c->state == MOCK_WS && ws->in_frame && ws->left == 0)
        end_frame(c);
    return used;
}
