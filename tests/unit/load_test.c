/* SPDX-License-Identifier: Apache-2.0 */
/* What a filter may look up while it is loaded. */
#include "conf_fixture.h"

TEST(attributes_are_found_whatever_the_order)
{
    set = shared_set_new();
    struct snapshot *s = load("version: 1\nroutes:\n- {match: /, respond: {}, filters: [user, {user: {key: plan, name: u2}}]}\n"
                              "listen: {at: 127.0.0.1:80, filters: [auth]}\n");
    if (!s)
        return;
    EXPECT_EQ(s->attributes.n, 2);
    const struct chain_conf *c = &s->routes[0].filters;
    EXPECT_EQ(((const struct user_options *)c->v[0]->options)->attribute, 0);
    EXPECT_EQ(((const struct user_options *)c->v[1]->options)->attribute, 1);
    snapshot_unref(&s);
    load_or_fail(HEAD "define: {a: auth}\nroutes: [{match: /, respond: {}, filters: [user]}]\n",
                 "4:44: no filter of this configuration provides \"consumer\"");
    load_or_fail("version: 1\nlisten: {at: 127.0.0.1:80, filters: [auth]}\n"
                 "routes: [{match: /, respond: {}, filters: [{user: {key: plam}}]}]\n",
                 "3:51: no filter of this configuration provides \"plam\"; did you mean \"plan\"?");
    shared_set_free(set);
}

TEST(routes_are_listed_by_name)
{
    set = shared_set_new();
    struct snapshot *s = load(HEAD "routes: [{match: /b, respond: {}}, {match: /a, name: first, respond: {}}]\n");
    if (!s)
        return;
    const struct load l = {.snap = s};
    EXPECT_STR(load_route(&l, 0), "/b");
    EXPECT_STR(load_route(&l, 1), "first");
    EXPECT_STR(load_route(&l, 2), NULL);
    snapshot_unref(&s);
    shared_set_free(set);
}

TEST(a_definition_that_nobody_uses_is_told)
{
    struct diags diags = {.n = 0};
    struct snapshot *s = NULL;

    EXPECT_EQ(snapshot_load_text(STR(HEAD "define:\n  spare: {limit: {max: 1}}\n  used: {limit: {max: 1}}\n"
                                     "routes: [{match: /, respond: {}, filters: [used]}]\n"), "t.yaml", filters, &diags, &s), 0);
    EXPECT_EQ(diags.n, 1);
    EXPECT_EQ(diags.warnings, 1);
    EXPECT_EQ(diags.errors, 0);
    if (diags.n == 1) {
        EXPECT_EQ(diags.v[0]->code, CODE_unused);
        EXPECT_EQ(diags.v[0]->line, 4);
        EXPECT_EQ(diags.v[0]->col, 18);
        EXPECT_CSTR(diags.v[0]->text, "\"spare\" is defined and nobody uses it");
    }
    snapshot_unref(&s);
    diags_fini(&diags);
}
