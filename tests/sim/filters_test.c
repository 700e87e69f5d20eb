/* SPDX-License-Identifier: Apache-2.0 */
/* The filters that come with weir, and routes that answer by themselves, from the client to the endpoint and back. */
#include "test.h"

#include "lib/check.h"
#include "sim.h"

#define API SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"
#define FILTERED(LIST) API "routes: [{match: /, upstream: api, filters: [" LIST "]}]\n"
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_WITH(FIELDS) "GET / HTTP/1.1\r\nHost: h\r\n" FIELDS "\r\n"
#define EDIT "{set: {X-Set: new}, add: {X-Add: more}, remove: [X-Gone]}"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* The value of the only line in the head received that starts with `name`; "": there is none, or more than one. */
static void field_value(const struct sim_conn *c, const char *name, char *out, size_t cap)
{
    const char *head_end = c->got ? strstr(c->got, "\r\n\r\n") : NULL, *at = NULL;
    size_t len = strlen(name), n = 0;

    for (const char *p = c->got; head_end && p < head_end; p++)
        if (p[0] == '\r' && p[1] == '\n' && !strncmp(p + 2, name, len) && p[2 + len] == ':') {
            at = p + 2 + len + 2;
            n++;
        }
    out[0] = '\0';
    if (n == 1)
        snprintf(out, cap, "%.*s", (int)strcspn(at, "\r"), at);
}

static unsigned long long field_number(const struct sim_conn *c, const char *name)
{
    char text[40];
    field_value(c, name, text, sizeof text);
    return strtoull(text, NULL, 10);
}

/* Answers the request that came up, and has it seen whole by the client. */
static void serve(struct sim_conn *c, struct sim_conn *u)
{
    if (!EXPECT(u != NULL))
        return;
    sim_say(u, OK);
    EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
    EXPECT_HAS(c, "\r\n\r\nok");
    sim_clear(c);
    sim_clear(u);
}

/* ---- request_id ---- */

static bool is_uuid(const char *id)
{
    static const char form[] = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
    if (strlen(id) != strlen(form))
        return false;
    for (size_t i = 0; form[i]; i++) {
        const char *may = form[i] == 'x' ? "0123456789abcdef" : form[i] == 'y' ? "89ab" : form[i] == '4' ? "4" : "-";
        if (!strchr(may, id[i]))
            return false;
    }
    return true;
}

TEST(a_request_gets_an_id_that_both_sides_see)
{
    struct sim *s = sim_new(FILTERED("request_id"));
    struct sim_conn *c = sim_client(s), *u = NULL;
    char up[2][200], down[200];
    for (int i = 0; i < 2; i++) {
        sim_say(c, GET);
        u = u ? u : sim_next(s);
        field_value(u, "x-request-id", up[i], sizeof up[i]);
        EXPECT(is_uuid(up[i]));
        sim_say(u, "HTTP/1.1 200 OK\r\nX-Request-Id: mine\r\nContent-Length: 2\r\n\r\nok");
        field_value(c, "x-request-id", down, sizeof down);
        EXPECT_CSTR(down, up[i]);
        EXPECT_HASNT(c, "mine");
        sim_clear(c);
        sim_clear(u);
    }
    EXPECT(strcmp(up[0], up[1]) != 0);
    SIM_END(s);
}

#define TRUSTING FILTERED("{request_id: {trust: true}}")
#define LONG_16 "0123456789abcdef"
#define LONG_128 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16

TEST(an_id_of_the_caller)
{
    static const struct { const char *yaml, *request, *kept; } rows[] = {
        {TRUSTING, GET_WITH("X-Request-Id: abc-17\r\n"), "abc-17"},
        {TRUSTING, GET_WITH("x-request-id: " LONG_128 "\r\n"), LONG_128},
        {TRUSTING, GET_WITH("x-request-id: " LONG_128 "g\r\n"), NULL},
        {TRUSTING, GET_WITH("X-Request-Id: one two\r\n"), NULL},
        {TRUSTING, GET_WITH("X-Request-Id:\r\n"), NULL},
        {TRUSTING, GET_WITH("X-Request-Id: a\r\nX-Request-Id: b\r\n"), NULL},
        {TRUSTING, GET, NULL},
        {FILTERED("request_id"), GET_WITH("X-Request-Id: abc-17\r\n"), NULL},
        {FILTERED("request_id"), GET_WITH("X-Request-Id: a\r\nX-REQUEST-ID: b\r\n"), NULL},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(rows[i].yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].request);
        struct sim_conn *u = sim_next(s);
        char up[300], down[300];
        field_value(u, "x-request-id", up, sizeof up);
        EXPECT_HASNT(u, "X-Request-Id:");
        EXPECT_HASNT(u, "X-REQUEST-ID:");
        if (rows[i].kept)
            EXPECT_CSTR(up, rows[i].kept);
        else
            EXPECT(is_uuid(up));
        sim_say(u, OK);
        field_value(c, "x-request-id", down, sizeof down);
        EXPECT_CSTR(down, up);
        SIM_END(s);
    }
}

TEST(another_name_for_the_id_and_none_for_the_caller)
{
    struct sim *s = sim_new(FILTERED("{request_id: {header: X-Trace, respond: false}}"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET_WITH("X-Request-Id: theirs\r\n"));
    struct sim_conn *u = sim_next(s);
    char up[100];
    field_value(u, "X-Trace", up, sizeof up);
    EXPECT(is_uuid(up));
    EXPECT_HAS(u, "X-Request-Id: theirs\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

/* A refusal says which request it refused, and passes the filters that were entered as an upstream's answer does. */
TEST(the_id_of_a_refusal)
{
    struct sim *s = sim_new(FILTERED("request_id, {headers: {response: " EDIT "}}, {ip_access: {deny: [192.0.2.1]}}"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    char id[100], member[200];
    field_value(c, "x-request-id", id, sizeof id);
    EXPECT(is_uuid(id));
    snprintf(member, sizeof member, "\"request_id\":\"%s\"", id);
    EXPECT_HAS(c, member);
    EXPECT_HAS(c, "X-Set: new\r\n");
    SIM_END(s);
}

/* ---- headers ---- */

TEST(headers_in_both_directions)
{
    struct sim *s = sim_new(FILTERED("{headers: {request: " EDIT ", response: " EDIT "}}"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET_WITH("x-set: old\r\nX-Keep: k\r\nX-SET: older\r\nx-add: first\r\nX-gone: g\r\nX-Gone: h\r\n"));
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, GET_WITH("X-Keep: k\r\nx-add: first\r\nX-Set: new\r\nX-Add: more\r\n" SIM_FORWARD));
    sim_say(u, "HTTP/1.1 200 OK\r\nx-set: old\r\nX-Keep: k\r\nx-add: first\r\nx-gone: g\r\n"
            "Content-Length: 2\r\n\r\nok");
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nX-Keep: k\r\nx-add: first\r\nContent-Length: 2\r\n"
                  "X-Set: new\r\nX-Add: more\r\n\r\nok");
    sim_say(c, GET);                             /* nothing there to replace or remove */
    EXPECT_GOT(u, GET_WITH("X-Set: new\r\nX-Add: more\r\n" SIM_FORWARD));
    sim_say(u, OK);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Set: new\r\nX-Add: more\r\n\r\nok");
    SIM_END(s);
}

TEST(headers_of_one_direction_leave_the_other_alone)
{
    for (int up = 0; up < 2; up++) {
        test_row("%s", up ? "request" : "response");
        struct sim *s = sim_new(up ? FILTERED("{headers: {request: {remove: [X-Gone]}}}")
                                   : FILTERED("{headers: {response: {remove: [X-Gone]}}}"));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET_WITH("X-Gone: g\r\n"));
        struct sim_conn *u = sim_next(s);
        EXPECT_EQ(sim_has(u, "X-Gone: g\r\n"), !up);
        sim_say(u, "HTTP/1.1 200 OK\r\nX-Gone: g\r\nContent-Length: 0\r\n\r\n");
        EXPECT_EQ(sim_has(c, "X-Gone: g\r\n"), up);
        SIM_END(s);
    }
}

/* ---- ip_access ---- */

#define DENY FILTERED("{ip_access: {deny: [192.0.2.0/24]}}")
#define ALLOW FILTERED("{ip_access: {allow: [192.0.2.9]}}")
#define PROXIES "trusted_proxies: [10.0.0.0/8]\n"

TEST(ip_access)
{
    static const struct { const char *yaml, *peer, *forwarded; bool denied; } rows[] = {
        {DENY, "192.0.2.1", "", true},
        {DENY, "192.0.3.1", "", false},
        {FILTERED("{ip_access: {deny: [\"2001:db8::/32\"]}}"), "2001:db8::7", "", true},
        {FILTERED("{ip_access: {deny: [\"2001:db8::/32\"]}}"), "2001:db9::7", "", false},
        {FILTERED("{ip_access: {allow: [192.0.2.7, 10.0.0.0/8]}}"), "192.0.2.7", "", false},
        {FILTERED("{ip_access: {allow: [192.0.2.7, 10.0.0.0/8]}}"), "10.1.2.3", "", false},
        {FILTERED("{ip_access: {allow: [192.0.2.7, 10.0.0.0/8]}}"), "192.0.2.8", "", true},
        {FILTERED("{ip_access: {allow: [10.0.0.0/8], deny: [10.0.0.1]}}"), "10.0.0.1", "", true},
        {FILTERED("{ip_access: {allow: [10.0.0.0/8], deny: [10.0.0.1]}}"), "10.0.0.2", "", false},
        /* Nobody is trusted: what a caller says of itself is nothing. */
        {DENY, "192.0.3.1", "X-Forwarded-For: 192.0.2.1\r\n", false},
        {DENY, "192.0.2.1", "X-Forwarded-For: 192.0.3.1\r\n", true},
        {FILTERED("{ip_access: {allow: [10.0.0.1]}}"), "192.0.2.1", "X-Forwarded-For: 10.0.0.1\r\n", true},
        /* A proxy is: the caller is the last that is no proxy. */
        {PROXIES DENY, "10.0.0.1", "", false},
        {PROXIES DENY, "10.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", true},
        {PROXIES DENY, "10.0.0.1", "X-Forwarded-For: 192.0.3.1\r\n", false},
        {PROXIES DENY, "10.0.0.1", "X-Forwarded-For: 192.0.3.1, 192.0.2.1, 10.0.0.2\r\n", true},
        {PROXIES DENY, "10.0.0.1", "X-Forwarded-For: 192.0.2.1, 192.0.3.1\r\n", false},
        {PROXIES ALLOW, "10.0.0.1", "X-Forwarded-For: 192.0.2.9\r\n", false},
        {PROXIES ALLOW, "10.0.0.1", "", true},
        {PROXIES ALLOW, "192.0.3.1", "X-Forwarded-For: 192.0.2.9\r\n", true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char request[300];
        test_row("%zu", i);
        struct sim *s = sim_new(rows[i].yaml);
        struct sim_conn *c = sim_client_at(s, 0, 0, str_c(rows[i].peer));
        snprintf(request, sizeof request, GET_WITH("%s"), rows[i].forwarded);
        sim_say(c, request);
        struct sim_conn *u = sim_next(s);
        if (rows[i].denied) {
            EXPECT(u == NULL);
            EXPECT_HAS(c, "HTTP/1.1 403 Forbidden\r\n");
            EXPECT_HAS(c, "Content-Type: application/problem+json\r\n");
            EXPECT_HAS(c, "\"reason\":\"denied\"");
            EXPECT_HASNT(c, "etry-");
            EXPECT(!sim_ended(c));
        } else {
            serve(c, u);
        }
        EXPECT_EQ(sim_reasons(s, REASON_denied), rows[i].denied);
        SIM_END(s);
    }
}

/* ---- https_redirect ---- */

#define REDIRECT FILTERED("https_redirect")

TEST(https_redirect)
{
    static const struct { const char *yaml, *peer, *request, *location; } rows[] = {
        {REDIRECT, "192.0.2.1", "GET / HTTP/1.1\r\nHost: h\r\n", "https://h/"},
        {REDIRECT, "192.0.2.1", "GET /a%20b?c=/d&e HTTP/1.1\r\nHost: a.example:8080\r\n", "https://a.example/a%20b?c=/d&e"},
        {REDIRECT, "192.0.2.1", "HEAD /a?b HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n", "https://[2001:db8::1]/a?b"},
        {REDIRECT, "192.0.2.1", "GET http://b.example/c HTTP/1.1\r\nHost: b.example\r\n", "https://b.example/c"},
        {REDIRECT, "192.0.2.1", "POST //evil.example/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n", "https://h/evil.example/"},
        {FILTERED("{https_redirect: {port: 8443}}"), "192.0.2.1", "GET /a HTTP/1.1\r\nHost: h:80\r\n", "https://h:8443/a"},
        /* Only a trusted proxy is believed when it says that it was TLS. */
        {REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n", "https://h/"},
        {PROXIES REDIRECT, "192.0.2.1", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n", "https://h/"},
        {PROXIES REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: http\r\n", "https://h/"},
        {PROXIES REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nForwarded: for=192.0.2.1;proto=http\r\n", "https://h/"},
        {PROXIES REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nForwarded: for=\"https\", for=x\r\n", "https://h/"},
        {PROXIES REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: HTTPS\r\n", NULL},
        {PROXIES REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https, http\r\n", NULL},
        {PROXIES REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: wss\r\n", NULL},
        {PROXIES REDIRECT, "10.0.0.1", "GET / HTTP/1.1\r\nHost: h\r\nForwarded: for=192.0.2.1;proto=https, for=10.0.0.2\r\n", NULL},
        {PROXIES FILTERED("{headers: {request: {remove: x-forwarded-proto}}}, https_redirect"), "10.0.0.1",
         "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n", NULL},
        {FILTERED("{https_redirect: {mode: shadow}}"), "192.0.2.1", "GET / HTTP/1.1\r\nHost: h\r\n", NULL},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char request[300], location[200];
        test_row("%zu", i);
        struct sim *s = sim_new(rows[i].yaml);
        struct sim_conn *c = sim_client_at(s, 0, 0, str_c(rows[i].peer));
        snprintf(request, sizeof request, "%s\r\n", rows[i].request);
        sim_say(c, request);
        struct sim_conn *u = sim_next(s);
        if (rows[i].location) {
            EXPECT(u == NULL);
            EXPECT_HAS(c, "HTTP/1.1 308 Permanent Redirect\r\n");
            field_value(c, "Location", location, sizeof location);
            EXPECT_STR_EQ(str_c(location), str_c(rows[i].location));
            EXPECT(!sim_ended(c));
        } else {
            serve(c, u);
        }
        EXPECT_EQ(sim_reasons(s, REASON_replied), rows[i].location != NULL);
        SIM_END(s);
    }
}

TEST(https_redirect_without_a_name)
{
    struct sim *s = sim_new(REDIRECT);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.0\r\n\r\n");
    EXPECT_HAS(c, "400 Bad Request\r\n");
    EXPECT_HAS(c, "without Host nobody can be sent to https");
    SIM_END(s);
}

/* ---- token_bucket ---- */

/* One request that must pass; *u is the connection it goes up by. */
static void pass(struct sim *s, struct sim_conn *c, struct sim_conn **u)
{
    sim_say(c, GET);
    struct sim_conn *opened = sim_next(s);
    if (opened)
        *u = opened;
    serve(c, *u);
}

/* One that must not; the milliseconds that it is told to wait. */
static uint64_t expect_limited(struct sim_conn *c, struct sim_conn *u, const char *request)
{
    char member[60];
    sim_clear(c);
    sim_say(c, request);
    EXPECT_GOT(u, "");
    EXPECT_HAS(c, "HTTP/1.1 429 Too Many Requests\r\n");
    EXPECT_HAS(c, "Content-Type: application/problem+json\r\n");
    uint64_t ms = field_number(c, "retry-after-ms");
    EXPECT_EQ(field_number(c, "Retry-After"), (ms + 999) / 1000);
    struct str body = sim_body(c);
    if (strncmp(request, "HEAD", 4)) {
        EXPECT_HAS(c, "\"reason\":\"rate_limited\"");
        EXPECT_HAS(c, "\"status\":429");
        snprintf(member, sizeof member, "\"retry_after_ms\":%llu", (unsigned long long)ms);
        EXPECT_HAS(c, member);
        EXPECT_EQ(field_number(c, "Content-Length"), body.len);
    } else {
        EXPECT_EQ(body.len, 0);
        EXPECT(field_number(c, "Content-Length") > 0);
    }
    EXPECT(!sim_ended(c));
    sim_clear(c);
    return ms;
}

TEST(a_burst_then_429_until_the_said_wait_is_over)
{
    struct sim *s = sim_new(FILTERED("{token_bucket: {rate: 6/min, burst: 3}}"));
    struct sim_conn *c = sim_client(s), *u = NULL;
    for (int i = 0; i < 3; i++)
        pass(s, c, &u);
    uint64_t ms = expect_limited(c, u, GET);
    EXPECT(ms >= 10000 && ms <= 11000);          /* never less than the wait, and up to a tenth more */
    sim_advance(s, 4 * NSEC_PER_SEC);
    ms = expect_limited(c, u, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT(ms >= 6000 && ms <= 6600);
    EXPECT_EQ(sim_reasons(s, REASON_rate_limited), 2);
    sim_advance(s, ms * NSEC_PER_MSEC);          /* the refusals cost nothing */
    pass(s, c, &u);
    ms = expect_limited(c, u, GET);
    EXPECT(ms > 0 && ms <= 11000);
    SIM_END(s);
}

TEST(a_token_comes_at_its_nanosecond)
{
    struct sim *s = sim_new(FILTERED("{token_bucket: {rate: 1/s, burst: 1}}"));
    struct sim_conn *c = sim_client(s), *u = NULL;
    pass(s, c, &u);
    sim_advance(s, NSEC_PER_SEC - 1);
    EXPECT_EQ(expect_limited(c, u, GET), 1);
    sim_advance(s, 1);
    pass(s, c, &u);
    sim_advance(s, 20 * NSEC_PER_SEC);           /* a pause fills the bucket to its burst, and not above */
    pass(s, c, &u);
    expect_limited(c, u, GET);
    SIM_END(s);
}

/* One bucket, whatever worker, caller or connection, and for each route that names it. */
TEST(a_bucket_is_shared)
{
    static const char yaml[] = API "define: {all: {token_bucket: {rate: 1/s, burst: 2, key: all}}}\n"
                               "routes:\n"
                               "  - {match: /, upstream: api, filters: [all]}\n"
                               "  - {match: /here, respond: {body: here}, filters: [all]}\n"
                               "  - {match: /free, respond: {body: free}}\n";
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = yaml, .workers = 2});
    struct sim_conn *a = sim_client_at(s, 0, 0, STR("192.0.2.1")), *u = NULL;
    struct sim_conn *b = sim_client_at(s, 1, 0, STR("192.0.2.2"));
    pass(s, a, &u);
    sim_say(b, "GET /here HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(b, "\r\n\r\nhere");
    sim_clear(b);
    expect_limited(a, u, GET);
    expect_limited(b, u, "GET /here HTTP/1.1\r\nHost: h\r\n\r\n");
    sim_say(b, "GET /free HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(b, "\r\n\r\nfree");
    SIM_END(s);
}

TEST(a_bucket_in_shadow_mode_lets_through)
{
    struct sim *s = sim_new(FILTERED("{token_bucket: {rate: 1/min, burst: 1, mode: shadow}}"));
    struct sim_conn *c = sim_client(s), *u = NULL;
    for (int i = 0; i < 4; i++) {
        sim_say(c, GET);
        u = u ? u : sim_next(s);
        sim_say(u, OK);
        EXPECT_GOT(c, OK);
    }
    EXPECT_EQ(sim_reasons(s, REASON_rate_limited), 0);
    SIM_END(s);
}

/* ---- answers made here ---- */

TEST(answers_of_routes_and_of_the_lack_of_one)
{
    static const char yaml[] =
        SIM_HEAD "routes:\n"
        "  - {match: /text, respond: {status: 201, headers: {X-Two: two, X-One: \"1\"}, body: \"hi\\n\"}}\n"
        "  - {match: /none, respond: {status: 204, headers: {X-One: \"1\"}}}\n"
        "  - {match: /empty, respond: {status: 200}}\n"
        "  - {match: {path: /get, method: [GET]}, respond: {body: got}}\n";
    static const struct { const char *line, *status, *has, *body; enum reason reason; } rows[] = {
        {"GET /text", "201 Created", "Content-Length: 3\r\n", "hi\n", REASON_replied},
        {"GET /text", "201 Created", "X-Two: two\r\nX-One: 1\r\n", "hi\n", REASON_replied},
        {"HEAD /text", "201 Created", "X-Two: two\r\nX-One: 1\r\nContent-Length: 3\r\n", "", REASON_replied},
        {"GET /none", "204 No Content", "X-One: 1\r\n", "", REASON_replied},
        {"GET /empty", "200 OK", "Content-Length: 0\r\n", "", REASON_replied},
        {"GET /get", "200 OK", "Content-Length: 3\r\n", "got", REASON_replied},
        {"GET /get/it", "404 Not Found", "\"reason\":\"no_route\"", NULL, REASON_no_route},
        {"HEAD /other", "404 Not Found", "Content-Type: application/problem+json\r\n", "", REASON_no_route},
        {"DELETE /get", "405 Method Not Allowed", "\"reason\":\"method_not_allowed\"", NULL, REASON_method_not_allowed},
        {"DELETE /get", "405 Method Not Allowed", "\r\nAllow: GET\r\n", NULL, REASON_method_not_allowed},
        {"DELETE /other", "404 Not Found", "\"status\":404", NULL, REASON_no_route},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char text[200];
        test_row("%s", rows[i].line);
        struct sim *s = sim_new(yaml);
        struct sim_conn *c = sim_client(s);
        for (int again = 0; again < 2; again++) {         /* the connection is good for the next */
            sim_clear(c);
            snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: h\r\n\r\n", rows[i].line);
            sim_say(c, text);
            snprintf(text, sizeof text, "HTTP/1.1 %s\r\nDate: ", rows[i].status);
            EXPECT(sim_text(c).len > 0 && !strncmp(c->got, text, strlen(text)));
            EXPECT_HAS(c, rows[i].has);
            if (rows[i].body)
                EXPECT_STR_EQ(sim_body(c), str_c(rows[i].body));
            else
                EXPECT_EQ(field_number(c, "Content-Length"), sim_body(c).len);
            if (!strcmp(rows[i].status, "204 No Content"))
                EXPECT_HASNT(c, "Content-Length");
        }
        EXPECT_EQ(sim_reasons(s, rows[i].reason), 2);
        SIM_END(s);
    }
}
