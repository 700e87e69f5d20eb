/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as a JSON Schema, for editors. It accepts whatever weir may accept: a value with a variable in it
 * is any text, and what depends on two keys at once (bounds between them, names that must exist) is left to `weir
 * check`.
 */
#include <inttypes.h>

#include "conf/doc.h"
#include "conf/schema.h"

#define VARIABLE "{\"$ref\":\"#/$defs/variable\"}"

static void string_print(FILE *out, const char *text)
{
    fputc('"', out);
    for (; text && *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < ' ')
            fprintf(out, "\\u%04x", (unsigned)c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void object_print(FILE *out, const struct field *fields, const struct field *more);

static void count_print(FILE *out, const struct field *f)
{
    fprintf(out, "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":%" PRIu64, f->min);
    if (f->max)
        fprintf(out, ",\"maximum\":%" PRIu64, f->max);
    fputs("}," VARIABLE "]}", out);
}

static void pattern_print(FILE *out, const char *pattern)
{
    fputs("{\"anyOf\":[{\"type\":\"string\",\"pattern\":", out);
    string_print(out, pattern);
    fputs("}," VARIABLE "]}", out);
}

static void enum_print(FILE *out, const struct field *f)
{
    fputs("{\"anyOf\":[{\"enum\":[", out);
    for (int i = 0; f->words[i]; i++) {
        fputs(i ? "," : "", out);
        string_print(out, f->words[i]);
    }
    fputs("]}," VARIABLE "]}", out);
}

/* The row's own schema, "@" replaced by that of its mapping. */
static void custom_print(FILE *out, const struct field *f)
{
    const char *json = f->json ? f->json : f->sub ? "@" : "{}";
    for (; *json; json++) {
        if (*json == '@')
            object_print(out, f->sub, NULL);
        else
            fputc(*json, out);
    }
}

#define DURATION "[0-9]+(us|ms|s|m|h)"
#define TEXT "{\"type\":[\"string\",\"number\",\"boolean\"]}"

static void value_print(FILE *out, const struct field *f)
{
    switch (f->type) {
    case FIELD_BOOL: fputs("{\"anyOf\":[{\"type\":\"boolean\"}," VARIABLE "]}", out); return;
    case FIELD_COUNT: count_print(out, f); return;
    case FIELD_SIZE: pattern_print(out, "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)$"); return;
    case FIELD_DURATION: pattern_print(out, "^" DURATION "$"); return;
    case FIELD_PERCENT: pattern_print(out, "^[0-9]+(\\.[0-9]{1,2})?%$"); return;
    case FIELD_RATE: pattern_print(out, "^[0-9]+/(s|min|h)$"); return;
    case FIELD_DURATION_RANGE: pattern_print(out, "^" DURATION "\\.\\." DURATION "$"); return;
    case FIELD_TEXT: fputs(TEXT, out); return;
    case FIELD_TOKEN: fputs("{\"type\":\"string\"}", out); return;
    case FIELD_ENUM: enum_print(out, f); return;
    case FIELD_TEXTS: fputs("{\"anyOf\":[" TEXT ",{\"type\":\"array\",\"items\":" TEXT "}]}", out); return;
    case FIELD_PAIRS: fputs("{\"type\":\"object\",\"additionalProperties\":" TEXT "}", out); return;
    case FIELD_CIDRS:
        fputs("{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}]}", out);
        return;
    case FIELD_MAP: object_print(out, f->sub, NULL); return;
    case FIELD_CUSTOM: custom_print(out, f); return;
    case FIELD_END: break;
    }
    unreachable();
}

static const char *properties_print(FILE *out, const struct field *fields, const char *sep)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        fputs(sep, out);
        string_print(out, f->key);
        fputs(":{\"description\":", out);
        string_print(out, f->help);
        fputs(",\"allOf\":[", out);
        value_print(out, f);
        fputs("]}", out);
        sep = ",\n";
    }
    return sep;
}

static void required_print(FILE *out, const struct field *fields)
{
    const char *sep = ",\"required\":[", *end = "";

    for (const struct field *f = fields; f && f->type != FIELD_END; f++)
        if (f->required) {
            fputs(sep, out);
            string_print(out, f->key);
            sep = ",";
            end = "]";
        }
    fputs(end, out);
}

/* A mapping with the keys of one or two tables. */
static void object_print(FILE *out, const struct field *fields, const struct field *more)
{
    fputs("{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\n", out);
    properties_print(out, more, properties_print(out, fields, ""));
    fputs("}", out);
    required_print(out, fields);
    fputs("}", out);
}

static void filters_print(FILE *out, const struct filter *const *filters)
{
    fputs("\"filter\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"additionalProperties\":false,"
          "\"minProperties\":1,\"maxProperties\":1,\"properties\":{\n", out);
    for (const struct filter *const *f = filters; *f; f++) {
        fputs(f == filters ? "" : ",\n", out);
        string_print(out, (*f)->name);
        fputs(":{\"description\":", out);
        string_print(out, (*f)->help);
        fputs(",\"anyOf\":[{\"type\":\"null\"},", out);
        object_print(out, (*f)->fields, schema_common_fields);
        fputs("]}", out);
    }
    fputs("}}]}", out);
}

void doc_schema(FILE *out, const struct filter *const *filters)
{
    fputs("{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\n\"title\":\"weir configuration\",\n"
          "\"$ref\":\"#/$defs/top\",\n\"$defs\":{\n"
          "\"variable\":{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"},\n", out);
    filters_print(out, filters);
    fputs(",\n\"top\":", out);
    object_print(out, schema_fields, NULL);
    fputs("}}\n", out);
}
