/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manual's reference in Markdown. A mapping inside a mapping gets a section of its own, named by its path.
 */
#include "conf/doc.h"

#include "conf/diag.h"
#include "conf/doc_form.h"
#include "conf/schema.h"
#include "lib/page.h"
#include "reason.h"

/* A cell of a table: "|" would end it. */
static void cell_print(struct page *out, const char *text)
{
    for (; text && *text; text++)
        page_printf(out, *text == '|' ? "\\|" : "%c", *text);
}

static void rows_print(struct page *out, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        page_printf(out, "| `%s` | ", f->key);
        doc_value(out, f);
        page_printf(out, " | ");
        doc_default(out, f);
        page_printf(out, " | ");
        cell_print(out, f->help);
        page_printf(out, " |\n");
    }
}

static void table_print(struct page *out, const struct field *fields)
{
    page_printf(out, "| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    rows_print(out, fields);
    page_printf(out, "\n");
}

static void subsections_print(struct page *out, const char *path, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        struct doc_path below = doc_path(path, f->key);
        if (!f->sub)
            continue;
        page_printf(out, "### `%s`\n\n", below.text);
        table_print(out, f->sub);
        subsections_print(out, below.text, f->sub);
    }
}

static void filter_print(struct page *out, const struct filter *f)
{
    page_printf(out, "### `%s`\n\n%s ", f->name, f->help ? f->help : "");
    doc_places(out, f);
    page_printf(out, "\n\n");
    if (f->fields && f->fields->type != FIELD_END)
        table_print(out, f->fields);
    else
        page_printf(out, "It has no options of its own.\n\n");
    subsections_print(out, f->name, f->fields);
}

static void reasons_print(struct page *out)
{
    page_printf(out, "## Reasons\n\n"
                "How a request ended, in one word: in the answer's body, in the access log, and as label of\n"
                "`weir_requests_total`. Status 0: the answer has a status of its own, or none can be given and the\n"
                "connection is cut.\n\n"
                "| reason | status | meaning |\n| --- | --- | --- |\n");
    for (int r = 0; r < REASON_COUNT; r++) {
        page_printf(out, "| `%s` | %d | ", reason_name((enum reason)r), reason_status((enum reason)r));
        cell_print(out, reason_detail((enum reason)r));
        page_printf(out, " |\n");
    }
}

static void codes_print(struct page *out)
{
    page_printf(out, "## Errors and warnings\n\n"
                "What `weir check`, a start and a reload say of a configuration. A number never changes its meaning.\n"
                "With a warning (W) the configuration is taken all the same.\n\n"
                "| code | meaning | what to do |\n| --- | --- | --- |\n");
    for (const struct diag_meaning *m = diag_meanings; m->code != CODE_none; m++) {
        page_printf(out, "| %s `%s` | ", diag_code_text(m->code).text, m->name);
        cell_print(out, m->meaning);
        page_printf(out, " | ");
        cell_print(out, m->remedy);
        page_printf(out, " |\n");
    }
    page_printf(out, "\n");
}

void doc_manual(struct page *out, const struct filter *const *filters)
{
    page_printf(out, "# Reference\n\n"
                "Made by `weir doc` from the tables that read the configuration; `weir doc KEY` shows one key of it.\n\n"
                "Durations, sizes and rates need units. A value may hold `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and\n"
                "`${file:/path}`; `$${` is a literal `${`. Inside `[]` and `{}` such a value must be quoted.\n\n"
                "## Top level\n\n");
    table_print(out, schema_fields);
    subsections_print(out, "", schema_fields);
    page_printf(out, "## Filters\n\n"
                "A list of filters holds names from `define`, bare types (`request_id`: all defaults) and mappings\n"
                "(`{token_bucket: {rate: 100/s}}`). The listener's filters run first, then the route's, then the\n"
                "upstream's.\n\n"
                "Every filter has these keys too:\n\n");
    table_print(out, schema_common_fields);
    for (; *filters; filters++)
        filter_print(out, *filters);
    codes_print(out);
    reasons_print(out);
}
