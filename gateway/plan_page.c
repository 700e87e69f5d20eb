/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as text for people, as JSON, and as one line. The first thousand things are told, the rest is counted. */
#include "plan_impl.h"

enum { TOLD_MAX = 1000 };

static const struct { const char *one, *many; } whats[PLAN_WHATS] = {
    [PLAN_SETTING] = {"setting", "settings"},    [PLAN_LISTENER] = {"listener", "listeners"},
    [PLAN_UPSTREAM] = {"upstream", "upstreams"}, [PLAN_ENDPOINT] = {"endpoint", "endpoints"},
    [PLAN_ROUTE] = {"route", "routes"},          [PLAN_FILTER] = {"filter", "filters"},
    [PLAN_CERTIFICATE] = {"certificate", "certificates"},
    [PLAN_TRUSTED] = {"authority", "authorities"},
};
static const char *const hows[PLAN_HOWS] = {"added", "removed", "changed", "unchanged"};

bool plan_is_empty(const struct plan *p) { return !p->items; }

static const char *noun(size_t what, size_t n) { return n == 1 ? whats[what].one : whats[what].many; }

static size_t items_count(const struct plan *p)
{
    size_t n = 0;
    for (const struct plan_item *i = p->items; i; i = i->next)
        n++;
    return n;
}

/* ---- text ---- */

/* A name that an inline filter got from its owner and its type says the type already. */
static bool says_type(const struct plan_item *item)
{
    return str_ends_nocase(item->name, str_c(item->type));
}

static void item_text(const struct plan_item *item, struct page *p)
{
    if (item->what == PLAN_SETTING) {
        page_printf(p, "%s: %s -> %s\n", item->keys->key, item->keys->from, item->keys->to);
    } else {
        page_printf(p, "%s " STR_FMT, whats[item->what].one, STR_ARG(item->name));
        if (item->type && !says_type(item))
            page_printf(p, " (%s)", item->type);
        page_printf(p, ": %s\n", hows[item->how]);
        for (const struct plan_key *k = item->keys; k; k = k->next)
            page_printf(p, "    %s: %s -> %s\n", k->key, k->from, k->to);
    }
    for (const struct plan_noted *n = item->notes; n; n = n->next)
        page_printf(p, "  %c %s\n", n->kind == PLAN_OVER ? '!' : ' ', n->text);
}

static void same_text(const struct plan *p, struct page *page)
{
    const char *before = "unchanged: ";
    for (size_t what = PLAN_LISTENER; what < PLAN_WHATS; what++) {
        size_t n = p->counts[what][PLAN_SAME];
        if (n == 0)
            continue;
        page_printf(page, "%s%zu %s", before, n, noun(what, n));
        before = ", ";
    }
    page_printf(page, "%s", *before == ',' ? "\n" : "");
}

void plan_text(const struct plan *p, struct page *page)
{
    size_t told = 0, all = items_count(p);
    if (plan_is_empty(p))
        page_printf(page, "nothing changes\n");
    for (const struct plan_item *i = p->items; i && told < TOLD_MAX; i = i->next, told++)
        item_text(i, page);
    if (told < all)
        page_printf(page, "and %zu more\n", all - told);
    same_text(p, page);
}

/* ---- JSON ---- */

static void key_json(const struct plan_key *k, struct page *p)
{
    page_printf(p, "{\"key\":");
    page_json(p, str_c(k->key));
    page_printf(p, ",\"from\":");
    page_json(p, str_c(k->from));
    page_printf(p, ",\"to\":");
    page_json(p, str_c(k->to));
    page_printf(p, "}%s", k->next ? "," : "");
}

static void note_json(const struct plan_noted *n, struct page *p)
{
    static const char *const kinds[PLAN_NOTES] = {"keeps", "over", "restart"};
    page_printf(p, "{\"kind\":\"%s\",\"text\":", kinds[n->kind]);
    page_json(p, str_c(n->text));
    page_printf(p, "}%s", n->next ? "," : "");
}

static void item_json(const struct plan_item *item, struct page *p)
{
    page_printf(p, "{\"what\":\"%s\",\"name\":", whats[item->what].one);
    page_json(p, item->name);
    if (item->type)
        page_printf(p, ",\"type\":\"%s\"", item->type);
    page_printf(p, ",\"change\":\"%s\",\"keys\":[", hows[item->how]);
    for (const struct plan_key *k = item->keys; k; k = k->next)
        key_json(k, p);
    page_printf(p, "],\"notes\":[");
    for (const struct plan_noted *n = item->notes; n; n = n->next)
        note_json(n, p);
    page_printf(p, "]}");
}

void plan_json(const struct plan *p, struct page *page)
{
    size_t told = 0, all = items_count(p);
    page_printf(page, "\"changes\":[");
    for (const struct plan_item *i = p->items; i && told < TOLD_MAX; i = i->next) {
        page_printf(page, "%s\n", told++ ? "," : "");
        item_json(i, page);
    }
    page_printf(page, "%s],\"more\":%zu,\"unchanged\":{", told ? "\n" : "", all - told);
    for (size_t what = PLAN_LISTENER; what < PLAN_WHATS; what++)
        page_printf(page, "%s\"%s\":%zu", what > PLAN_LISTENER ? "," : "", whats[what].many, p->counts[what][PLAN_SAME]);
    page_printf(page, "},\"over\":%zu,\"restart\":%zu", p->notes[PLAN_OVER], p->notes[PLAN_RESTART]);
}

/* ---- one line ---- */

void plan_brief(const struct plan *p, struct page *page)
{
    const char *before = "";
    for (size_t what = 0; what < PLAN_WHATS; what++)
        for (size_t how = 0; how < PLAN_SAME; how++) {
            size_t n = p->counts[what][how];
            if (n == 0)
                continue;
            page_printf(page, "%s%zu %s %s", before, n, noun(what, n), hows[how]);
            before = ", ";
        }
    if (!*before)
        page_printf(page, "nothing changed");
}
