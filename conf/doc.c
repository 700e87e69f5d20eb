/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manual's reference in Markdown. A mapping inside a mapping gets a section of its own, named by its path.
 */
#include "conf/doc.h"

#include "conf/schema.h"
#include "conf/unit.h"

#define PATH_CAP 128

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

static void bounds_print(FILE *out, const struct field *f)
{
    if (f->min && f->max)
        fprintf(out, ", %s to %s", unit_text(f->type, f->min).text, unit_text(f->type, f->max).text);
    else if (f->max)
        fprintf(out, ", at most %s", unit_text(f->type, f->max).text);
    else if (f->min)
        fprintf(out, ", at least %s", unit_text(f->type, f->min).text);
}

static void form_print(FILE *out, const struct field *f)
{
    fputs(form_of(f), out);
    for (int i = 0; f->type == FIELD_ENUM && f->words[i]; i++)
        fprintf(out, "%s`%s`", i ? ", " : "", f->words[i]);
    bounds_print(out, f);
}

/* A cell of a table: "|" would end it. */
static void cell_print(FILE *out, const char *text)
{
    for (; text && *text; text++)
        fprintf(out, *text == '|' ? "\\|" : "%c", *text);
}

static void rows_print(FILE *out, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        fprintf(out, "| `%s` | ", f->key);
        form_print(out, f);
        if (f->required)
            fputs(" | required | ", out);
        else if (f->fallback)
            fprintf(out, " | `%s` | ", f->fallback);
        else
            fputs(" | none | ", out);
        cell_print(out, f->help);
        fputs(" |\n", out);
    }
}

static void table_print(FILE *out, const struct field *fields)
{
    fputs("| key | value | default | meaning |\n| --- | --- | --- | --- |\n", out);
    rows_print(out, fields);
    fputc('\n', out);
}

static void section_print(FILE *out, const char *path, const struct field *fields);

static void subsections_print(FILE *out, const char *path, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        char below[PATH_CAP];
        if (!f->sub)
            continue;
        (void)snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "", f->key);
        section_print(out, below, f->sub);
    }
}

static void section_print(FILE *out, const char *path, const struct field *fields)
{
    fprintf(out, "### `%s`\n\n", path);
    table_print(out, fields);
    subsections_print(out, path, fields);
}

static void places_print(FILE *out, unsigned places)
{
    static const char *const names[] = {"listeners", "routes", "upstreams"};
    const char *sep = "";

    fputs("May stand on ", out);
    for (unsigned i = 0; i < array_len(names); i++)
        if (places & 1u << i) {
            fprintf(out, "%s%s", sep, names[i]);
            sep = ", ";
        }
    fputs(".", out);
}

static void filter_print(FILE *out, const struct filter *f)
{
    fprintf(out, "### `%s`\n\n%s ", f->name, f->help ? f->help : "");
    places_print(out, f->places);
    for (const char *const *p = f->provides; p && *p; p++)
        fprintf(out, "%s`%s`", p == f->provides ? " Provides " : ", ", *p);
    fputs(f->provides && *f->provides ? ".\n\n" : "\n\n", out);
    if (f->fields && f->fields->type != FIELD_END)
        table_print(out, f->fields);
    else
        fputs("It has no options of its own.\n\n", out);
    subsections_print(out, f->name, f->fields);
}

void doc_manual(FILE *out, const struct filter *const *filters)
{
    fputs("# Configuration reference\n\n"
          "Made by `weir doc` from the tables that read the configuration.\n\n"
          "Durations, sizes and rates need units. A value may hold `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and\n"
          "`${file:/path}`; `$${` is a literal `${`. Inside `[]` and `{}` such a value must be quoted.\n\n"
          "## Top level\n\n", out);
    table_print(out, schema_fields);
    subsections_print(out, "", schema_fields);
    fputs("## Filters\n\n"
          "A list of filters holds names from `define`, bare types (`request_id`: all defaults) and mappings\n"
          "(`{token_bucket: {rate: 100/s}}`). The listener's filters run first, then the route's, then the upstream's.\n\n"
          "Every filter has these keys too:\n\n", out);
    table_print(out, schema_common_fields);
    for (; *filters; filters++)
        filter_print(out, *filters);
}
