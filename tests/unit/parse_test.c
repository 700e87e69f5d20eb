/* SPDX-License-Identifier: Apache-2.0 */
#include "http/parse.h"
#include "lib/mem.h"
#include "test.h"

static enum parse whole(struct http_parser *p, enum parse_kind kind, struct str bytes)
{
    http_parser_init(p, kind, NULL);
    return http_parse(p, bytes.at, bytes.len);
}

/* Byte by byte, each time in a fresh block of just that size, so that AddressSanitizer sees a byte read too far. */
static enum parse dribbled(struct http_parser *p, enum parse_kind kind, struct str bytes)
{
    enum parse r = PARSE_MORE;

    http_parser_init(p, kind, NULL);
    for (size_t n = 1; n <= bytes.len && r == PARSE_MORE; n++) {
        char *copy = mem_alloc(n);
        memcpy(copy, bytes.at, n);
        r = http_parse(p, copy, n);
        mem_free(copy);
    }
    return r;
}

/* What both ways of feeding find; FAULT_COUNT: more is wanted. */
static enum http_fault fault_of(enum parse_kind kind, struct str bytes)
{
    struct http_parser a, b;
    enum parse r = whole(&a, kind, bytes), s = dribbled(&b, kind, bytes);

    EXPECT_EQ(s, r);
    EXPECT_EQ(b.fault, a.fault);
    EXPECT_EQ(b.head_len, a.head_len);
    EXPECT_EQ(b.body, a.body);
    return r == PARSE_MORE ? FAULT_COUNT : r == PARSE_OK ? FAULT_NONE : (enum http_fault)a.fault;
}

struct row {
    struct str bytes;
    enum http_fault fault;
};

static void check_rows(enum parse_kind kind, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        test_row("%zu: %.*s", i, (int)(rows[i].bytes.len < 100 ? rows[i].bytes.len : 100), rows[i].bytes.at);
        EXPECT_EQ(fault_of(kind, rows[i].bytes), rows[i].fault);
    }
}

#define CHECK(KIND, ROWS) check_rows(KIND, ROWS, sizeof(ROWS) / sizeof((ROWS)[0]))
#define H "Host: gw.test\r\n"
#define HEAD "GET / HTTP/1.1\r\n" H

TEST(request_lines)
{
    static const struct row rows[] = {
        {STR("GET / HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("\r\nGET / HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"), FAULT_NOT_HTTP},
        {STR("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"), FAULT_PROXY_HEADER},
        {STR("\r\n\r\n\0\r\nQUIZ"), FAULT_NOT_HTTP},
        {STR("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n" H "\r\n"), FAULT_PROXY_HEADER},
        {STR("PROXY UNKNOWN\r\n"), FAULT_PROXY_HEADER},
        {STR("PROXY / HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("\nGET / HTTP/1.1\r\n" H "\r\n"), FAULT_LINE_END},
        {STR("\rGET / HTTP/1.1\r\n" H "\r\n"), FAULT_LINE_END},
        {STR("GET / HTTP/1.0\r\n\r\n"), FAULT_NONE},
        {STR("get / HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("M-SEARCH! / HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("GET  / HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /  HTTP/1.1\r\n" H "\r\n"), FAULT_VERSION_SYNTAX},
        {STR(" GET / HTTP/1.1\r\n" H "\r\n"), FAULT_METHOD},
        {STR("GET\t/ HTTP/1.1\r\n" H "\r\n"), FAULT_METHOD},
        {STR("(GET) / HTTP/1.1\r\n" H "\r\n"), FAULT_METHOD},
        {STR("G@T / HTTP/1.1\r\n" H "\r\n"), FAULT_METHOD},
        {STR("\x16\x03\x01\x02"), FAULT_NOT_HTTP},
        {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), FAULT_NOT_HTTP},
        {STR("PRI / HTTP/1.1\r\n" H "\r\n"), FAULT_NOT_HTTP},
        {STR("PRI http://h/ HTTP/1.0\r\n\r\n"), FAULT_NOT_HTTP},
        {STR("PRIX / HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("GET / HTTP/1.1 \r\n" H "\r\n"), FAULT_VERSION_SYNTAX},
        {STR("GET / HTTP/1.1x\r\n" H "\r\n"), FAULT_VERSION_SYNTAX},
        {STR("GET / http/1.1\r\n" H "\r\n"), FAULT_VERSION_SYNTAX},
        {STR("GET / HTTP/1.10\r\n" H "\r\n"), FAULT_VERSION_SYNTAX},
        {STR("GET / HTTP/1.2\r\n" H "\r\n"), FAULT_VERSION},
        {STR("GET / HTTP/0.9\r\n" H "\r\n"), FAULT_VERSION},
        {STR("GET / HTTP/2.0\r\n" H "\r\n"), FAULT_VERSION},
        {STR("GET / HTTP/1.1\n" H "\r\n"), FAULT_LINE_END},
        {STR("GET / HTTP/1.1\r\r\n" H "\r\n"), FAULT_LINE_END},
        {STR("GET /\r\n" H "\r\n"), FAULT_VERSION_SYNTAX},
        {STR("GET /\n"), FAULT_LINE_END},
        {STR("CONNECT gw.test:443 HTTP/1.1\r\n" H "\r\n"), FAULT_METHOD_REFUSED},
        {STR("TRACE / HTTP/1.1\r\n" H "\r\n"), FAULT_METHOD_REFUSED},
        {STR("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n"), FAULT_METHOD_REFUSED},
        {STR("GET / HTTP/1.1\r\n" H), FAULT_COUNT},
        {STR("GET / HTTP/1.1\r\n" H "\r"), FAULT_COUNT},
    };
    CHECK(PARSE_REQUEST, rows);
}

TEST(targets)
{
    static const struct row rows[] = {
        {STR("GET /a/b?c=d&e[]=f|{} HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("GET /a%20b?c=%C3%A9 HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("GET /a%2 HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a%zz HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a?b=% HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a#b HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a?b#c HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a[ HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a\\b HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a\"b HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET /a\x7f HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET a HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET gw.test:80 HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET * HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("OPTIONS * HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("OPTIONS *x HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET http://gw.test/a HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("GET HTTP://GW.test/a HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("GET https://gw.test:443?a HTTP/1.1\r\n" H "\r\n"), FAULT_NONE},
        {STR("GET http://gw.test:443/ HTTP/1.1\r\n" H "\r\n"), FAULT_HOST_MISMATCH},
        {STR("GET http://evil.test/ HTTP/1.1\r\n" H "\r\n"), FAULT_HOST_MISMATCH},
        {STR("GET http://gw.test/ HTTP/1.1\r\n\r\n"), FAULT_HOST_MISSING},
        {STR("GET http://u@gw.test/ HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET http:///a HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET http://[::1/a HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET ftp://gw.test/ HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
        {STR("GET http:/gw.test/ HTTP/1.1\r\n" H "\r\n"), FAULT_TARGET},
    };
    CHECK(PARSE_REQUEST, rows);
}

TEST(field_lines)
{
    static const struct row rows[] = {
        {STR(HEAD "A:b\r\nC: \t d \t\r\nE:\r\nF: \r\n\r\n"), FAULT_NONE},
        {STR(HEAD "A: caf\xc3\xa9\r\n\r\n"), FAULT_NONE},
        {STR(HEAD "A: b\n\r\n"), FAULT_LINE_END},
        {STR(HEAD "A: b\r\n\n"), FAULT_LINE_END},
        {STR(HEAD "A: b\rc\r\n\r\n"), FAULT_LINE_END},
        {STR(HEAD "A: b\r\r\n\r\n"), FAULT_LINE_END},
        {STR(HEAD "A: b\x00" "c\r\n\r\n"), FAULT_FIELD_VALUE},
        {STR(HEAD "A: b\x01" "c\r\n\r\n"), FAULT_FIELD_VALUE},
        {STR(HEAD "A: 0123456789abcdef0123456789\x7f" "c\r\n\r\n"), FAULT_FIELD_VALUE},
        {STR(HEAD "A : b\r\n\r\n"), FAULT_FIELD_SPACE},
        {STR(HEAD "A\t: b\r\n\r\n"), FAULT_FIELD_SPACE},
        {STR(HEAD "A B: c\r\n\r\n"), FAULT_FIELD_SPACE},
        {STR(HEAD "A: b\r\n c\r\n\r\n"), FAULT_FOLD},
        {STR("GET / HTTP/1.1\r\n " H "\r\n"), FAULT_FOLD},
        {STR(HEAD ": b\r\n\r\n"), FAULT_FIELD_NAME},
        {STR(HEAD "A\r\n\r\n"), FAULT_FIELD_NAME},
        {STR(HEAD "A(: b\r\n\r\n"), FAULT_FIELD_NAME},
        {STR(HEAD "A\x80: b\r\n\r\n"), FAULT_FIELD_NAME},
        {STR(HEAD "A\n: b\r\n\r\n"), FAULT_LINE_END},
        {STR(HEAD "Authorization: a\r\nauthorization: b\r\n\r\n"), FAULT_CREDENTIALS_MANY},
        {STR(HEAD "Cookie: a\r\nCookie: b\r\n\r\n"), FAULT_NONE},
    };
    CHECK(PARSE_REQUEST, rows);
}

TEST(hosts)
{
    static const struct row rows[] = {
        {STR("GET / HTTP/1.1\r\n\r\n"), FAULT_HOST_MISSING},
        {STR("GET / HTTP/1.1\r\n" H H "\r\n"), FAULT_HOST_MANY},
        {STR("GET / HTTP/1.0\r\n" H H "\r\n"), FAULT_HOST_MANY},
        {STR("GET / HTTP/1.1\r\nHost:\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n"), FAULT_NONE},
        {STR("GET / HTTP/1.1\r\nHost: a:\r\n\r\n"), FAULT_NONE},
        {STR("GET / HTTP/1.1\r\nHost: a.\r\n\r\n"), FAULT_NONE},
        {STR("GET / HTTP/1.1\r\nHost: a-b.c.d:65535\r\n\r\n"), FAULT_NONE},
        {STR("GET / HTTP/1.1\r\nHost: a-b.c.d:65536\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a:0\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a:8:8\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a:8.8\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: :80\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: .a\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a..b\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a..:80\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), FAULT_NONE},
        {STR("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), FAULT_HOST_SYNTAX},
        {STR("GET / HTTP/1.1\r\nHost: a.very.long.name.of.a.host.example:8080\r\n\r\n"), FAULT_NONE},
    };
    CHECK(PARSE_REQUEST, rows);
}

TEST(framing_that_two_could_read_differently)
{
    static const struct row rows[] = {
        {STR(HEAD "Content-Length: 5\r\n\r\n"), FAULT_NONE},
        {STR(HEAD "Content-Length: 9223372036854775807\r\n\r\n"), FAULT_NONE},
        {STR(HEAD "Content-Length: 9223372036854775808\r\n\r\n"), FAULT_LENGTH},
        {STR(HEAD "Content-Length: 18446744073709551621\r\n\r\n"), FAULT_LENGTH},
        {STR(HEAD "Content-Length: +5\r\n\r\n"), FAULT_LENGTH},
        {STR(HEAD "Content-Length: 5, 5\r\n\r\n"), FAULT_LENGTH},
        {STR(HEAD "Content-Length: 0x5\r\n\r\n"), FAULT_LENGTH},
        {STR(HEAD "Content-Length:\r\n\r\n"), FAULT_LENGTH},
        {STR(HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), FAULT_LENGTH_MANY},
        {STR(HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), FAULT_LENGTH_AND_ENCODING},
        {STR(HEAD "Transfer-Encoding:\tChunked \r\n\r\n"), FAULT_NONE},
        {STR(HEAD "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n"), FAULT_ENCODING_MANY},
        {STR(HEAD "Transfer-Encoding: gzip\r\n\r\n"), FAULT_ENCODING},
        {STR(HEAD "Transfer-Encoding: xchunked\r\n\r\n"), FAULT_ENCODING},
        {STR(HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n"), FAULT_ENCODING},
        {STR(HEAD "Transfer-Encoding: chunked, gzip\r\n\r\n"), FAULT_ENCODING_SYNTAX},
        {STR(HEAD "Transfer-Encoding: chunked, chunked\r\n\r\n"), FAULT_ENCODING_SYNTAX},
        {STR(HEAD "Transfer-Encoding: chunked,\r\n\r\n"), FAULT_ENCODING_SYNTAX},
        {STR(HEAD "Transfer-Encoding: chunked;a=b\r\n\r\n"), FAULT_ENCODING_SYNTAX},
        {STR(HEAD "Transfer-Encoding: \"chunked\"\r\n\r\n"), FAULT_ENCODING_SYNTAX},
        {STR(HEAD "Transfer-Encoding:\r\n\r\n"), FAULT_ENCODING_SYNTAX},
        {STR(HEAD "Transfer-Encoding: ch\xfanked\r\n\r\n"), FAULT_ENCODING_SYNTAX},
        {STR("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), FAULT_ENCODING_10},
        {STR(HEAD "Expect: 100-Continue\r\n\r\n"), FAULT_NONE},
        {STR(HEAD "Expect: 200-ok\r\n\r\n"), FAULT_EXPECT},
        {STR(HEAD "Expect: 100-continue, x\r\n\r\n"), FAULT_EXPECT},
    };
    CHECK(PARSE_REQUEST, rows);
}

TEST(what_a_request_says)
{
    struct http_parser p;
    struct str s = STR("POST http://Gw.test:80/a?b HTTP/1.1\r\nhost: gw.TEST\r\nTE: gzip, "
        "trailers\r\nContent-Length: 12\r\n"
                       "Expect: 100-continue\r\nConnection: a, keep-alive\r\n\r\nbody");
    if (!EXPECT_EQ(whole(&p, PARSE_REQUEST, s), PARSE_OK))
        return;
    EXPECT_STR(str_of(s.at + p.start, p.method_len), "POST");
    EXPECT_STR(str_of(s.at + p.target_at, p.target_len), "http://Gw.test:80/a?b");
    EXPECT_STR(str_of(s.at + p.host_at, p.host_len), "Gw.test:80");
    EXPECT_STR(str_of(s.at + p.path_at, p.path_len), "/a?b");
    EXPECT_STR(str_of(s.at + p.head_len, s.len - p.head_len), "body");
    EXPECT_EQ(p.body, BODY_LENGTH);
    EXPECT_EQ(p.content_length, 12);
    EXPECT_EQ(p.n, 5);
    EXPECT(p.absolute && p.te_trailers && p.expect_continue && p.keep_alive && !p.upgrade);
}

TEST(connections)
{
    static const struct {
        struct str bytes;
        bool keep_alive, upgrade, expect;
    } rows[] = {
        {STR(HEAD "\r\n"), true, false, false},
        {STR(HEAD "Connection: Close\r\n\r\n"), false, false, false},
        {STR(HEAD "Connection: keep-alive\r\nConnection: x, close\r\n\r\n"), false, false, false},
        {STR("GET / HTTP/1.0\r\n\r\n"), false, false, false},
        {STR("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), true, false, false},
        {STR("GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n"), false, false, false},
        {STR(HEAD "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), true, true, false},
        {STR(HEAD "Upgrade: websocket\r\n\r\n"), true, false, false},
        {STR(HEAD "Connection: upgrade\r\n\r\n"), true, false, false},
        {STR(HEAD "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"), true, false, false},
        {STR(HEAD "Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n\r\n"), true, false, false},
        {STR(HEAD "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n"), true, false, false},
        {STR("GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n"), true, false, false},
        {STR(HEAD "Expect: 100-continue\r\n\r\n"), true, false, false},
        {STR(HEAD "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"), true, false, false},
        {STR(HEAD "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"), true, false, true},
        {STR("GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"), false, false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_parser p;
        test_row("%zu", i);
        EXPECT_EQ(whole(&p, PARSE_REQUEST, rows[i].bytes), PARSE_OK);
        EXPECT_EQ(p.keep_alive, rows[i].keep_alive);
        EXPECT_EQ(p.upgrade, rows[i].upgrade);
        EXPECT_EQ(p.expect_continue, rows[i].expect);
    }
}

TEST(status_lines)
{
    static const struct row rows[] = {
        {STR("HTTP/1.1 200 OK\r\n\r\n"), FAULT_NONE},
        {STR("HTTP/1.1 200 \r\n\r\n"), FAULT_NONE},
        {STR("HTTP/1.1 200\r\n\r\n"), FAULT_NONE},
        {STR("HTTP/1.0 599 caf\xc3\xa9 x\r\n\r\n"), FAULT_NONE},
        {STR("HTTP/1.1 600 OK\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1 099 OK\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1 20 OK\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1 2000 OK\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1  200 OK\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1\t200 OK\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1 200\tOK\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1 200 O\x01K\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1\r\n\r\n"), FAULT_STATUS},
        {STR("HTTP/1.1 200 OK\n\r\n"), FAULT_LINE_END},
        {STR("HTTP/1.1 200\n"), FAULT_LINE_END},
        {STR("HTTP/2.0 200 OK\r\n\r\n"), FAULT_VERSION},
        {STR("HTTP/1.2 200 OK\r\n\r\n"), FAULT_VERSION},
        {STR("http/1.1 200 OK\r\n\r\n"), FAULT_NOT_HTTP},
        {STR("ICY 200 OK\r\n\r\n"), FAULT_NOT_HTTP},
        {STR("\r\nHTTP/1.1 200 OK\r\n\r\n"), FAULT_NOT_HTTP},
        {STR("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"), FAULT_LENGTH_MANY},
        {STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), FAULT_LENGTH_AND_ENCODING},
        {STR("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), FAULT_ENCODING_10},
        {STR("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"), FAULT_FOLD},
        {STR("HTTP/1.1 200 OK\r\nHost: a, b\r\nExpect: x\r\n\r\n"), FAULT_NONE},
    };
    CHECK(PARSE_RESPONSE, rows);
}

TEST(response_bodies)
{
    static const struct {
        struct str bytes;
        enum body_kind body, to_head;
        bool keep_alive, upgrade;
    } rows[] = {
        {STR("HTTP/1.1 200 OK\r\n\r\n"), BODY_UNTIL_CLOSE, BODY_NONE, true, false},
        {STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), BODY_LENGTH, BODY_NONE, true, false},
        {STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n"), BODY_CHUNKED, BODY_NONE, true, false},
        {STR("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), BODY_NONE, BODY_NONE, true, false},
        {STR("HTTP/1.1 204 No Content\r\n\r\n"), BODY_NONE, BODY_NONE, true, false},
        {STR("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n"), BODY_NONE, BODY_NONE, false, false},
        {STR("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"), BODY_NONE, BODY_NONE, false, false},
        {STR("HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\n"), BODY_NONE, BODY_NONE, true, false},
        {STR("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), BODY_NONE, BODY_NONE, true, true},
        {STR("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n"), BODY_NONE, BODY_NONE, true, false},
        {STR("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"), BODY_NONE, BODY_NONE, true, false},
        {STR("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"), BODY_LENGTH, BODY_NONE, false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_parser p;
        test_row("%zu", i);
        EXPECT_EQ(whole(&p, PARSE_RESPONSE, rows[i].bytes), PARSE_OK);
        EXPECT_EQ(http_response_body(&p, false), rows[i].body);
        EXPECT_EQ(http_response_body(&p, true), rows[i].to_head);
        EXPECT_EQ(p.keep_alive, rows[i].keep_alive);
        EXPECT_EQ(p.upgrade, rows[i].upgrade);
    }
}

TEST(response_head)
{
    struct http_parser p;
    struct http_head h;
    struct arena arena;
    struct str s = STR("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n");

    arena_init(&arena, NULL);
    EXPECT_EQ(whole(&p, PARSE_RESPONSE, s), PARSE_OK);
    http_parser_head(&p, s.at, &arena, &h);
    EXPECT_EQ(h.status, 404);
    EXPECT_STR(h.reason, "Not Found");
    EXPECT_STR(http_head_get(&h, STR("a")), "b");
    arena_fini(&arena);
}

TEST(values_have_no_space_around)
{
    static const char *const lines[] = {"A: b c\r\n", "A:b c\r\n", "A:  b c\r\n", "A: b c \r\n", "A:\tb c\t \r\n"};

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[100];
        struct http_parser p, q;
        test_row("%zu", i);
        struct str s = str_of(text, (size_t)snprintf(text, sizeof(text), HEAD "%s\r\n", lines[i]));
        EXPECT_EQ(whole(&p, PARSE_REQUEST, s), PARSE_OK);
        EXPECT_EQ(dribbled(&q, PARSE_REQUEST, s), PARSE_OK);
        EXPECT_STR(str_of(text + p.fields[1].at + p.fields[1].value_off, p.fields[1].value_len), "b c");
        EXPECT_STR(str_of(text + q.fields[1].at + q.fields[1].value_off, q.fields[1].value_len), "b c");
        EXPECT_EQ(p.fields[1].line_len, strlen(lines[i]));
    }
}

TEST(trailers)
{
    static const struct row rows[] = {
        {STR("\r\n"), FAULT_NONE},
        {STR("A: b\r\nC: d\r\n\r\n"), FAULT_NONE},
        {STR("A: b\n\r\n"), FAULT_LINE_END},
        {STR("A\r\n\r\n"), FAULT_FIELD_NAME},
        {STR(" A: b\r\n\r\n"), FAULT_FOLD},
        {STR("GET / HTTP/1.1\r\n\r\n"), FAULT_FIELD_SPACE},
        {STR("XX"), FAULT_COUNT},
    };
    CHECK(PARSE_TRAILERS, rows);

    struct http_parser p;
    EXPECT_EQ(whole(&p, PARSE_TRAILERS, STR("X-T: v\r\nContent-Length: 9, 9\r\nContent_Length: 1\r\n\r\n")), PARSE_OK);
    EXPECT_EQ(p.n, 3);
    EXPECT(!p.fields[0].dropped && p.fields[1].dropped && p.fields[2].dropped);
}

TEST(aliases_of_known_names_are_dropped)
{
    struct http_parser p;
    struct str s = STR(HEAD "X_Forwarded_For: 1\r\nContent.Length: 5\r\nX-Forwarded_Anything: 1\r\nX_Mine: 1\r\n\r\n");

    EXPECT_EQ(whole(&p, PARSE_REQUEST, s), PARSE_OK);
    EXPECT(!p.fields[0].dropped && p.fields[1].dropped && p.fields[2].dropped && p.fields[3].dropped);
    EXPECT(!p.fields[4].dropped);
    EXPECT_EQ(p.body, BODY_NONE);
    EXPECT_EQ(dribbled(&p, PARSE_REQUEST, s), PARSE_OK);
    EXPECT(p.fields[1].dropped && !p.fields[4].dropped);
}

static struct http_limits small(uint32_t head, uint32_t target, uint16_t fields)
{
    return (struct http_limits){.head = head, .target = target, .fields = fields};
}

static enum http_fault limited(enum parse_kind kind, struct str s, struct http_limits limits)
{
    struct http_parser p;
    http_parser_init(&p, kind, &limits);
    enum parse r = http_parse(&p, s.at, s.len);
    return r == PARSE_MORE ? FAULT_COUNT : r == PARSE_OK ? FAULT_NONE : (enum http_fault)p.fault;
}

TEST(limits)
{
    struct str s = STR("GET /456789 HTTP/1.1\r\n" H "\r\n");

    EXPECT_EQ(limited(PARSE_REQUEST, s, small((uint32_t)s.len, 99, 9)), FAULT_NONE);
    EXPECT_EQ(limited(PARSE_REQUEST, s, small((uint32_t)s.len - 1, 99, 9)), FAULT_HEAD_LONG);
    EXPECT_EQ(limited(PARSE_REQUEST, str_of(s.at, 30), small(30, 99, 9)), FAULT_HEAD_LONG);
    EXPECT_EQ(limited(PARSE_REQUEST, str_of(s.at, 30), small(31, 99, 9)), FAULT_COUNT);
    EXPECT_EQ(limited(PARSE_REQUEST, s, small(999, 7, 9)), FAULT_NONE);
    EXPECT_EQ(limited(PARSE_REQUEST, s, small(999, 6, 9)), FAULT_TARGET_LONG);
    EXPECT_EQ(limited(PARSE_REQUEST, s, small(999, 99, 1)), FAULT_NONE);
    EXPECT_EQ(limited(PARSE_REQUEST, s, small(999, 99, 0)), FAULT_FIELDS_MANY);
    EXPECT_EQ(limited(PARSE_TRAILERS, STR("A: b\r\nC: d\r\n\r\n"), small(10, 0, 9)), FAULT_TRAILER);
    EXPECT_EQ(limited(PARSE_TRAILERS, STR("A: b\r\nC: d\r\n\r\n"), small(99, 0, 1)), FAULT_TRAILER);
    /* A fault behind the limit is none: the head is too long before it. */
    EXPECT_EQ(limited(PARSE_REQUEST, STR("GET /456789# HTTP/1.1\r\n"), small(999, 6, 9)), FAULT_TARGET_LONG);
    EXPECT_EQ(limited(PARSE_REQUEST, STR("GET / HTTP/1.1\r\nA\x01"), small(16, 6, 9)), FAULT_HEAD_LONG);
}

TEST(a_connection_list_is_bounded)
{
    char head[1000];
    int n = snprintf(head, sizeof(head), HEAD "Connection: ");
    for (int i = 0; i < 101; i++, n += 2)
        memcpy(head + n, "a,", 2);
    n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n\r\n");
    EXPECT_EQ(fault_of(PARSE_REQUEST, str_of(head, (size_t)n)), FAULT_CONNECTION);
}
