/* SPDX-License-Identifier: Apache-2.0 */
/* The manual and the JSON schema hold every key of every table, with its help. */
#include "test.h"

#include "conf/doc.h"
#include "conf/schema.h"
#include "lib/page.h"
#include "reason.h"

static char *made_by(void (*print)(struct page *, const struct filter *const *))
{
    struct page p = {0};
    print(&p, filters_all);
    char *text = strdup(p.at);
    page_free(&p);
    return text;
}

static void keys_stand_in(const char *text, const char *form, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        char key[80];
        snprintf(key, sizeof(key), form, f->key);
        test_row("%s", f->key);
        EXPECT(f->help && strlen(f->help) > 3);
        EXPECT(strstr(text, key) != NULL);
        keys_stand_in(text, form, f->sub);
    }
}

static void all_keys_stand_in(const char *text, const char *form)
{
    keys_stand_in(text, form, schema_fields);
    keys_stand_in(text, form, schema_common_fields);
    for (const struct filter *const *f = filters_all; *f; f++)
        keys_stand_in(text, form, (*f)->fields);
}

TEST(the_manual_has_every_key)
{
    char *text = made_by(doc_manual);
    all_keys_stand_in(text, "| `%s` | ");
    EXPECT(strstr(text, "| `connect` | duration: `250ms`, `2s`, 1ms to 1h | `2s` |") != NULL);
    EXPECT(strstr(text, "### `upstreams.timeouts`\n") != NULL);
    EXPECT(strstr(text, "### `token_bucket`\n") != NULL);
    free(text);
}

TEST(the_schema_has_every_key_and_is_balanced)
{
    char *text = made_by(doc_schema);
    int depth = 0;
    bool quoted = false;
    all_keys_stand_in(text, "\"%s\":{\"title\":");
    for (const char *c = text; *c; c++) {
        if (*c == '\\')
            c++;
        else if (*c == '"')
            quoted = !quoted;
        else if (!quoted && (*c == '{' || *c == '['))
            depth++;
        else if (!quoted && (*c == '}' || *c == ']'))
            depth--;
        if (!EXPECT(depth >= 0))
            break;
    }
    EXPECT_EQ(depth, 0);
    EXPECT(!quoted);
    EXPECT(strstr(text, "@") == NULL);
    EXPECT(strstr(text, "\"default\":5,") != NULL);          /* a number is no text */
    free(text);
}

TEST(whatever_the_schema_refers_to_is_there)
{
    static const char ref[] = "{\"$ref\":\"#/$defs/";
    char *text = made_by(doc_schema), name[80], *c = text;
    unsigned n = 0;

    while ((c = strstr(c, ref)) != NULL) {
        c += sizeof(ref) - 1;
        snprintf(name, sizeof(name), "\n\"%.*s\":", (int)strcspn(c, "\""), c);
        test_row("%s", name + 1);
        EXPECT(strstr(text, name) != NULL);
        n++;
    }
    EXPECT(n > 100);
    free(text);
}

TEST(what_is_included_need_not_be_whole)
{
    char *whole = made_by(doc_schema);
    struct page part = {0};
    EXPECT(strstr(whole, "\"required\":[\"version\"],\n\"anyOf\":[{\"required\":[\"listen\",\"routes\"]},{\"required\":[\"include\"]}]") != NULL);
    doc_schema_included(&part);
    EXPECT(strstr(part.at, "\"$ref\":\"weir.schema.json#/$defs/part\"") != NULL && strstr(whole, "\n\"part\":{") != NULL);
    free(whole);
    page_free(&part);
}

TEST(the_manual_page_has_every_key)
{
    char *text = made_by(doc_man);
    for (const struct field *f = schema_fields; f->type != FIELD_END; f++) {
        char key[80];
        snprintf(key, sizeof(key), ".TP\n\\fB%s\\fR (", f->key);
        test_row("%s", f->key);
        EXPECT(strstr(text, key) != NULL);
    }
    EXPECT(strstr(text, ".SS \"upstreams.timeouts\"\n.TP\n\\fBconnect\\fR (duration: 250ms, 2s, 1ms to 1h; default 2s)\n"
                        "\\&How long connecting") != NULL);
    EXPECT(strstr(text, "\\fBqueue_full\\fR (503)\n") != NULL);
    free(text);
}
