/* SPDX-License-Identifier: Apache-2.0 */
/* `weir show`: each value with its place, in the file's order, and none forgotten. */
#include "test.h"

#include "conf/diag.h"
#include "conf/doc_form.h"
#include "conf/schema.h"
#include "conf/show.h"
#include "conf/snapshot.h"
#include "lib/page.h"

static char *shown_as(const char *yaml, void (*print)(const struct show *, struct page *))
{
    char path[] = "/tmp/weir-show-XXXXXX", *text = NULL, *at;
    struct show *show = show_new();
    struct snapshot *snap = NULL;
    struct diags diags = {.n = 0};
    struct page page = {0};
    int fd = mkstemp(path);

    EXPECT(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
    close(fd);
    if (EXPECT_EQ(snapshot_load_shown(path, filters_all, &diags, show, &snap), 0))
        print(show, &page);
    else
        diags_print(&diags, &page);
    unlink(path);
    text = strdup(page.at ? page.at : "");
    for (at = text; (at = strstr(at, path)) != NULL;)      /* a name that is the same each time */
        memmove(at, at + sizeof(path) - 2, strlen(at + sizeof(path) - 2) + 1), *at++ = 'F';
    page_free(&page);
    show_free(&show);
    snapshot_unref(&snap);
    diags_fini(&diags);
    return text;
}

#define HEAD "version: 1\nlisten: :80\nroutes: [{match: /, upstream: a}]\n"      /* lines 1 to 3 */
#define UP HEAD "upstreams:\n  a:\n    endpoints: http://1.2.3.4:5\n"            /* lines 4 to 6 */

static void has(const char *yaml, const char *line, bool wanted)
{
    char *text = shown_as(yaml, show_print), whole[400];

    test_row("%s", line);
    snprintf(whole, sizeof(whole), "\n%s\n", line);
    if (!EXPECT_EQ(strstr(text, whole) != NULL, wanted))
        printf("%s", text);
    free(text);
}

TEST(a_value_has_its_line_and_a_default_none)
{
    has(UP, "listen[0].at = :80  # F:2", true);
    has(UP, "upstreams.a.endpoints = http://1.2.3.4:5  # F:6", true);
    has(UP, "upstreams.a.slow_start = 10s  # default", true);
    has(UP "    slow_start: 3s\n", "upstreams.a.slow_start = 3s  # F:7", true);
    has(UP "    timeouts:\n      idle: 7s\n", "upstreams.a.timeouts.idle = 7s  # F:8", true);
    has(UP "    timeouts:\n      idle: 7s\n", "upstreams.a.timeouts.connect = 2s  # default", true);
    has(UP, "upstreams.a.timeouts.connect = 2s  # default", true);
    has(UP, "drain.timeout = 8s  # default", true);
}

TEST(short_forms_are_shown_in_full)
{
    has(UP, "routes[0].match.path = /  # F:3", true);
    has(UP "admin: 127.0.0.1:9\n", "admin = 127.0.0.1:9  # F:7", true);
    has(UP "admin: 127.0.0.1:9\n", "admin.at = 127.0.0.1:9  # F:7", false);
}

TEST(what_is_not_in_force_is_not_shown)
{
    char *text = shown_as(UP, show_print);
    EXPECT(strstr(text, "upstreams.a.health") == NULL);
    EXPECT(strstr(text, "max_body") == NULL);
    EXPECT(strstr(text, "rewrite") == NULL);
    EXPECT(strstr(text, "admin") == NULL);
    free(text);
}

TEST(numbers_that_follow_from_others_are_told)
{
    has(UP "    health: {path: /, every: 1s}\n", "upstreams.a.health.timeout = 1s  # default", true);
    has(UP "    filters: [{concurrency: {max: 7}}]\n", "upstreams.a.filters[0].concurrency.queue = 35  # default", true);
    has(UP "define:\n  b: {token_bucket: {rate: 50/s}}\n", "define.b.token_bucket.burst = 25  # default", true);
}

TEST(filters_are_shown_where_they_stand)
{
    static const char yaml[] = UP "    filters:\n      - breaker\n      - retry: {max: 1, name: again}\n"
                               "define:\n  both: {request_id: {}}\n";
    has(yaml, "upstreams.a.filters[0].breaker.errors = 50%  # default", true);
    has(yaml, "upstreams.a.filters[0].breaker.name = upstream a breaker  # default", true);
    has(yaml, "upstreams.a.filters[1].retry.max = 1  # F:9", true);
    has(yaml, "upstreams.a.filters[1].retry.name = again  # F:9", true);
    has(yaml, "define.both.request_id.mode = enforce  # default", true);
}

TEST(a_shared_filter_says_so)
{
    static const char yaml[] = "version: 1\nlisten: :80\ndefine: {one: {request_id: {}}}\n"
                               "routes:\n  - match: /\n    respond: {}\n    filters: [one]\n";
    has(yaml, "routes[0].filters[0] = one  # F:7, shared: define.one", true);
}

TEST(text_is_quoted_where_yaml_would_not_have_it)
{
    static const char *const rows[][2] = {
        {"x", "x"}, {"\"\"", "\"\""}, {"\"a: b\"", "\"a: b\""}, {"'a #b'", "\"a #b\""}, {"\"a\\nb\"", "\"a\\nb\""},
        {"'- a'", "\"- a\""}, {"a b", "a b"}, {"a:b", "a:b"}, {"'a:'", "\"a:\""}, {"' a'", "\" a\""}, {"'[a]'", "\"[a]\""},
        {"-a", "-a"}, {"'-'", "\"-\""}, {":a", ":a"}, {"'*'", "\"*\""},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char yaml[300], line[300];
        snprintf(yaml, sizeof(yaml), "version: 1\nlisten: :80\nroutes:\n  - match: /\n    respond:\n      body: %s\n", rows[i][0]);
        snprintf(line, sizeof(line), "routes[0].respond.body = %s  # F:6", rows[i][1]);
        has(yaml, line, true);
    }
}

TEST(lists_and_mappings)
{
    has(UP "trusted_proxies: [10.0.0.0/8, '::1']\n", "trusted_proxies = [10.0.0.0/8, ::1]  # F:7", true);
    has(UP "    balance: {hash: client_ip}\n", "upstreams.a.balance = {hash: client_ip}  # F:7", true);
    has(UP "    filters:\n      - headers:\n          request:\n            set:\n              X-A: b\n",
        "upstreams.a.filters[0].headers.request.set.X-A = b  # F:11", true);
}

TEST(variables_are_expanded)
{
    setenv("WEIR_TEST_SHOW", "http://5.6.7.8:9", 1);
    has(HEAD "upstreams:\n  a:\n    endpoints: ${WEIR_TEST_SHOW}\n", "upstreams.a.endpoints = http://5.6.7.8:9  # F:6", true);
    unsetenv("WEIR_TEST_SHOW");
}

TEST(secrets_are_not_shown)
{
    static const char yaml[] = UP "    filters:\n      - headers: {request: {set: {authorization: \"Bearer ${WEIR_TEST_API_KEY}\"}}}\n"
                               "      - concurrency: {max: \"${WEIR_TEST_TOKEN}\"}\n";
    setenv("WEIR_TEST_API_KEY", "sesame", 1);
    setenv("WEIR_TEST_TOKEN", "123", 1);
    has(yaml, "upstreams.a.filters[0].headers.request.set.authorization = Bearer ***  # F:8", true);
    has(yaml, "upstreams.a.filters[1].concurrency.max = ***  # F:9", true);
    char *text = shown_as(yaml, show_print), *json = shown_as(yaml, show_json);
    EXPECT(strstr(text, "sesame") == NULL && strstr(json, "sesame") == NULL);
    EXPECT(strstr(text, "= 123 ") == NULL && strstr(json, "\"123\"") == NULL);
    free(text);
    free(json);
    unsetenv("WEIR_TEST_API_KEY");
    unsetenv("WEIR_TEST_TOKEN");
}

TEST(sections_come_in_the_order_of_the_file)
{
    char *text = shown_as("routes: [{match: /, respond: {}}]\nlisten: :80\nversion: 1\n", show_print);
    const char *routes = strstr(text, "routes[0]"), *listen = strstr(text, "\nlisten[0]"), *version = strstr(text, "\nversion = 1"),
               *log = strstr(text, "\nlog.to = stdout  # default");
    EXPECT(routes == text && routes < listen && listen < version && version < log);
    free(text);
}

TEST(json_has_the_same)
{
    char *text = shown_as(UP, show_json);
    EXPECT(text[0] == '[' && text[strlen(text) - 2] == ']');
    EXPECT(strstr(text, "{\"path\":\"listen[0].at\",\"value\":\":80\",\"file\":\"F\",\"line\":2},\n") != NULL);
    EXPECT(strstr(text, "{\"path\":\"upstreams.a.slow_start\",\"value\":\"10s\",\"default\":true},\n") != NULL);
    free(text);
}

/* Every row with a default of a table, whatever becomes of the code. */
static void row_is_shown(void *ctx, const struct doc_key *key)
{
    char line[200];
    const char *text = ctx, *option = key->filter ? strchr(key->path, '.') : NULL;

    if (!key->filter || !option || !key->field || !key->field->fallback || key->field->sub)
        return;
    if (strchr(option + 1, '.'))
        return;                          /* in a mapping that may have a required key */
    snprintf(line, sizeof(line), ".%s = ", key->path);
    test_row("%s", line);
    EXPECT(strstr(text, line) != NULL);
}

TEST(no_option_of_a_filter_is_forgotten)
{
    char *text = shown_as(UP "define:\n  a: {token_bucket: {rate: 1/s}}\n  b: {concurrency: {max: 1}}\n  c: breaker\n  d: retry\n"
                             "  e: timeout\n  f: request_id\n  g: {ip_access: {allow: 1.2.3.4}}\n  h: {headers: {}}\n  i: https_redirect\n", show_print);
    doc_walk(filters_all, row_is_shown, text);
    free(text);
}
