/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of figures as text.
 *
 * Prometheus wants all samples of one metric together, so its page goes by filter type, row, instance; people want to see
 * an instance as a whole, so the JSON goes by instance. Both read the values anew for each instance: nothing is kept here.
 */
#include "figures.h"

#include <inttypes.h>
#include <string.h>
#include "conf/snapshot.h"
#include "exposition.h"
#include "figure.h"
#include "filter.h"
#include "http/uri.h"
#include "lib/log.h"
#include "lib/mem.h"

enum { KEYS_MAX = 8 };

static size_t rows_of(const struct filter *type)
{
    size_t n = 0;
    while (type->figures && type->figures[n].name)
        n++;
    return n;
}

static union figure_value *values_read(const struct instance *in, size_t n, uint64_t now)
{
    union figure_value *v = mem_array(n, sizeof *v);
    in->type->figures_read(in->shared, in->options, now, v);
    return v;
}

static const char *mode_of(const struct instance *in) { return in->shadow ? "shadow" : "enforce"; }

static void histogram_read(const struct histogram *h, uint64_t counts[HISTOGRAM_BUCKETS + 1], uint64_t *sum)
{
    for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++)
        counts[i] = atomic_load_explicit(&h->n[i], memory_order_relaxed);
    *sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
}

/* ---- /metrics ---- */

static void sample_print(struct page *p, const struct instance *in, const struct figure *f, union figure_value v)
{
    const struct label labels[] = {
        {"instance", in->name}, {"mode", str_c(mode_of(in))}, {f->label, str_c(f->value)},
    };
    unsigned n = f->label ? 3 : 2;
    if (f->type != FIGURE_HISTOGRAM) {
        exposition_value(p, f->name, labels, n, v.n);
        return;
    }
    uint64_t counts[HISTOGRAM_BUCKETS + 1], sum;
    histogram_read(v.histogram, counts, &sum);
    exposition_histogram(p, f->name, labels, n, counts, sum);
}

/* All rows of one filter type: each name once, under it each instance with its rows of that name. */
static void type_print(const struct snapshot *snap, const struct filter *type, uint64_t now, struct page *p)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    size_t n = rows_of(type);
    for (size_t row = 0, end; row < n; row = end) {
        const struct figure *f = &type->figures[row];
        for (end = row + 1; end < n && !strcmp(type->figures[end].name, f->name); end++) {
        }
        exposition_head(p, f->name, types[f->type], f->help);
        for (size_t i = 0; i < snap->n_instances; i++) {
            const struct instance *in = snap->instances[i];
            if (in->type != type)
                continue;
            union figure_value *v = values_read(in, n, now);
            for (size_t k = row; k < end; k++)
                sample_print(p, in, &type->figures[k], v[k]);
            mem_free(v);
        }
    }
}

void figures_metrics(const struct snapshot *snap, uint64_t now, struct page *p)
{
    for (size_t i = 0; i < snap->n_instances; i++) {
        const struct filter *type = snap->instances[i]->type;
        bool first = true;
        for (size_t k = 0; k < i; k++)
            first = first && snap->instances[k]->type != type;
        if (first && type->figures)
            type_print(snap, type, now, p);
    }
}

/* ---- /limits ---- */

/* The name without its type before it: an instance's own figures need not repeat it. */
static const char *short_name(const struct instance *in, const struct figure *f)
{
    size_t n = strlen(in->type->name);
    return !strncmp(f->name, in->type->name, n) && f->name[n] == '_' ? f->name + n + 1 : f->name;
}

static void histogram_json(struct page *p, const struct histogram *h)
{
    uint64_t counts[HISTOGRAM_BUCKETS + 1], sum, n = 0;
    histogram_read(h, counts, &sum);
    for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++)
        n += counts[i];
    page_printf(p, "{\"count\":%" PRIu64 ",\"mean_ms\":%.3f}", n, n ? (double)sum / (double)n / 1e6 : 0.0);
}

/* "name":value, or "name":{"label's value":value, ...}. */
static void figures_json(struct page *p, const struct instance *in, uint64_t now)
{
    size_t n = rows_of(in->type);
    union figure_value *v = values_read(in, n, now);
    const char *last = "";
    for (size_t i = 0; i < n; i++) {
        const struct figure *f = &in->type->figures[i];
        bool again = f->label && !strcmp(last, f->name);
        bool more = f->label && i + 1 < n && !strcmp(f[1].name, f->name);
        if (!again)
            page_printf(p, ",\"%s\":%s", short_name(in, f), f->label ? "{" : "");
        if (f->label)
            page_printf(p, "%s\"%s\":", again ? "," : "", f->value);
        if (f->type == FIGURE_HISTOGRAM)
            histogram_json(p, v[i].histogram);
        else
            page_printf(p, "%" PRIu64, v[i].n);
        if (f->label && !more)
            page_printf(p, "}");
        last = f->name;
    }
    mem_free(v);
}

/* The values of all parameters `key`, decoded into `text`. */
static size_t keys_of(struct str query, struct str values[KEYS_MAX], char *text)
{
    size_t n = 0;
    struct str raw;
    while (n < KEYS_MAX && uri_query_get(query, STR("key"), &raw)) {
        values[n].at = text;
        values[n].len = uri_query_decode(raw, text);
        text += values[n++].len;
        size_t done = (size_t)(raw.at - query.at) + raw.len;
        query = str_of(query.at + done, query.len - done);
    }
    return n;
}

static void instance_json(struct page *p, const struct instance *in, const struct str *keys, size_t n_keys, uint64_t now)
{
    page_printf(p, "{\"instance\":");
    page_json(p, in->name);
    page_printf(p, ",\"type\":\"%s\",\"mode\":\"%s\"", in->type->name, mode_of(in));
    figures_json(p, in, now);
    if (n_keys > 0 && in->type->key_print)
        (void)in->type->key_print(in->shared, in->options, keys, n_keys, now, p);
    page_printf(p, "}");
}

int figures_limits(const struct snapshot *snap, struct str query, uint64_t now, struct page *p)
{
    struct str keys[KEYS_MAX], name = {NULL, 0}, raw;
    char *text = mem_alloc(2 * query.len + 1), *named = text + query.len;
    size_t n_keys = keys_of(query, keys, text), shown = 0;
    if (uri_query_get(query, STR("instance"), &raw))
        name = str_of(named, uri_query_decode(raw, named));
    page_printf(p, "{\"generation\":%" PRIu64 ",\"limits\":[", snap->generation);
    for (size_t i = 0; i < snap->n_instances; i++) {
        const struct instance *in = snap->instances[i];
        if (!in->type->figures || (name.at && !str_eq(name, in->name)))
            continue;
        page_printf(p, "%s\n", shown++ ? "," : "");
        instance_json(p, in, keys, n_keys, now);
    }
    page_printf(p, "%s]}\n", shown ? "\n" : "");
    if (name.at && shown == 0) {
        p->len = 0;
        page_printf(p, "{\"error\":\"no limit of this name\",\"instance\":");
        page_json(p, name);
        page_printf(p, "}\n");
    }
    mem_free(text);
    return name.at && shown == 0 ? 404 : 200;
}

/* ---- /command ---- */

static const struct instance *commanded(const struct snapshot *snap, struct str name)
{
    for (size_t i = 0; i < snap->n_instances; i++)
        if (snap->instances[i]->type->command && str_eq(snap->instances[i]->name, name))
            return snap->instances[i];
    return NULL;
}

static void commanded_print(const struct snapshot *snap, struct page *p)
{
    const char *before = "";
    for (size_t i = 0; i < snap->n_instances; i++) {
        if (!snap->instances[i]->type->command)
            continue;
        page_printf(p, "%s", before);
        page_json(p, snap->instances[i]->name);
        before = ",";
    }
}

int figures_command(const struct snapshot *snap, struct str query, uint64_t now, struct page *p)
{
    struct str raw, name = {NULL, 0}, word = {NULL, 0};
    char *text = mem_alloc(2 * query.len + 1);
    int status = 200;
    if (uri_query_get(query, STR("instance"), &raw))
        name = str_of(text, uri_query_decode(raw, text));
    if (uri_query_get(query, STR("word"), &raw))
        word = str_of(text + query.len, uri_query_decode(raw, text + query.len));
    const struct instance *in = commanded(snap, name);
    if (!in) {
        status = 404;
        page_printf(p, "{\"error\":\"no instance of this name takes orders\",\"instance\":");
        page_json(p, name);
        page_printf(p, ",\"instances\":[");
        commanded_print(snap, p);
        page_printf(p, "]}\n");
    } else if (!in->type->command(in->shared, in->options, word, now)) {
        status = 400;
        page_printf(p, "{\"error\":\"the order must be one of: %s\",\"word\":", in->type->commands);
        page_json(p, word);
        page_printf(p, "}\n");
    } else {
        log_info("admin", STR_FMT ": " STR_FMT, STR_ARG(name), STR_ARG(word));
        page_printf(p, "{\"instance\":");
        page_json(p, name);
        page_printf(p, ",\"word\":");
        page_json(p, word);
        page_printf(p, "}\n");
    }
    mem_free(text);
    return status;
}
