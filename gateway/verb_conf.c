/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs about a configuration's file: run it, check it, show what it comes to. */
#include "verbs.h"

#include <stdio.h>
#include <string.h>
#include "conf/diag.h"
#include "conf/show.h"
#include "conf/snapshot.h"
#include "control.h"
#include "filter.h"
#include "lib/page.h"
#include "privileges.h"

int verb_run(int argc, char **argv)
{
    if (argc == 1)
        return control_run(verbs_default_file());
    if (argc == 3 && strcmp(argv[1], "-c") == 0)
        return control_run(argv[2]);
    return verbs_misused("run", "takes -c FILE and nothing else");
}

/* Everything that was found, and how much that is, behind it. */
static void diags_say(const char *file, const struct diags *diags, bool json)
{
    struct page text = {0};
    (json ? diags_json : diags_print)(diags, &text);
    if (!json)
        page_printf(&text, "%s: %s%s%s\n", file, diags->errors ? "" : "ok", diags->errors || !diags->warnings ? "" : ", ",
                    diags_count(diags).text);
    fputs(text.at, json ? stdout : stderr);
    page_free(&text);
}

int verb_check(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    if (argc > 2 + json || (argc == 2 + json && argv[argc - 1][0] == '-'))
        return verbs_misused("check", "takes one FILE, and --json before it");
    const char *file = argc == 2 + json ? argv[argc - 1] : verbs_default_file();
    struct snapshot *snap = NULL;
    struct diags diags = {0};
    int res = control_load(file, NULL, &diags, &snap);
    if (res == 0)
        res = privileges_check(snap, &diags);
    diags_say(file, &diags, json);
    snapshot_unref(&snap);
    diags_fini(&diags);
    return res == 0 ? EXIT_FINE : EXIT_CONFIG;
}

int verb_show(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    if (argc > 2 + json || (argc == 2 + json && argv[argc - 1][0] == '-'))
        return verbs_misused("show", "takes one FILE, and --json before it");
    const char *file = argc == 2 + json ? argv[argc - 1] : verbs_default_file();
    struct snapshot *snap = NULL;
    struct diags diags = {0};
    struct show *show = show_new();
    struct page page = {0};
    int res = snapshot_load_shown(file, filters_all, &diags, show, &snap);
    if (res == 0)
        (json ? show_json : show_print)(show, &page);
    else
        diags_say(file, &diags, json);
    fwrite(page.at, 1, page.len, stdout);
    page_free(&page);
    show_free(&show);
    snapshot_unref(&snap);
    diags_fini(&diags);
    return res == 0 ? EXIT_FINE : EXIT_CONFIG;
}
