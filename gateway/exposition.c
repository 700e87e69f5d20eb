/* SPDX-License-Identifier: Apache-2.0 */
/* What is common to all that stands on /metrics, so that one place knows how the text format escapes and counts. */
#include "exposition.h"

#include <inttypes.h>
#include "lib/clock.h"

void exposition_head(struct page *p, const char *name, const char *type, const char *help)
{
    page_printf(p, "# HELP weir_%s ", name);
    for (const char *c = help; *c; c++)
        if (*c == '\\' || *c == '\n')
            page_printf(p, "\\%c", *c == '\n' ? 'n' : '\\');
        else
            page_printf(p, "%c", *c);
    page_printf(p, "\n# TYPE weir_%s %s\n", name, type);
}

/* {a="x",b="y",le="1"}; nothing when there is no label. */
static void labels_print(struct page *p, const struct label *v, unsigned n, const char *le)
{
    const char *before = "{";
    for (unsigned i = 0; i < n; i++) {
        page_printf(p, "%s%s=", before, v[i].name);
        page_label(p, v[i].value);
        before = ",";
    }
    if (le)
        page_printf(p, "%sle=\"%s\"", before, le);
    if (n > 0 || le)
        page_printf(p, "}");
}

void exposition_value(struct page *p, const char *name, const struct label *labels, unsigned n, uint64_t value)
{
    page_printf(p, "weir_%s", name);
    labels_print(p, labels, n, NULL);
    page_printf(p, " %" PRIu64 "\n", value);
}

static void bucket_print(struct page *p, const char *name, const struct label *labels, unsigned n, const char *le,
                         uint64_t below)
{
    page_printf(p, "weir_%s_bucket", name);
    labels_print(p, labels, n, le);
    page_printf(p, " %" PRIu64 "\n", below);
}

void exposition_histogram(struct page *p, const char *name, const struct label *labels, unsigned n,
                          const uint64_t counts[HISTOGRAM_BUCKETS + 1], uint64_t sum_ns)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        struct page le = {0};
        below += counts[i];
        page_printf(&le, "%g", (double)histogram_bounds[i] / (double)NSEC_PER_SEC);
        bucket_print(p, name, labels, n, le.at, below);
        page_free(&le);
    }
    below += counts[HISTOGRAM_BUCKETS];
    bucket_print(p, name, labels, n, "+Inf", below);
    page_printf(p, "weir_%s_sum", name);
    labels_print(p, labels, n, NULL);
    page_printf(p, " %" PRIu64 ".%09" PRIu64 "\n", sum_ns / NSEC_PER_SEC, sum_ns % NSEC_PER_SEC);
    page_printf(p, "weir_%s_count", name);
    labels_print(p, labels, n, NULL);
    page_printf(p, " %" PRIu64 "\n", below);
}
