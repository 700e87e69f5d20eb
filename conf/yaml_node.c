/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be done with nodes of a configuration, however they were read: a map may be joined from several files, so a
 * place is always told with the node it is seen from.
 */
#include "conf/yaml.h"

#include <stdio.h>
#include "conf/diag.h"
#include "conf/named.h"
#include "lib/mem.h"

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    struct str k = str_c(key);
    if (!map || map->type != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (str_eq(map->entries[i].key->text, k))
            return map->entries[i].value;
    return NULL;
}

struct place yaml_place(const struct yaml_node *n) { return (struct place){n->source, n->line, n->col, n->width}; }

void yaml_add(struct arena *a, struct yaml_node *n, size_t *cap, struct yaml_entry e)
{
    if (n->n >= *cap) {
        size_t more = n->n ? n->n * 2 : 4;
        struct yaml_entry *v = arena_alloc(a, more * sizeof(*v));
        if (n->n)
            memcpy(v, n->entries, n->n * sizeof(*v));
        n->entries = v;
        *cap = more;
    }
    n->entries[n->n++] = e;
}

struct yaml_where yaml_where(const struct yaml_node *n, const struct yaml_node *from)
{
    struct yaml_where w;
    if (n->source == from->source || !n->source)
        (void)snprintf(w.text, sizeof(w.text), "line %u", n->line);
    else
        (void)snprintf(w.text, sizeof(w.text), "%s:%u", n->source->name, n->line);
    return w;
}

static void repeated(const struct yaml_node *key, const struct yaml_node *first, struct diags *diags)
{
    struct place at = yaml_place(key);

    if (key->source == first->source)
        (void)diag_error(diags, &at, CODE_key_twice, "key \"%s\" stands here twice; the first is at line %u",
                         quoted(key->text).text, first->line);
    else
        (void)diag_error(diags, &at, CODE_name_taken, "\"%s\" stands at %s already", quoted(key->text).text,
                         yaml_where(first, key).text);
}

int yaml_keys_unique(struct yaml_node *map, struct diags *diags)
{
    struct named *v = mem_array(map->n + 1, sizeof(*v));
    const struct named *earlier = NULL;
    size_t kept = 0;

    for (size_t i = 0; i < map->n; i++)
        v[i] = (struct named){map->entries[i].key->text, i};
    bool any = named_repeated(v, map->n, &earlier) != NULL;
    const struct yaml_node *first = NULL;
    for (size_t i = 0; any && i < map->n; i++) {      /* sorted now: the same names stand side by side, in their order */
        struct yaml_entry *e = &map->entries[v[i].index];
        if (i == 0 || !str_eq(v[i - 1].name, v[i].name)) {
            first = e->key;
        } else {
            repeated(e->key, first, diags);
            e->key = NULL;
        }
    }
    for (size_t i = 0; any && i < map->n; i++)
        if (map->entries[i].key)
            map->entries[kept++] = map->entries[i];
    map->n = any ? kept : map->n;
    mem_free(v);
    return any ? -1 : 0;
}

struct quoted quoted(struct str s)
{
    struct quoted q;
    const size_t most = sizeof(q.text) - 4;
    size_t n = s.len < most ? s.len : most;

    while (n > 0 && n < s.len && ((unsigned char)s.at[n] & 0xc0) == 0x80)
        n--;                         /* not in the middle of a character */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s.at[i], next = i + 1 < n ? (unsigned char)s.at[i + 1] : 0;
        bool control = c < ' ' || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0);
        q.text[i] = (char)(control ? '?' : c);
        if (control && c == 0xc2)
            q.text[++i] = '?';
    }
    memcpy(q.text + n, "...", 4);
    if (s.len <= most)
        q.text[n] = '\0';
    return q;
}

struct quoted yaml_quoted(const struct yaml_node *n) { return quoted(yaml_shown(n)); }
