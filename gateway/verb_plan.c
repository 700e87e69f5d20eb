/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir plan`: what a reload would change. A running gateway is asked, since it alone knows what is under way; or two files are
 * compared, when there is none.
 */
#include "verb_admin.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include "admin.h"
#include "conf/diag.h"
#include "conf/source.h"
#include "control.h"
#include "lib/clock.h"
#include "plan.h"

/* Warnings and errors go where people look, and not among what programs read. */
static int file_load(const char *file, struct snapshot **out)
{
    struct diags diags = {0};
    struct page page = {0};
    int res = control_load(file, NULL, &diags, out);
    diags_print(&diags, &page);
    if (page.len)
        fputs(page.at, stderr);
    page_free(&page);
    diags_fini(&diags);
    return res;
}

static void plan_print(const struct command *c, const struct snapshot *from, const struct snapshot *to)
{
    struct plan *plan = plan_new(from, to, clock_mono(&clock_real));
    struct page page = {0};
    if (c->json)
        page_printf(&page, "{\"result\":\"plan\",");
    (c->json ? plan_json : plan_text)(plan, &page);
    if (c->json)
        page_printf(&page, "}\n");
    fputs(page.at, stdout);
    page_free(&page);
    plan_free(&plan);
}

static int plan_offline(const struct command *c)
{
    struct snapshot *from = NULL, *to = NULL;
    if (c->n != 2 || c->file || c->address)
        return verbs_misused("plan", "--offline takes two files, and asks nobody");
    int old = file_load(c->words[0], &from), new = file_load(c->words[1], &to);
    if (old == 0 && new == 0)
        plan_print(c, from, to);
    snapshot_unref(&from);
    snapshot_unref(&to);
    return old == 0 && new == 0 ? EXIT_FINE : EXIT_CONFIG;
}

/* The gateway reads the text, on whatever machine it is; errors call it by the name that it has here. */
static int plan_of_file(const struct command *c, const struct address *at)
{
    struct page path = {0};
    struct arena arena;
    struct source_bytes bytes;
    struct source_why why;
    int status = EXIT_CONFIG;
    arena_init(&arena, NULL);
    if (source_read(&arena, c->words[0], ADMIN_BODY_MAX, &bytes, &why) != SOURCE_FINE) {
        fprintf(stderr, "weir plan: %s: %s\n", c->words[0], why.text);
    } else if (bytes.text.len == 0) {
        fprintf(stderr, "weir plan: %s is empty\n", c->words[0]);
    } else {
        char whole[PATH_MAX];
        page_printf(&path, "/plan?name=");
        admin_query_value(&path, str_c(realpath(c->words[0], whole) ? whole : c->words[0]));
        struct admin_ask ask = {.method = "POST", .path = path.at, .body = bytes.text, .patience = 40 * NSEC_PER_SEC};
        status = command_tell(c, at, &ask);
    }
    page_free(&path);
    arena_fini(&arena);
    return status;
}

int verb_plan(int argc, char **argv)
{
    struct admin_ask ask = {.method = "POST", .path = "/plan", .patience = 40 * NSEC_PER_SEC};
    struct command c;
    struct address at;
    int status = command_read(&c, "plan", 2, argc, argv);
    if (status != EXIT_FINE)
        return status;
    if (c.offline)
        return plan_offline(&c);
    if (c.n > 1)
        return verbs_misused("plan", "takes one file to compare with what runs; two with --offline");
    if (command_whom(&c, command_admin, &at) != 0)
        return EXIT_CONFIG;
    return c.n == 1 ? plan_of_file(&c, &at) : command_tell(&c, &at, &ask);
}
