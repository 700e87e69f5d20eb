/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/headers.h"

#include "conf/load.h"
#include "filter.h"
#include "http/parse.h"
#include "diag_fixture.h"

extern const struct filter filter_headers;

static int options_read(struct arena *arena, const char *yaml, struct headers_options *o, struct err *err)
{
    struct load load = {.arena = arena};

    memset(o, 0, sizeof(*o));
    return options_from(&filter_headers, yaml, o, &load, err);
}

static void apply(struct arena *arena, const struct headers_edit *edit, const char *raw, char *out, size_t cap)
{
    static struct http_parser parser;
    struct http_head head;
    struct str name, value;
    unsigned at = 0;
    size_t len = 0;

    http_parser_init(&parser, PARSE_REQUEST, &http_limits_default);
    out[0] = '\0';
    if (!EXPECT_EQ(http_parse(&parser, raw, strlen(raw)), PARSE_OK))
        return;
    http_parser_head(&parser, raw, arena, &head);
    headers_apply(edit, &head, arena);
    while (http_head_next(&head, &at, &name, &value))
        len += (size_t)snprintf(out + len, cap - len, STR_FMT "=" STR_FMT "\n", STR_ARG(name), STR_ARG(value));
}

TEST(what_an_upstream_gets)
{
    static const struct { const char *yaml, *raw, *want; } rows[] = {
        {"{request: {set: {X-Team: blue}}}", "A: 1\r\n", "A=1\nX-Team=blue\n"},
        {"{request: {set: {X-Team: blue}}}", "x-team: red\r\nA: 1\r\nX-TEAM: green\r\n", "A=1\nX-Team=blue\n"},
        /* A caller cannot slip in what a back end takes for the same name. */
        {"{request: {set: {X-Team: blue}}}", "X_Team: red\r\nX.Team: red\r\n", "X-Team=blue\n"},
        {"{request: {remove: [X-Team, a]}}", "X_Team: red\r\nX-Team: red\r\nA: 1\r\nB: 2\r\n", "B=2\n"},
        {"{request: {remove: a}}", "A: 1\r\nB: 2\r\n", "B=2\n"},
        {"{request: {add: {A: 2}}}", "A: 1\r\n", "A=1\nA=2\n"},
        {"{request: {remove: [A], add: {A: 2}}}", "A: 1\r\n", "A=2\n"},
        {"{request: {set: {A: 3}, add: {A: 4}}}", "A: 1\r\n", "A=3\nA=4\n"},
        {"{request: {set: {A: \"\"}}}", "A: 1\r\n", "A=\n"},
        {"{response: {set: {A: 3}}}", "A: 1\r\n", "A=1\n"},
        {"{}", "A: 1\r\n", "A=1\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct headers_options o;
        struct err err = {.text = ""};
        char raw[500], got[500], want[500];

        test_row("%s: %s", rows[i].yaml, rows[i].raw);
        arena_init(&arena, NULL);
        if (!EXPECT_EQ(options_read(&arena, rows[i].yaml, &o, &err), 0))
            printf("%s\n", err.text);
        snprintf(raw, sizeof(raw), "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", rows[i].raw);
        snprintf(want, sizeof(want), "Host=h\n%s", rows[i].want);
        apply(&arena, &o.request, raw, got, sizeof(got));
        EXPECT_CSTR(got, want);
        arena_fini(&arena);
    }
}

TEST(requests_and_responses_have_their_own_edits)
{
    struct arena arena;
    struct headers_options o;
    struct err err = {.text = ""};

    arena_init(&arena, NULL);
    EXPECT_EQ(options_read(&arena, "{request: {remove: [a]}, response: {set: {b: 1, c: 2}, add: {d: 3}}}", &o, &err),
              0);
    EXPECT_EQ(o.request.remove.n, 1);
    EXPECT_EQ(o.request.set.n, 0);
    EXPECT_EQ(o.response.set.n, 2);
    EXPECT_STR(o.response.set.v[1].key, "c");
    EXPECT_STR(o.response.set.v[1].value, "2");
    EXPECT_EQ(o.response.add.n, 1);
    EXPECT_EQ(o.response.remove.n, 0);
    arena_fini(&arena);
}

TEST(what_could_break_a_message_is_refused_when_it_is_loaded)
{
    static const struct { const char *yaml, *error; } rows[] = {
        {"{request: {set: {Content-Length: 1}}}", "Content-Length"},
        {"{request: {set: {content_length: 1}}}", "content_length"},
        {"{request: {add: {Transfer-Encoding: chunked}}}", "framing"},
        {"{response: {remove: [connection]}}", "connection"},
        {"{response: {set: {Keep-Alive: x}}}", "Keep-Alive"},
        {"{request: {remove: [TE]}}", "TE"},
        {"{request: {remove: [trailer]}}", "trailer"},
        {"{response: {remove: [upgrade]}}", "upgrade"},
        {"{request: {set: {proxy-connection: x}}}", "proxy-connection"},
        {"{request: {set: {Host: x}}}", "`host:` of the upstream"},
        {"{request: {remove: [host]}}", "`host:` of the upstream"},
        {"{request: {set: {\"a b\": x}}}", "a b"},
        {"{request: {set: {\"a:\": x}}}", "a:"},
        {"{request: {set: {\"a\\r\\nb\": x}}}", "field name"},
        {"{response: {set: {a: \"x\\r\\nSet-Cookie: y\"}}}", "line break"},
        {"{response: {add: {a: \"x\\ny\"}}}", "line break"},
        {"{response: {add: {a: \"x\\0y\"}}}", "NUL"},
        {"{response: {add: {a: \"x\\x7fy\"}}}", "control character"},
        {"{request: {remove: [\"\"]}}", "remove"},
        {"{request: {delete: [a]}}", "delete"},
        {"{requests: {}}", "request"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct headers_options o;
        struct err err = {.text = ""};

        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        EXPECT_EQ(options_read(&arena, rows[i].yaml, &o, &err), -1);
        if (!EXPECT(strstr(err.text, rows[i].error) != NULL))
            printf("%s\n", err.text);
        EXPECT_EQ(err.line, 1);
        arena_fini(&arena);
    }

    struct arena arena;
    struct headers_options o;
    struct err err = {.text = ""};
    arena_init(&arena, NULL);
    EXPECT_EQ(options_read(&arena, "{response: {set: {Host: \"x\\ty\", Server: weir}}}", &o, &err), 0);
    arena_fini(&arena);
}
