/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include "http/parse.h"
#include "test.h"

static struct arena arena;

/* The head of a request with these fields. */
static struct http_head head_of(struct str bytes)
{
    struct http_parser p;
    struct http_head h = {.base = NULL};

    http_parser_init(&p, PARSE_REQUEST, NULL);
    if (EXPECT_EQ(http_parse(&p, bytes.at, bytes.len), PARSE_OK))
        http_parser_head(&p, bytes.at, &arena, &h);
    return h;
}

#define HEAD_OF(FIELDS) head_of(STR("GET /a HTTP/1.1\r\nHost: gw.test\r\n" FIELDS "\r\n"))

/* All that would be sent, as "name=value name=value". */
static struct str sent(const struct http_head *h)
{
    struct str all = STR(""), name, value;
    unsigned at = 0;

    while (http_head_next(h, &at, &name, &value))
        all = arena_printf(&arena, STR_FMT "%s" STR_FMT "=" STR_FMT, STR_ARG(all), all.len ? " " : "", STR_ARG(name),
                           STR_ARG(value));
    return all;
}

TEST(known_names)
{
    static const struct {
        const char *name;
        enum header_id id;
    } rows[] = {
        {"Host", HEADER_HOST}, {"Content-Length", HEADER_CONTENT_LENGTH},
        {"Transfer-Encoding", HEADER_TRANSFER_ENCODING},
        {"Connection", HEADER_CONNECTION}, {"Keep-Alive", HEADER_KEEP_ALIVE},
        {"Proxy-Connection", HEADER_PROXY_CONNECTION},
        {"TE", HEADER_TE}, {"Trailer", HEADER_TRAILER}, {"Upgrade", HEADER_UPGRADE}, {"Expect", HEADER_EXPECT},
        {"Via", HEADER_VIA},
        {"Forwarded", HEADER_FORWARDED}, {"X-Forwarded-For", HEADER_X_FORWARDED_FOR},
        {"X-Forwarded-Proto", HEADER_X_FORWARDED_PROTO}, {"X-Forwarded-Host", HEADER_X_FORWARDED_HOST},
        {"X-Forwarded-Port", HEADER_X_FORWARDED_PORT}, {"HTTP2-Settings", HEADER_HTTP2_SETTINGS},
        {"Proxy-Authenticate", HEADER_PROXY_AUTHENTICATE}, {"Proxy-Authorization", HEADER_PROXY_AUTHORIZATION},
        {"Proxy-Authentication-Info", HEADER_PROXY_AUTHENTICATION_INFO}, {"Date", HEADER_DATE},
        {"Server", HEADER_SERVER},
        {"Location", HEADER_LOCATION}, {"Content-Type", HEADER_CONTENT_TYPE},
        {"Idempotency-Key", HEADER_IDEMPOTENCY_KEY},
        {"Max-Forwards", HEADER_MAX_FORWARDS}, {"X-Request-Id", HEADER_X_REQUEST_ID},
        {"Authorization", HEADER_AUTHORIZATION},
        {"X-Real-IP", HEADER_X_REAL_IP}, {"", HEADER_OTHER}, {"X", HEADER_OTHER}, {"Hosts", HEADER_OTHER},
        {"Hose", HEADER_OTHER},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str name = str_c(rows[i].name);
        char other[32];
        test_row("%zu", i);
        EXPECT_EQ(header_id(name), rows[i].id);
        for (size_t k = 0; k < name.len; k++) {
            for (size_t m = 0; m < name.len; m++)
                other[m] = (char)toupper((unsigned char)name.at[m]);
            EXPECT_EQ(header_id(str_of(other, name.len)), rows[i].id);
            other[k] = name.at[k] == '~' ? '!' : '~';
            EXPECT_EQ(header_id(str_of(other, name.len)), HEADER_OTHER);
        }
    }
}

TEST(aliases)
{
    EXPECT(http_name_is_alias(STR("X_Forwarded_For")));
    EXPECT(http_name_is_alias(STR("transfer.encoding")));
    EXPECT(http_name_is_alias(STR("X.Real~IP")));
    EXPECT(http_name_is_alias(STR("X-Forwarded_Whatever")));
    EXPECT(!http_name_is_alias(STR("X-Forwarded-For")));
    EXPECT(!http_name_is_alias(STR("My_Name")));
    EXPECT(!http_name_is_alias(STR("Host")));
    EXPECT(http_name_alike(STR("X_User"), STR("x-USER")));
    EXPECT(!http_name_alike(STR("X_User"), STR("x-users")));
    EXPECT(!http_name_alike(STR("XxUser"), STR("x-user")));
}

TEST(looking_fields_up)
{
    arena_init(&arena, NULL);
    struct http_head h = HEAD_OF("A: 1\r\nb:\r\na: 2\r\nDate: x\r\n");
    EXPECT_STR(h.method, "GET");
    EXPECT_STR(h.target, "/a");
    EXPECT_STR(http_head_get(&h, STR("a")), "1");
    EXPECT_STR(http_head_get(&h, STR("B")), "");
    EXPECT_STR(http_head_get(&h, STR("c")), NULL);
    EXPECT_STR(http_head_get(&h, STR("host")), "gw.test");
    EXPECT_STR(http_head_get_id(&h, HEADER_DATE), "x");
    EXPECT_STR(http_head_get_id(&h, HEADER_VIA), NULL);
    EXPECT_EQ(http_head_count(&h, STR("a")), 2);
    EXPECT_EQ(http_head_count(&h, STR("date")), 1);
    EXPECT_EQ(http_head_count(&h, STR("c")), 0);
    arena_fini(&arena);
}

TEST(adding_and_removing)
{
    arena_init(&arena, NULL);
    struct http_head h = HEAD_OF("A: 1\r\nX_User: evil\r\nVia: a\r\n");
    http_head_add(&h, &arena, STR("C"), STR("3"));
    http_head_add(&h, &arena, STR("X-User"), STR("me"));
    http_head_add(&h, &arena, STR("D"), STR("4"));
    http_head_add(&h, &arena, STR("via"), STR("b"));
    EXPECT_STR(sent(&h), "Host=gw.test A=1 X_User=evil Via=a C=3 X-User=me D=4 via=b");
    EXPECT_STR(http_head_get(&h, STR("d")), "4");
    EXPECT_EQ(http_head_count(&h, STR("via")), 2);
    http_head_set(&h, &arena, STR("x-user"), STR("you"));
    EXPECT_STR(sent(&h), "Host=gw.test A=1 Via=a C=3 D=4 via=b x-user=you");
    http_head_remove_id(&h, HEADER_VIA);
    EXPECT_STR(sent(&h), "Host=gw.test A=1 C=3 D=4 x-user=you");
    http_head_remove(&h, STR("x-user"));
    http_head_remove(&h, STR("D"));
    http_head_remove(&h, STR("C"));
    http_head_remove(&h, STR("a"));
    EXPECT_STR(sent(&h), "Host=gw.test");
    http_head_add(&h, &arena, STR("E"), STR("5"));
    EXPECT_STR(sent(&h), "Host=gw.test E=5");
    EXPECT_STR(http_head_get_id(&h, HEADER_VIA), NULL);
    arena_fini(&arena);
}

TEST(a_copy_is_edited_apart)
{
    struct http_head h = HEAD_OF("A: 1\r\nB: 2\r\n"), copy, again;

    http_head_add(&h, &arena, STR("C"), STR("3"));
    http_head_copy(&copy, &h, &arena);
    http_head_remove(&h, STR("A"));
    http_head_set(&h, &arena, STR("C"), STR("4"));
    http_head_add(&h, &arena, STR("D"), STR("5"));
    EXPECT_STR(sent(&copy), "Host=gw.test A=1 B=2 C=3");
    http_head_copy(&again, &copy, &arena);
    http_head_remove(&again, STR("C"));
    http_head_remove_id(&again, HEADER_HOST);
    http_head_add(&copy, &arena, STR("E"), STR("6"));
    EXPECT_STR(sent(&h), "Host=gw.test B=2 C=4 D=5");
    EXPECT_STR(sent(&copy), "Host=gw.test A=1 B=2 C=3 E=6");
    EXPECT_STR(sent(&again), "A=1 B=2");

    struct http_head empty = {.base = NULL};
    http_head_copy(&copy, &empty, &arena);
    http_head_add(&copy, &arena, STR("F"), STR("7"));
    EXPECT_STR(sent(&copy), "F=7");
    EXPECT_STR(sent(&empty), "");
    arena_fini(&arena);
}

TEST(hop_by_hop_fields_are_dropped)
{
    arena_init(&arena, NULL);
    struct http_head h = HEAD_OF("Connection: X-Hop, "
        "close\r\nA: 1\r\nX-Hop: 1\r\nx-hop: 2\r\nKeep-Alive: a\r\nTE: trailers\r\n"
                                 "Proxy-Connection: a\r\nUpgrade: x\r\nTrailer: a\r\nTransfer-Encoding: chunked\r\n"
                                 "HTTP2-Settings: a\r\nProxy-Authorization: a\r\nB: 2\r\n");
    http_head_drop_hop_by_hop(&h);
    EXPECT_STR(sent(&h), "Host=gw.test A=1 B=2");
    arena_fini(&arena);
}

TEST(a_connection_list_takes_no_needed_field)
{
    arena_init(&arena, NULL);
    struct http_head h = HEAD_OF("Connection: Host, content-length, X-Forwarded-For,, @@@\r\nConnection: Via, Cookie, "
        "X-Forwarded-Proto\r\n"
                                 "X-Forwarded-For: 1\r\nCookie: a\r\nContent-Length: 3\r\nVia: b\r\n");
    http_head_add(&h, &arena, STR("Cookie"), STR("ours"));
    http_head_drop_hop_by_hop(&h);
    EXPECT_STR(sent(&h), "Host=gw.test X-Forwarded-For=1 Content-Length=3 Via=b Cookie=ours");
    arena_fini(&arena);
}

TEST(trailers_that_may_come_late)
{
    static const char *const good[] = {"X-T", "Server-Timing", "grpc-status", "Content-Digest", "Repr-Digest", "ETag",
        "X-Checksum"};
    static const char *const bad[] = {
        "Content-Length", "Transfer-Encoding", "Host", "Content-Type", "content-encoding", "Cookie", "Set-Cookie",
        "Authorization",
        "Proxy-Authorization", "X-Forwarded-For", "X_Forwarded_For", "Forwarded", "TE", "Trailer", "Connection",
        "Cache-Control",
        "If-Match", "Range", "Expect", "WWW-Authenticate", "Age", "Vary", "Location", "X-Real-IP",
        "Access-Control-Allow-Origin",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!EXPECT(http_trailer_allowed(str_c(good[i]))))
            printf("%s\n", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!EXPECT(!http_trailer_allowed(str_c(bad[i]))))
            printf("%s\n", bad[i]);
}

TEST(tokens_and_values)
{
    EXPECT(http_is_token(STR("a!#$%&'*+-.^_`|~9")));
    EXPECT(!http_is_token(STR("")));
    EXPECT(!http_is_token(STR("a b")));
    EXPECT(!http_is_token(STR("a:")));
    EXPECT(http_is_field_value(STR("")));
    EXPECT(http_is_field_value(STR("a\t\x80 b")));
    EXPECT(!http_is_field_value(STR("a\r\nb")));
    EXPECT(!http_is_field_value(STR("a\0b")));
    EXPECT(!http_is_field_value(STR("a\x7f")));
}
