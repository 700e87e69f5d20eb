/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a limit's key, each line an alternative: it is read or refused with an error, and what was read is read as the
 * same from its own words. Its numbers depend on the values of its parts and on nothing else.
 */
#include <string.h>
#include "conf/diag.h"
#include "conf/load.h"
#include "conf/snapshot.h"
#include "conf/yaml.h"
#include "filters/limit_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES_MAX = 16, VALUES_MAX = 64 };

static struct yaml_node *node_of(struct arena *a, struct str text)
{
    struct yaml_node *n = arena_zalloc(a, sizeof *n);
    *n = (struct yaml_node){.type = YAML_SCALAR, .line = 1, .col = 1, .text = text, .shown = text};
    return n;
}

static struct yaml_node *list_of(struct arena *a, const struct str *v, size_t n)
{
    struct yaml_node *list = node_of(a, str_of("", 0));
    list->type = YAML_LIST;
    list->entries = arena_zalloc(a, (n + 1) * sizeof *list->entries);
    list->n = n;
    for (size_t i = 0; i < n; i++)
        list->entries[i].value = node_of(a, v[i]);
    return list;
}

static bool key_read(struct limit_key *key, struct load *l, const struct str *v, size_t n)
{
    size_t errors = l->diags->errors;
    *key = (struct limit_key){.n = 0};
    bool ok = limit_key_parse(key, n == 1 ? node_of(l->arena, v[0]) : list_of(l->arena, v, n), l) == 0;
    check(ok == (l->diags->errors == errors));
    return ok;
}

static void check_again(const struct limit_key *key, struct load *l)
{
    struct str words[LINES_MAX];
    struct limit_key again;
    for (size_t i = 0; i < key->n; i++)
        words[i] = key->v[i].text;
    if (key->n == 0)
        return;
    check(key_read(&again, l, words, key->n) && limit_key_same(key, &again) && limit_key_same(&again, key));
    for (size_t i = 0; i < key->n; i++)
        check(str_eq(again.v[i].text, key->v[i].text));
}

/* The i-th alternative with values of which none is another's. */
static void check_numbers(const struct limit_key *key, size_t i)
{
    static const struct hash_key secret = {1, 2};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
    struct str values[VALUES_MAX];
    uint64_t one = 0, two = 0;
    size_t n = key->v[i].n;
    if (n >= VALUES_MAX)
        return;
    for (size_t k = 0; k < n; k++)
        values[k] = key->v[i].parts[k].type == PART_CLIENT_IP ? STR("192.0.2.1") : str_of(letters + k, 1);
    check(limit_key_of_values(key, i, values, n, &secret, &one));
    check(limit_key_of_values(key, i, values, n, &secret, &two) && one == two);
    check(!limit_key_of_values(key, i, values, n - 1, &secret, &two));
    check(!limit_key_of_values(key, i, values, n + 1, &secret, &two));
    for (size_t k = 0; k < n; k++) {
        struct str was = values[k];
        values[k] = key->v[i].parts[k].type == PART_CLIENT_IP ? STR("192.0.2.2") : STR("another");
        check(limit_key_of_values(key, i, values, n, &secret, &two) && one != two);
        values[k] = was;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str lines[LINES_MAX], provided[] = {STR("something"), STR("consumer")};
    struct arena arena;
    struct diags diags = {.n = 0};
    struct snapshot snap = {.attributes = {provided, 2}};
    struct load load = {.arena = &arena, .diags = &diags, .snap = &snap};
    struct limit_key key;
    size_t n = 0;

    arena_init(&arena, NULL);
    char *copy = arena_alloc(&arena, size + 1);
    if (size)
        memcpy(copy, data, size);
    struct str rest = str_of(copy, size);
    do {
        const char *end = rest.len ? memchr(rest.at, '\n', rest.len) : NULL;
        lines[n] = str_of(rest.at, end ? (size_t)(end - rest.at) : rest.len);
        rest = str_of(rest.at + lines[n].len + (end ? 1 : 0), rest.len - lines[n].len - (end ? 1 : 0));
        n++;
    } while (rest.len > 0 && n < LINES_MAX);
    if (key_read(&key, &load, lines, n)) {
        check(key.n <= n);
        check_again(&key, &load);
        if (limit_key_check(&key, &load) == 0)
            for (size_t i = 0; i < key.n; i++)
                check_numbers(&key, i);
    }
    diags_fini(&diags);
    arena_fini(&arena);
    return 0;
}
