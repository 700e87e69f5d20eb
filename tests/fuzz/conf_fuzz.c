/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration, through everything that loading does but opening: it loads, or is refused with a text;
 * it never crashes, leaks or runs without bound. No file and no variable of the environment is reached.
 *
 * A secret is never said: where MARK stands in the input only as what a variable with a secret's name falls back to, no
 * error and no warning holds it but as a piece of that variable.
 */
#include <stdint.h>
#include "conf/diag.h"
#include "conf/snapshot.h"
#include "filter.h"
#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BEFORE "_KEY:-"
#define MARK "q7zkq"

/* Is every MARK in the text preceded by BEFORE? `any`: is there one? */
static bool marks_are_bound(struct str s, bool *any)
{
    const struct str before = STR(BEFORE);
    const char *end = s.at + s.len, *at = s.at;

    *any = false;
    while (at && (at = memmem(at, (size_t)(end - at), MARK, sizeof(MARK) - 1))) {
        if ((size_t)(at - s.at) < before.len || memcmp(at - before.len, before.at, before.len) != 0)
            return false;
        *any = true;
        at++;
    }
    return true;
}

static void secrets_check(struct str input, const struct diags *diags)
{
    bool any;

    if (!input.at || !marks_are_bound(input, &any) || !any)
        return;
    for (size_t i = 0; i < diags->n; i++)
        check(marks_are_bound(str_c(diags->v[i]->text), &any));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_of((const char *)data, size);
    struct snapshot *snap = NULL;
    struct diags diags = {.n = 0};
    struct page page = {0};

    int res = snapshot_load_sealed(input, "fuzz.yaml", filters_all, &diags, &snap);
    check((res == 0) == (diags.errors == 0) && (res == 0) == (snap != NULL));
    if (res == 0) {
        check(snap->sources.n == 0);
        res = route_compile(snap, &diags);
        check((res == 0) == (diags.errors == 0));
    }
    diags_print(&diags, &page);
    diags_json(&diags, &page);
    check(page.len > 0);
    secrets_check(input, &diags);
    page_free(&page);
    snapshot_unref(&snap);
    diags_fini(&diags);
    return 0;
}
