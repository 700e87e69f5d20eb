/* SPDX-License-Identifier: Apache-2.0 */
#include "forward.h"

#include "http/parse.h"
#include "http/uri.h"
#include "test.h"

/* A parsed request: GET / with the given lines, each with its CRLF. */
struct fixture {
    struct arena arena;
    struct http_parser parser;
    struct http_head head;
    struct cidrs trusted;
    char raw[40000];
};

static struct fixture fx;

static bool begin(const char *lines)
{
    arena_init(&fx.arena, NULL);
    int len = snprintf(fx.raw, sizeof(fx.raw), "GET / HTTP/1.1\r\nHost: a.example\r\n%s\r\n", lines);
    http_parser_init(&fx.parser, PARSE_REQUEST, &http_limits_default);
    if (!EXPECT_EQ(http_parse(&fx.parser, fx.raw, (size_t)len), PARSE_OK))
        return false;
    http_parser_head(&fx.parser, fx.raw, &fx.arena, &fx.head);
    return true;
}

static void end(void) { arena_fini(&fx.arena); }

static struct ip ip(const char *text)
{
    struct ip ip = {.family = 0};
    if (strcmp(text, "unix") != 0)
        EXPECT(ip_parse(str_c(text), &ip));
    return ip;
}

static struct forward_peer peer_of(const char *text)
{
    struct forward_peer peer;
    struct ip at = ip(text);
    forward_peer_init(&peer, &at);
    return peer;
}

static struct cidrs trust(const char *const *nets)
{
    static struct cidr v[8];
    struct cidrs c = {.v = v, .n = 0};
    for (; nets[c.n]; c.n++)
        EXPECT(cidr_parse(str_c(nets[c.n]), &v[c.n]));
    return c;
}

static const char *const lan[] = {"10.0.0.0/8", "fd00::/8", NULL};

TEST(the_caller_is_the_last_one_that_no_trusted_proxy_vouches_for)
{
    static const struct { const char *peer, *lines, *client; } rows[] = {
        {"9.9.9.9", "", "9.9.9.9"},
        {"9.9.9.9", "X-Forwarded-For: 1.1.1.1\r\n", "9.9.9.9"},                 /* spoofed */
        {"9.9.9.9", "Forwarded: for=1.1.1.1\r\n", "9.9.9.9"},
        {"unix", "X-Forwarded-For: 1.1.1.1\r\n", "unix"},
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1\r\n", "1.1.1.1"},       /* the left one is the caller's word */
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1, 10.0.0.2,10.0.0.3\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\nA: b\r\nX-Forwarded-For: 10.0.0.2\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3"},    /* all of them are ours */
        {"10.0.0.1", "X-Forwarded-For: junk, 1.1.1.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1, junk\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1, junk, 10.0.0.2\r\n", "10.0.0.2"},
        {"10.0.0.1", "X-Forwarded-For: ,,[::1]:x,\"a\",unknown\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: , 1.1.1.1 ,\t,\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For:\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1:4711\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1:99999\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1:\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"},
        {"10.0.0.1", "X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1"},
        {"10.0.0.1", "X-Forwarded-For: [2001:db8::1]:443\r\n", "2001:db8::1"},
        {"10.0.0.1", "X-Forwarded-For: [2001:db8::1\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: [2001:db8::1]443\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: [1.1.1.1]\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: []\r\n", "10.0.0.1"},
        {"10.0.0.1", "X-Forwarded-For: ::ffff:1.1.1.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "X-Forwarded-For: 01.1.1.1\r\n", "10.0.0.1"},
        {"10.0.0.1", "X_Forwarded_For: 1.1.1.1\r\n", "10.0.0.1"},
        {"fd00::1", "X-Forwarded-For: 2001:db8::7, fd00::2\r\n", "2001:db8::7"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=2.2.2.2\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: for=1.1.1.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: for=\"1.1.1.1\"\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: FOR=1.1.1.1;proto=https;by=10.0.0.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: proto=https ; for=1.1.1.1 ; host=\"a,b;c\"\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: for=6.6.6.6, for=1.1.1.1, for=10.0.0.3\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: for=\"[2001:db8::1]:4711\"\r\n", "2001:db8::1"},
        {"10.0.0.1", "Forwarded: for=\"1.1.1.1:_port\"\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: for=unknown\r\n", "10.0.0.1"},
        {"10.0.0.1", "Forwarded: for=_hidden, for=10.0.0.2\r\n", "10.0.0.2"},
        {"10.0.0.1", "Forwarded: proto=https\r\n", "10.0.0.1"},
        {"10.0.0.1", "Forwarded: for=1.1.1.1;for=2.2.2.2\r\n", "10.0.0.1"},
        {"10.0.0.1", "Forwarded: for\r\n", "10.0.0.1"},
        {"10.0.0.1", "Forwarded: for=\"1.1.1.1\r\n", "10.0.0.1"},
        {"10.0.0.1", "Forwarded: for=\"1.1.1.1\\\"\r\n", "10.0.0.1"},
        {"10.0.0.1", "Forwarded: for=\"1.1.1.1\"x\r\n", "10.0.0.1"},
        /* A caller's odd quote cannot swallow what the trusted proxy wrote behind it. */
        {"10.0.0.1", "Forwarded: for=\"x, for=1.1.1.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: for=\"x\r\nForwarded: for=1.1.1.1\r\n", "1.1.1.1"},
        {"10.0.0.1", "Forwarded: for=\"x\\, for=\"[2001:db8::1]\"\r\n", "2001:db8::1"},
        {"10.0.0.1", "Forwarded: host=\"a\\\",for=6.6.6.6,\\\"b\";for=1.1.1.1\r\n", "1.1.1.1"},
    };
    struct cidrs trusted = trust(lan);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%s: %s", rows[i].peer, rows[i].lines);
        struct ip peer = ip(rows[i].peer), client;
        char out[IP_TEXT];
        if (begin(rows[i].lines)) {
            forward_client_ip(&fx.head, &peer, &trusted, &client);
            EXPECT_STR(str_of(out, ip_format(&client, out)), rows[i].client);
        }
        end();
    }
}

TEST(without_trusted_proxies_nobody_is_believed)
{
    struct cidrs none = {.n = 0};
    struct ip peer = ip("10.0.0.1"), client;
    if (begin("X-Forwarded-For: 1.1.1.1\r\n")) {
        forward_client_ip(&fx.head, &peer, &none, &client);
        EXPECT(ip_eq(&client, &peer));
    }
    end();
}

TEST(the_walk_ends_after_32_hops)
{
    struct cidrs trusted = trust(lan);
    struct ip peer = ip("10.0.0.1"), client;
    char lines[4000] = "X-Forwarded-For: 1.1.1.1", out[IP_TEXT];
    size_t len = strlen(lines);
    for (int i = 0; i < 200; i++)
        len += (size_t)snprintf(lines + len, sizeof(lines) - len, ",10.0.1.%d", i);
    snprintf(lines + len, sizeof(lines) - len, "\r\n");
    if (begin(lines)) {
        forward_client_ip(&fx.head, &peer, &trusted, &client);
        EXPECT_STR(str_of(out, ip_format(&client, out)), "10.0.1.168");
    }
    end();
}

/* What stays of the lines that came, in order, as "name: value\n". */
static void left_over(char *out, size_t cap)
{
    unsigned at = 0;
    struct str name, value;
    size_t len = 0;
    out[0] = '\0';
    while (http_head_next(&fx.head, &at, &name, &value))
        if (!str_eq_nocase(name, STR("host")))
            len += (size_t)snprintf(out + len, cap - len, STR_FMT ": " STR_FMT "\n", STR_ARG(name), STR_ARG(value));
}

#define VIA "Via: 1.1 weir\r\n"
#define OURS_9 VIA "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n" \
    "Forwarded: for=9.9.9.9;host=a.example;proto=http\r\n"

static const struct {
    const char *peer, *host, *lines, *block, *left;
} heads[] = {
    {"9.9.9.9", "a.example", "", OURS_9, ""},
    {"9.9.9.9", "a.example", "Accept: */*\r\nx-custom: 1\r\n", OURS_9, "Accept: */*\nx-custom: 1\n"},
    /* Whatever a stranger says is replaced, in every spelling. */
    {"9.9.9.9", "a.example",
     "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
     "Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Port: 1\r\nx-forwarded-prefix: /x\r\n"
     "X-Forwarded-Server: s\r\nX_Forwarded_For: 1.1.1.1\r\nX.Forwarded.For: 1.1.1.1\r\nX_Real_IP: 1.1.1.1\r\n"
     "X_Forwarded_Proto: https\r\nX-Forwarded_Host: h\r\nContent_Length: 41\r\nX-Forwarded: no\r\n",
     OURS_9, "X-Forwarded: no\n"},
    {"9.9.9.9", "a.example", "Via: 1.0 fred\r\n", OURS_9, "Via: 1.0 fred\n"},
    {"9.9.9.9", "a.example:8080", "",
     VIA "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example:8080\r\n"
     "Forwarded: for=9.9.9.9;host=\"a.example:8080\";proto=http\r\n", ""},
    {"2001:DB8::0:1", "[::1]:80", "",
     VIA "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: [::1]:80\r\n"
     "Forwarded: for=\"[2001:db8::1]\";host=\"[::1]:80\";proto=http\r\n", ""},
    {"9.9.9.9", NULL, "",
     VIA "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: http\r\nForwarded: for=9.9.9.9;proto=http\r\n", ""},
    {"unix", "a.example", "X-Forwarded-For: 1.1.1.1\r\n",
     VIA "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n"
     "Forwarded: for=unknown;host=a.example;proto=http\r\n", ""},
    /* A trusted peer that says nothing. */
    {"10.0.0.1", "a.example", "",
     VIA "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n"
     "Forwarded: for=10.0.0.1;host=a.example;proto=http\r\n", ""},
    /* Its lists go on, in the dialect that it speaks. */
    {"10.0.0.1", "a.example",
     "X-Forwarded-For: 6.6.6.6\r\nA: b\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n",
     VIA "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n",
     "A: b\nX-Real-IP: 1.1.1.1\n"},
    {"10.0.0.1", "a.example", "X-Forwarded-For:\r\n",
     VIA "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n", ""},
    {"10.0.0.1", "a.example",
     "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example:444\r\nX-Forwarded-Port: 444\r\n",
     VIA "X-Forwarded-For: 10.0.0.1\r\n",
     "X-Forwarded-Proto: https\nX-Forwarded-Host: shop.example:444\nX-Forwarded-Port: 444\n"},
    {"10.0.0.1", "a.example", "X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\n",
     VIA "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n", ""},
    {"10.0.0.1", "a.example", "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\n",
     VIA "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\n", "X-Forwarded-Host: x\n"},
    {"10.0.0.1", "a.example", "Forwarded: for=1.1.1.1;proto=https\r\nForwarded: for=10.0.0.9\r\n",
     VIA "Forwarded: for=1.1.1.1;proto=https, for=10.0.0.9, for=10.0.0.1;host=a.example;proto=http\r\n", ""},
    {"10.0.0.1", "a.example", "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX_Forwarded_For: 3.3.3.3\r\n",
     VIA "X-Forwarded-For: 1.1.1.1, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n"
     "Forwarded: for=1.1.1.1, for=10.0.0.1;host=a.example;proto=http\r\n", ""},
};

TEST(what_is_added_and_what_is_dropped)
{
    struct cidrs trusted = trust(lan);
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        test_row("%zu %s: %s", i, heads[i].peer, heads[i].lines);
        struct ip peer = ip(heads[i].peer);
        struct forward_peer text = peer_of(heads[i].peer);
        struct forward_args a = {&text, forward_trusts(&trusted, &peer), false, str_c(heads[i].host)};
        char left[2000];
        /* Again for another attempt: it must say the same. */
        bool parsed = begin(heads[i].lines);
        for (int attempt = 0; parsed && attempt < 2; attempt++) {
            EXPECT_STR(forward_request(&fx.head, &fx.arena, &a), heads[i].block);
            left_over(left, sizeof(left));
            EXPECT_CSTR(left, heads[i].left);
        }
        end();
    }
}

TEST(over_tls_and_from_the_longest_address)
{
    struct forward_peer peer = peer_of("2001:db8:1111:2222:3333:4444:5555:6666");
    struct forward_args a = {&peer, false, true, STR("h")};
    if (begin(""))
        EXPECT_STR(forward_request(&fx.head, &fx.arena, &a),
                   VIA "X-Forwarded-For: 2001:db8:1111:2222:3333:4444:5555:6666\r\nX-Forwarded-Proto: https\r\n"
                   "X-Forwarded-Host: h\r\n"
                   "Forwarded: for=\"[2001:db8:1111:2222:3333:4444:5555:6666]\";host=h;proto=https\r\n");
    end();
}

/* The host stands in Forwarded without quotes when there is no ":" in it. */
TEST(an_authority_without_a_colon_is_a_token)
{
    for (int c = 1; c < 256; c++) {
        char text[] = {'a', (char)c, '4', '1'};
        struct str s = str_of(text, sizeof(text));
        test_row("%d", c);
        EXPECT(!uri_is_authority(s) || c == ':' || http_is_token(s));
    }
}

TEST(a_long_list_from_a_trusted_peer_is_kept_whole)
{
    static char lines[9000], want[9200];
    size_t n = (size_t)snprintf(lines, sizeof(lines), "X-Forwarded-For: ");
    for (int i = 0; i < 800; i++)
        n += (size_t)snprintf(lines + n, sizeof(lines) - n, "%s1.1.1.1", i ? ", " : "");
    snprintf(want, sizeof(want), VIA "%s, 10.0.0.1\r\n"
             "X-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\n", lines);
    snprintf(lines + n, sizeof(lines) - n, "\r\n");
    struct forward_peer peer = peer_of("10.0.0.1");
    struct forward_args a = {&peer, true, true, STR("h")};
    if (begin(lines))
        EXPECT_STR(forward_request(&fx.head, &fx.arena, &a), want);
    end();
}

TEST(what_a_filter_set_is_not_said_twice)
{
    struct forward_peer peer = peer_of("9.9.9.9");
    struct forward_args a = {&peer, false, false, STR("h")};
    char left[500];
    if (begin("X-Forwarded-Proto: gopher\r\n")) {
        http_head_set(&fx.head, &fx.arena, STR("x-forwarded-proto"), STR("https"));
        EXPECT_STR(forward_request(&fx.head, &fx.arena, &a),
                   VIA "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: h\r\n"
                   "Forwarded: for=9.9.9.9;host=h;proto=http\r\n");
        left_over(left, sizeof(left));
        EXPECT_CSTR(left, "x-forwarded-proto: https\n");
    }
    end();

    /* And what one took away is not brought back. */
    peer = peer_of("10.0.0.1");
    a.trusted = true;
    if (begin("X-Forwarded-For: 1.1.1.1\r\n")) {
        http_head_remove(&fx.head, STR("x-forwarded-for"));
        struct str block = forward_request(&fx.head, &fx.arena, &a);
        EXPECT(block.len && !memmem(block.at, block.len, "1.1.1.1", 7));
    }
    end();
}

TEST(via_names_the_version_that_came)
{
    struct forward_peer peer = peer_of("9.9.9.9");
    struct forward_args a = {&peer, false, false, STR("h")};
    if (begin("")) {
        fx.head.minor = 0;
        EXPECT(str_starts(forward_request(&fx.head, &fx.arena, &a), STR("Via: 1.0 weir\r\n")));
    }
    end();
    EXPECT_STR(forward_via(1), "Via: 1.1 weir\r\n");
    EXPECT_STR(forward_via(0), "Via: 1.0 weir\r\n");
}
