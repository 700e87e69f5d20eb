/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration: loads, or is refused with a text; never crashes, leaks or runs without bound.
 */
#include <stdint.h>
#include "conf/diag.h"
#include "conf/snapshot.h"
#include "filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct snapshot *snap = NULL;
    struct diags diags = {.n = 0};
    struct page page = {0};

    int res = snapshot_load_text(str_of((const char *)data, size), "fuzz.yaml", filters_all, &diags, &snap);
    check((res == 0) == (diags.errors == 0));
    diags_print(&diags, &page);
    page_free(&page);
    snapshot_unref(&snap);
    diags_fini(&diags);
    return 0;
}
