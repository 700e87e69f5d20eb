/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manual page of the configuration, weir.yaml(5). The same rows as in the reference, as lists instead of tables.
 */
#include "conf/doc.h"

#include "conf/diag.h"
#include "conf/doc_form.h"
#include "conf/roff.h"
#include "conf/schema.h"
#include "lib/page.h"
#include "reason.h"

static void row_print(struct page *out, const struct field *f)
{
    struct page note = {0};

    doc_value(&note, f);
    if (f->required || f->fallback) {
        page_printf(&note, f->required ? "; " : "; default ");
        doc_default(&note, f);
    }
    roff_item(out, f->key, note.at, f->help);
    page_free(&note);
}

static void rows_print(struct page *out, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++)
        row_print(out, f);
}

static void subsections_print(struct page *out, const char *path, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        struct doc_path below = doc_path(path, f->key);
        if (!f->sub)
            continue;
        roff_subsection(out, below.text);
        rows_print(out, f->sub);
        subsections_print(out, below.text, f->sub);
    }
}

static void filter_print(struct page *out, const struct filter *f)
{
    struct page about = {0};

    page_printf(&about, "%s ", f->help ? f->help : "");
    doc_places(&about, f);
    roff_subsection(out, f->name);
    roff_paragraph(out, about.at);
    page_free(&about);
    rows_print(out, f->fields);
    subsections_print(out, f->name, f->fields);
}

static void reasons_print(struct page *out)
{
    roff_section(out, "REASONS");
    roff_paragraph(out, "How a request ended, in one word: in the answer's body, in the access log, and as label of "
                        "`weir_requests_total`.");
    for (int r = 0; r < REASON_COUNT; r++) {
        struct page status = {0};
        if (reason_status((enum reason)r))
            page_printf(&status, "%d", reason_status((enum reason)r));
        roff_item(out, reason_name((enum reason)r), status.at, reason_detail((enum reason)r));
        page_free(&status);
    }
}

static void codes_print(struct page *out)
{
    roff_section(out, "ERRORS AND WARNINGS");
    roff_paragraph(out, "What `weir check`, a start and a reload say of a configuration. With a warning (W) it is taken all the "
                        "same.");
    for (const struct diag_meaning *m = diag_meanings; m->code != CODE_none; m++) {
        roff_item(out, diag_code_text(m->code).text, m->name, m->meaning);
        roff_more(out, m->remedy);
    }
}

static const char example[] =
    "version: 1\n"
    "listen: 127.0.0.1:8080\n"
    "upstreams:\n"
    "  api:\n"
    "    endpoints: http://127.0.0.1:9000\n"
    "routes:\n"
    "  - match: /\n"
    "    upstream: api\n"
    "    filters:\n"
    "      - token_bucket: {rate: 100/s, key: \"header:x-api-key\"}\n";

void doc_man(struct page *out, const struct filter *const *filters)
{
    roff_title(out, "weir.yaml", 5, "configuration of the reverse proxy weir");
    roff_section(out, "DESCRIPTION");
    roff_paragraph(out, "What weir serves, where it sends it and what it lets through stands in one YAML file, which is "
                        "named by `weir run -c FILE`. Unknown and repeated keys, values without their unit and names that "
                        "nobody defined are errors; `weir check FILE` tells all of them, each with its place.");
    roff_paragraph(out, "Durations, sizes and rates need units. A value may hold `${VAR}`, `${VAR:-default}`, "
                        "`${VAR:?message}` and `${file:/path}`; `$${` is a literal `${`. Inside `[]` and `{}` such a value "
                        "must be quoted.");
    roff_section(out, "TOP LEVEL");
    rows_print(out, schema_fields);
    roff_section(out, "SECTIONS");
    subsections_print(out, "", schema_fields);
    roff_section(out, "FILTERS");
    roff_paragraph(out, "A list of filters holds names from `define`, bare types (`request_id`: all defaults) and mappings "
                        "(`{token_bucket: {rate: 100/s}}`). The listener's filters run first, then the route's, then the "
                        "upstream's. Every filter has these keys too:");
    rows_print(out, schema_common_fields);
    for (; *filters; filters++)
        filter_print(out, *filters);
    codes_print(out);
    reasons_print(out);
    roff_section(out, "EXAMPLE");
    roff_example(out, example);
    roff_section(out, "SEE ALSO");
    roff_paragraph(out, "`weir`(1)");
}
