/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the field tables in words. Nothing here knows a key: what a table says is all that is told of it.
 */
#include "conf/doc_form.h"

#include <stdio.h>
#include "conf/schema.h"
#include "conf/unit.h"
#include "lib/page.h"

static const char *form_of(const struct field *f)
{
    switch (f->type) {
    case FIELD_BOOL: return "`true` or `false`";
    case FIELD_COUNT: return "number";
    case FIELD_SIZE: return "size: `64KiB`, `1MiB`";
    case FIELD_DURATION: return "duration: `250ms`, `2s`";
    case FIELD_PERCENT: return "percentage: `10%`";
    case FIELD_RATE: return "rate: `100/s`, `6000/min`, `10/h`";
    case FIELD_DURATION_RANGE: return "range: `100ms..2s`";
    case FIELD_TEXT: return "text";
    case FIELD_TOKEN: return "header name";
    case FIELD_TEXTS: return "text or list of texts";
    case FIELD_PAIRS: return "mapping of texts";
    case FIELD_CIDRS: return "network or list of networks";
    case FIELD_MAP: return "mapping";
    case FIELD_CUSTOM: return f->form ? f->form : "value";
    case FIELD_ENUM: case FIELD_END: break;
    }
    return "";
}

static void bounds_print(struct page *out, const struct field *f)
{
    if (f->min && f->max)
        page_printf(out, ", %s to %s", unit_text(f->type, f->min).text, unit_text(f->type, f->max).text);
    else if (f->max)
        page_printf(out, ", at most %s", unit_text(f->type, f->max).text);
    else if (f->min)
        page_printf(out, ", at least %s", unit_text(f->type, f->min).text);
}

void doc_value(struct page *out, const struct field *f)
{
    page_printf(out, "%s", form_of(f));
    for (int i = 0; f->type == FIELD_ENUM && f->words[i]; i++)
        page_printf(out, "%s`%s`", i ? ", " : "", f->words[i]);
    bounds_print(out, f);
}

void doc_default(struct page *out, const struct field *f)
{
    if (f->required)
        page_printf(out, "required");
    else if (f->fallback)
        page_printf(out, "`%s`", f->fallback);
    else
        page_printf(out, "none");
}

void doc_places(struct page *out, const struct filter *f)
{
    static const char *const names[] = {"listeners", "routes", "upstreams"};
    const char *sep = "";

    page_printf(out, "May stand on ");
    for (unsigned i = 0; i < array_len(names); i++)
        if (f->places & 1u << i) {
            page_printf(out, "%s%s", sep, names[i]);
            sep = ", ";
        }
    page_printf(out, ".");
    for (const char *const *p = f->provides; p && *p; p++)
        page_printf(out, "%s`%s`", p == f->provides ? " Provides " : ", ", *p);
    page_printf(out, "%s", f->provides && *f->provides ? "." : "");
}

struct doc_path doc_path(const char *path, const char *key)
{
    struct doc_path p;
    (void)snprintf(p.text, sizeof(p.text), "%s%s%s", path, *path ? "." : "", key);
    return p;
}

bool doc_is_named(const struct field *f)
{
    return f->sub && f->json && strstr(f->json, "\"additionalProperties\":@") != NULL;
}

static void rows_walk(const char *path, const struct field *fields, const struct doc_key *like, doc_visit *visit, void *ctx)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        struct doc_path below = doc_path(path, f->key);
        struct doc_key key = *like;
        key.path = below.text;
        key.field = f;
        visit(ctx, &key);
        rows_walk(below.text, f->sub, like, visit, ctx);
    }
}

void doc_walk(const struct filter *const *filters, doc_visit *visit, void *ctx)
{
    rows_walk("", schema_fields, &(struct doc_key){.common = false}, visit, ctx);
    for (; *filters; filters++) {
        struct doc_key key = {.path = (*filters)->name, .filter = *filters};
        visit(ctx, &key);
        rows_walk((*filters)->name, (*filters)->fields, &key, visit, ctx);
        key.common = true;
        rows_walk((*filters)->name, schema_common_fields, &key, visit, ctx);
    }
}
