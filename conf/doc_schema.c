/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as a JSON Schema, for editors and for tools that write configurations. It refuses nothing that weir takes: a
 * value with a variable in it is any text, a number may stand in quotes, and what depends on two places at once (bounds
 * between keys, names that must exist) is left to `weir check`.
 *
 * Rows that are read by a function of their own bring their part of the schema with them; in it, "@" stands for the
 * mapping of the row's table, and "#/$defs/..." names what stands below.
 */
#include <inttypes.h>

#include "conf/doc.h"
#include "conf/doc_form.h"
#include "conf/schema.h"
#include "lib/page.h"

#define REF(name) "{\"$ref\":\"#/$defs/" name "\"}"
#define OR_VARIABLE "," REF("variable") "]}"

static void string_print(struct page *out, const char *text) { page_json(out, str_c(text ? text : "")); }

static void object_print(struct page *out, const char *path, const struct field *fields, const struct field *more);

static void count_print(struct page *out, const struct field *f)
{
    page_printf(out, "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":%" PRIu64, f->min);
    if (f->max)
        page_printf(out, ",\"maximum\":%" PRIu64, f->max);
    page_printf(out, "}," REF("digits") OR_VARIABLE);
}

static void enum_print(struct page *out, const struct field *f)
{
    page_printf(out, "{\"anyOf\":[{\"enum\":[");
    for (int i = 0; f->words[i]; i++) {
        page_printf(out, "%s", i ? "," : "");
        string_print(out, f->words[i]);
    }
    page_printf(out, "]}" OR_VARIABLE);
}

/* The row's own schema, "@" replaced by that of its mapping. */
static void own_print(struct page *out, const char *path, const struct field *f)
{
    for (const char *json = f->json ? f->json : f->sub ? "@" : "{}"; *json; json++) {
        if (*json == '@')
            object_print(out, path, f->sub, NULL);
        else
            page_printf(out, "%c", *json);
    }
}

static void value_print(struct page *out, const char *path, const struct field *f)
{
    const char *ref = "";

    switch (f->json ? FIELD_CUSTOM : f->type) {
    case FIELD_COUNT: count_print(out, f); return;
    case FIELD_ENUM: enum_print(out, f); return;
    case FIELD_MAP: object_print(out, path, f->sub, NULL); return;
    case FIELD_CUSTOM: own_print(out, path, f); return;
    case FIELD_BOOL: ref = REF("boolean"); break;
    case FIELD_SIZE: ref = REF("size"); break;
    case FIELD_DURATION: ref = REF("duration"); break;
    case FIELD_PERCENT: ref = f->max > 10000 ? REF("percentage_above_100") : REF("percentage"); break;
    case FIELD_RATE: ref = REF("rate"); break;
    case FIELD_DURATION_RANGE: ref = REF("range"); break;
    case FIELD_TEXT: ref = REF("text"); break;
    case FIELD_TOKEN: ref = REF("token"); break;
    case FIELD_TEXTS: ref = REF("texts"); break;
    case FIELD_PAIRS: ref = REF("pairs"); break;
    case FIELD_CIDRS: ref = REF("networks"); break;
    case FIELD_END: break;
    }
    page_printf(out, "%s%s", ref, f->min ? ",{\"not\":{\"pattern\":\"^0+(\\\\.0+)?[A-Za-z%]\"}}" : "");
}

/* A default as the value that YAML makes of it: numbers and truth values are such, all else is text. */
static void default_print(struct page *out, const struct field *f)
{
    struct str text = str_c(f->fallback);
    uint64_t number;

    if (!f->fallback)
        return;
    page_printf(out, "\"default\":");
    if (f->type == FIELD_BOOL || str_u64(text, &number))
        page_printf(out, STR_FMT, STR_ARG(text));
    else
        page_json(out, text);
    page_printf(out, ",");
}

static const char *properties_print(struct page *out, const char *path, const struct field *fields, const char *sep)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        struct doc_path below = doc_path(path, f->key);
        struct page about = {0};
        page_printf(out, "%s", sep);
        string_print(out, f->key);
        page_printf(out, ":{\"title\":");
        string_print(out, below.text);
        page_printf(&about, "%s\n\n", f->help);
        doc_value(&about, f);
        page_printf(out, ",\"description\":");
        string_print(out, about.at);
        page_printf(out, ",");
        page_free(&about);
        default_print(out, f);
        page_printf(out, "\"allOf\":[");
        value_print(out, below.text, f);
        page_printf(out, "]}");
        sep = ",\n";
    }
    return sep;
}

/* Returns whether there was one. */
static bool required_print(struct page *out, const struct field *fields)
{
    const char *sep = ",\"required\":[";
    bool any = false;

    for (const struct field *f = fields; f && f->type != FIELD_END; f++)
        if (f->required) {
            page_printf(out, "%s", sep);
            string_print(out, f->key);
            sep = ",";
            any = true;
        }
    page_printf(out, "%s", any ? "]" : "");
    return any;
}

/* A mapping with the keys of one or two tables. */
static void object_print(struct page *out, const char *path, const struct field *fields, const struct field *more)
{
    page_printf(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\n");
    properties_print(out, path, more, properties_print(out, path, fields, ""));
    page_printf(out, "}");
    required_print(out, fields);
    page_printf(out, "}");
}

static bool needs_options(const struct filter *f)
{
    for (const struct field *row = f->fields; row && row->type != FIELD_END; row++)
        if (row->required)
            return true;
    return false;
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

/* Options of each filter, as "filter_NAME". */
static void options_print(struct page *out, const struct filter *const *filters)
{
    for (; *filters; filters++) {
        page_printf(out, "\"filter_%s\":{\"anyOf\":[%s", (*filters)->name,
                    needs_options(*filters) ? "" : "{\"type\":\"null\"},");
        object_print(out, (*filters)->name, (*filters)->fields, schema_common_fields);
        page_printf(out, "]},\n");
    }
}

/* Types that may stand there, as a list: all of them, or those that need no options, or those that do. */
enum which { ALL, BARE, NOT_BARE };

static void types_print(struct page *out, const struct filter *const *filters, unsigned place, enum which which)
{
    const char *sep = "";

    for (; *filters; filters++) {
        bool allowed = (*filters)->places & place && which != NOT_BARE && (which == ALL || !needs_options(*filters));
        bool refused = which == NOT_BARE && (!((*filters)->places & place) || needs_options(*filters));
        if (!allowed && !refused)
            continue;
        page_printf(out, "%s\"%s\"", sep, (*filters)->name);
        sep = ",";
    }
}

static void by_type_print(struct page *out, const struct filter *const *filters, unsigned place)
{
    const char *sep = "";

    page_printf(out, "{\"type\":\"object\",\"additionalProperties\":false,\"minProperties\":1,\"maxProperties\":1,"
                "\"properties\":{\n");
    for (; *filters; filters++) {
        struct page about = {0};
        if (!((*filters)->places & place))
            continue;
        page_printf(&about, "%s ", (*filters)->help ? (*filters)->help : "");
        doc_places(&about, *filters);
        page_printf(out, "%s\"%s\":{\"title\":\"%s\",\"description\":", sep, (*filters)->name, (*filters)->name);
        string_print(out, about.at);
        page_printf(out, ",\"allOf\":[{\"$ref\":\"#/$defs/filter_%s\"}]}", (*filters)->name);
        page_free(&about);
        sep = ",\n";
    }
    page_printf(out, "}}");
}

/* One item of a list of filters: a type that needs no options, a name from `define`, or a type with its options. */
static void item_print(struct page *out, const char *name, const struct filter *const *filters, unsigned place)
{
    page_printf(out, "\"%s\":{\"anyOf\":[{\"enum\":[", name);
    types_print(out, filters, place, BARE);
    page_printf(out, "]},{\"title\":\"a name from define\",\"type\":\"string\",\"not\":{\"enum\":[");
    types_print(out, filters, place, NOT_BARE);
    page_printf(out, "]}},\n");
    by_type_print(out, filters, place);
    page_printf(out, "]},\n");
}

static void define_print(struct page *out, const struct filter *const *filters)
{
    page_printf(out, "\"define\":{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[A-Za-z0-9_.-]{1,64}$\","
                "\"not\":{\"enum\":[");
    types_print(out, filters, PLACE_ANY, ALL);
    page_printf(out, "]}},\"additionalProperties\":{\"anyOf\":[{\"enum\":[");
    types_print(out, filters, PLACE_ANY, BARE);
    page_printf(out, "]}," REF("variable") ",\n");
    by_type_print(out, filters, PLACE_ANY);
    page_printf(out, "]}},\n");
}

#define DURATION "[0-9]+(us|ms|s|m|h)"
#define CLASS "[!#$%%&'*+.^_`|~0-9A-Za-z-]"
#define PART "(client_ip|host|route|consumer|(header|cookie|query|param):" CLASS "+)"
#define PATTERN(name, about, pattern, or_variable) \
    "\"" name "\":{\"title\":\"" about "\",\"anyOf\":[{\"type\":\"string\",\"pattern\":\"" pattern "\"}" or_variable
#define LIST_OF(name) "{\"anyOf\":[" REF(name) ",{\"type\":\"array\",\"items\":" REF(name) "}]}"

static void values_print(struct page *out)
{
    page_printf(out,
        "\"variable\":{\"title\":\"a value with a variable\",\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"},\n"
        "\"digits\":{\"type\":\"string\",\"pattern\":\"^[0-9]+$\"},\n"
        "\"boolean\":{\"anyOf\":[{\"enum\":[true,false,\"true\",\"false\"]}" OR_VARIABLE ",\n"
        PATTERN("size", "a size: 64KiB, 1MiB", "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)$", OR_VARIABLE) ",\n"
        PATTERN("duration", "a duration: 250ms, 2s", "^" DURATION "$", OR_VARIABLE) ",\n"
        PATTERN("range", "a range: 100ms..2s", "^" DURATION "\\\\.\\\\." DURATION "$", OR_VARIABLE) ",\n"
        PATTERN("percentage", "a percentage: 10%%", "^(0*100(\\\\.00?)?|0*[0-9]{1,2}(\\\\.[0-9]{1,2})?)%%$", OR_VARIABLE) ",\n"
        PATTERN("percentage_above_100", "a percentage: 150%%", "^[0-9]+(\\\\.[0-9]{1,2})?%%$", OR_VARIABLE) ",\n"
        PATTERN("rate", "a rate: 100/s, 6000/min, 10/h", "^0*[1-9][0-9]*/(s|min|h)$", OR_VARIABLE) ",\n"
        PATTERN("token", "a header's name", "^" CLASS "+$", ",{\"type\":\"integer\",\"minimum\":0}" OR_VARIABLE) ",\n"
        PATTERN("network", "a network: 10.0.0.0/8", "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", OR_VARIABLE) ",\n"
        PATTERN("path", "a path", "^/", OR_VARIABLE) ",\n"
        PATTERN("url_path", "a path, without a query", "^/([^/ ?#]+/)*([^/ ?#]+)?$", OR_VARIABLE) ",\n"
        PATTERN("address", "an address: 127.0.0.1:8080, :8080, [::1]:8080, unix:/path",
                "^(unix:/.+|([0-9.]*|\\\\[[0-9A-Fa-f:.]+\\\\]):[0-9]{1,5})$", OR_VARIABLE) ",\n"
        PATTERN("endpoint", "an endpoint: http://host:8000, https://host, unix:/path",
                "^([hH][tT][tT][pP][sS]?://(\\\\[[0-9A-Fa-f:.]+\\\\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?|unix:/.+)$", OR_VARIABLE) ",\n"
        PATTERN("name", "a name", "^" CLASS "+$", ",{\"type\":\"integer\",\"minimum\":0}" OR_VARIABLE) ",\n"
        PATTERN("method", "a method", "^[!#$%%&'*+.^_`|~0-9A-Z-]+$", OR_VARIABLE) ",\n"
        PATTERN("status", "a status or a range: 204, 200..399", "^[2-5][0-9][0-9](\\\\.\\\\.[2-5][0-9][0-9])?$",
                ",{\"type\":\"integer\",\"minimum\":200,\"maximum\":599}" OR_VARIABLE) ",\n"
        PATTERN("hash_key", "what decides the endpoint", "^(client_ip|path|(header|cookie|query):" CLASS "+)$", OR_VARIABLE) ",\n"
        PATTERN("limit_key", "by what callers are told apart", "^ *(all|" PART "( *\\\\+ *" PART ")*) *$", OR_VARIABLE) ",\n"
        "\"text\":{\"type\":[\"string\",\"number\",\"boolean\"]},\n"
        "\"texts\":" LIST_OF("text") ",\n\"networks\":" LIST_OF("network") ",\n"
        "\"pairs\":{\"type\":\"object\",\"additionalProperties\":" REF("text") "},\n");
}

#define DRAFT "\"$schema\":\"https://json-schema.org/draft/2020-12/schema\""

/* What must be there may stand in an included file, so it is said of the whole, not of its part. */
void doc_schema(struct page *out, const struct filter *const *filters)
{
    page_printf(out, "{" DRAFT ",\n\"title\":\"weir configuration\",\n"
                "\"description\":\"What weir.yaml may hold; made by `weir schema`.\",\n"
                "\"$ref\":\"#/$defs/part\",\"required\":[\"version\"],\n"
                "\"anyOf\":[{\"required\":[\"listen\",\"routes\"]},{\"required\":[\"include\"]}],\n\"$defs\":{\n");
    values_print(out);
    options_print(out, filters);
    item_print(out, "listener_filter", filters, PLACE_LISTENER);
    item_print(out, "route_filter", filters, PLACE_ROUTE);
    item_print(out, "upstream_filter", filters, PLACE_UPSTREAM);
    define_print(out, filters);
    page_printf(out, "\"part\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\n");
    properties_print(out, "", schema_fields, "");
    page_printf(out, "}}}}\n");
}

void doc_schema_included(struct page *out)
{
    page_printf(out, "{" DRAFT ",\n\"title\":\"a part of a weir configuration\",\n"
                "\"description\":\"What a file that weir.yaml includes may hold; made by `weir schema --included`.\",\n"
                "\"$ref\":\"weir.schema.json#/$defs/part\",\"not\":{\"required\":[\"include\"]}}\n");
}
