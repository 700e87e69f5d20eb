/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages about the configuration, as JSON or as the text that `weir check` would print.
 *
 * Hashes are of what was read, not of what the files hold by now: whoever compares them with the files' own sees whether a
 * change is still to be loaded. What a secret's file holds is neither told nor hashed: short secrets can be found by their
 * hash.
 */
#include "config_page.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>
#include "certificates.h"
#include "conf/diag.h"
#include "conf/yaml.h"
#include "control.h"
#include "filter.h"
#include "http/uri.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "plan.h"

/* ---- /config ---- */

static void sha256_print(struct str text, struct page *p)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(text.at ? text.at : "", text.len, hash, &len, EVP_sha256(), NULL) != 1)
        len = 0;
    page_printf(p, "\"");
    for (unsigned i = 0; i < len; i++)
        page_printf(p, "%02x", hash[i]);
    page_printf(p, "\"");
}

/* The files that nodes came from, each once. Those of one file stand together, so few are looked at twice. */
struct files { const struct source **v; size_t n, cap; };

static void files_add(struct files *f, const struct source *source)
{
    for (size_t i = f->n; i > 0; i--)
        if (f->v[i - 1] == source)
            return;
    if (f->n == f->cap) {
        f->cap = f->cap * 2 + 8;
        f->v = mem_realloc(f->v, f->cap * sizeof(struct source *));
    }
    f->v[f->n++] = source;
}

/* An included file adds whole entries to the sections of the first. */
static void files_collect(struct files *f, const struct yaml_node *n, unsigned depth)
{
    if (n->source)
        files_add(f, n->source);
    for (size_t i = 0; depth > 0 && i < n->n; i++)
        files_collect(f, n->entries[i].value, depth - 1);
}

static void files_print(const struct snapshot *snap, struct page *p)
{
    struct files f = {NULL, 0, 0};
    if (snap->node)
        files_collect(&f, snap->node, 2);
    for (size_t i = 0; i < f.n; i++) {
        page_printf(p, "%s\n{\"file\":", i ? "," : "");
        page_json(p, str_c(f.v[i]->name));
        page_printf(p, ",\"bytes\":%zu,\"sha256\":", f.v[i]->text.len);
        sha256_print(f.v[i]->text, p);
        page_printf(p, "}");
    }
    mem_free(f.v);
}

int config_page(const struct snapshot *snap, uint64_t loaded, struct page *p)
{
    char when[28];
    clock_rfc3339(loaded, when);
    page_printf(p, "{\"file\":");
    page_json(p, str_c(snap->file));
    page_printf(p, ",\"generation\":%" PRIu64 ",\"loaded\":\"%s\",\"listeners\":%zu,\"upstreams\":%zu,\"routes\":%zu,"
                "\"filters\":%zu,\"sources\":[", snap->generation, when, snap->n_listens, snap->n_upstreams, snap->n_routes,
                snap->n_instances);
    files_print(snap, p);
    page_printf(p, "],\"certificates\":");
    certificates_json(snap, p);
    page_printf(p, "}\n");
    return 200;
}

/* ---- answers ---- */

static enum admin_type type_of(bool text) { return text ? ADMIN_TEXT : ADMIN_JSON; }

static void errors_text(const struct diags *diags, struct page *p)
{
    diags_print(diags, p);
    page_printf(p, "%s; nothing was changed\n", diags_count(diags).text);
}

static void warnings_json(const struct diags *diags, struct page *p)
{
    page_printf(p, ",\"warnings\":");
    diags_json(diags, p);
    page_printf(p, "}\n");
}

/* ---- /plan ---- */

static void answer_errors(struct admin_answer **answer, bool text, const struct diags *diags)
{
    struct page p = {0};
    if (text) {
        errors_text(diags, &p);
    } else {
        page_printf(&p, "{\"result\":\"failed\",\"errors\":");
        diags_json(diags, &p);
        page_printf(&p, "}\n");
    }
    admin_answer_give(answer, 422, type_of(text), &p);
}

static void answer_plan(struct admin_answer **answer, bool text, const struct diags *diags, const struct plan *plan)
{
    struct page p = {0};
    if (text) {
        diags_print(diags, &p);
        plan_text(plan, &p);
    } else {
        page_printf(&p, "{\"result\":\"plan\",");
        plan_json(plan, &p);
        warnings_json(diags, &p);
    }
    admin_answer_give(answer, 200, type_of(text), &p);
}

/* A text that was sent, and what it goes by. */
struct candidate { const struct snapshot *running; const char *name; };

/* Who reaches the listener may send a text that includes any file which weir can read: errors must not quote it. */
static bool may_see(void *ctx, const char *file)
{
    const struct candidate *c = ctx;
    return strcmp(file, c->name) == 0 || sources_has(&c->running->sources, file);
}

static int text_load(const struct snapshot *running, struct str text, const char *name, struct diags *diags,
                     struct snapshot **out)
{
    struct candidate c = {running, name};
    int res = control_load_text(text, name, running, diags, out);
    diags_withhold(diags, may_see, &c);
    return res;
}

static int candidate_load(const struct snapshot *running, const struct admin_request *request, struct diags *diags,
                          struct snapshot **out)
{
    struct str raw;
    if (request->body.len == 0)
        return control_load(running->file, running, diags, out);
    if (!uri_query_get(request->query, STR("name"), &raw) || raw.len == 0)
        return text_load(running, request->body, running->file, diags, out);
    char *name = mem_zalloc(raw.len + 1);
    name[uri_query_decode(raw, name)] = '\0';
    int res = text_load(running, request->body, name, diags, out);
    mem_free(name);
    return res;
}

void config_plan(const struct snapshot *running, const struct admin_request *request, struct admin_answer *answer)
{
    struct diags diags = {0};
    struct snapshot *candidate = NULL;
    if (candidate_load(running, request, &diags, &candidate) != 0) {
        answer_errors(&answer, request->text, &diags);
    } else {
        struct plan *plan = plan_new(running, candidate, clock_mono(&clock_real));
        answer_plan(&answer, request->text, &diags, plan);
        plan_free(&plan);
    }
    snapshot_unref(&candidate);
    diags_fini(&diags);
}

/* ---- /reload ---- */

struct config_asker {
    struct admin_answer *answer;
    bool text;
};

struct config_asker *config_asker_new(const struct admin_request *request, struct admin_answer *answer)
{
    struct config_asker *asker = mem_alloc(sizeof *asker);
    *asker = (struct config_asker){answer, request->text};
    return asker;
}

/* Others may have asked for the same reload: the summary is theirs too. */
void config_reload_over(void *ctx, bool ok, const struct diags *diags, struct page *summary)
{
    struct config_asker *asker = ctx;
    struct page p = {0};
    if (!asker->text) {
        page_printf(&p, "%s", summary->at);
    } else if (ok) {
        diags_print(diags, &p);
        page_printf(&p, "reloaded\n");
    } else {
        errors_text(diags, &p);
    }
    admin_answer_give(&asker->answer, ok ? 200 : 422, type_of(asker->text), &p);
    mem_free(asker);
}
