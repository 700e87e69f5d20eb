/* SPDX-License-Identifier: Apache-2.0 */
/* What https_redirect may be told; what it then does is in tests/sim/filters_test.c and tests/e2e/tls_test.py. */
#include "diag_fixture.h"

extern const struct filter filter_https_redirect;

TEST(the_port)
{
    static const struct { const char *yaml; uint64_t port; const char *error; } rows[] = {
        {"{}", 443, NULL}, {"{port: 8443}", 8443, NULL}, {"{port: 65535}", 65535, NULL}, {"{port: 0}", 0, "port"},
        {"{port: 65536}", 0, "port"}, {"{port: https}", 0, "port"}, {"{ports: 1}", 0, "ports"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct load load = {.arena = &arena};
        struct err err = {.text = ""};
        uint64_t port = 0;

        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        EXPECT_EQ(filter_https_redirect.options_size, sizeof port);
        EXPECT_EQ(options_from(&filter_https_redirect, rows[i].yaml, &port, &load, &err), rows[i].error ? -1 : 0);
        if (rows[i].error)
            EXPECT(strstr(err.text, rows[i].error) != NULL);
        else
            EXPECT_EQ(port, rows[i].port);
        arena_fini(&arena);
    }
}
