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
