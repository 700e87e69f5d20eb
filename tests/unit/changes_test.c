/* SPDX-License-Identifier: Apache-2.0 */
#include "changes.h"
#include "conf/diag.h"
#include "filter.h"
#include "test.h"

#define ONE "version: 1\nlisten: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n" \
    "upstreams: {a: {endpoints: [\"http://x:1\", \"http://x:2\"]}, b: {endpoints: [\"http://x:1\"]}}\n" \
    "routes: [{match: /a, upstream: a, filters: [{token_bucket: {rate: 3/s}}]}, {match: /b, upstream: b}]\n"
#define TWO "version: 1\nlisten: [\"127.0.0.1:2\"]\n" \
    "upstreams: {b: {endpoints: [\"http://x:1\"]}, a: {endpoints: [\"http://x:2\", \"http://y:2\", \"http://z:2\"]}}\n" \
    "routes: [{match: /b, upstream: b}, {match: /, upstream: a}, {match: /c, upstream: a}, {match: /a, upstream: a}]\n"

static struct snapshot *read_conf(const char *text)
{
    struct diags diags = {.n = 0};
    struct snapshot *snap = NULL;
    EXPECT_EQ(snapshot_load_text(str_c(text), "t", filters_all, &diags, &snap), 0);
    diags_fini(&diags);
    return snap;
}

static void count(const char *before, const char *after, struct page *text, struct page *json)
{
    struct snapshot *a = read_conf(before), *b = read_conf(after);
    struct changes c;
    changes_count(&c, a, b);
    changes_print(&c, text);
    changes_json(&c, json);
    snapshot_unref(&a);
    snapshot_unref(&b);
}

/* The order in the file is no change. */
TEST(what_came_and_what_went)
{
    struct page text = {0}, json = {0};
    count(ONE, TWO, &text, &json);
    EXPECT_CSTR(text.at, "listeners 1 (-1), upstreams 2, endpoints 4 (+2 -1), routes 4 (+2), filters 0 (-1)");
    EXPECT_CSTR(json.at, "{\"listeners\":{\"now\":1,\"added\":0,\"removed\":1},\"upstreams\":{\"now\":2,\"added\":0,\"removed\":0},"
                "\"endpoints\":{\"now\":4,\"added\":2,\"removed\":1},\"routes\":{\"now\":4,\"added\":2,\"removed\":0},"
                "\"filters\":{\"now\":0,\"added\":0,\"removed\":1}}");
    page_free(&text);
    page_free(&json);
}

TEST(nothing)
{
    struct page text = {0}, json = {0};
    count(ONE, ONE, &text, &json);
    EXPECT_CSTR(text.at, "listeners 2, upstreams 2, endpoints 3, routes 2, filters 1");
    page_free(&text);
    page_free(&json);
}
