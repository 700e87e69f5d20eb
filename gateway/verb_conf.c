/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs about a configuration's file: run it, check it, say what may stand in it. */
#include "verbs.h"

#include <stdio.h>
#include <string.h>
#include "conf/diag.h"
#include "conf/doc.h"
#include "control.h"
#include "filter.h"
#include "lib/page.h"

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
    if (!json && diags->errors + diags->warnings > 0)
        page_printf(&text, "%s: %s\n", file, diags_count(diags).text);
    else if (!json)
        page_printf(&text, "%s: ok\n", file);
    fputs(text.at, json ? stdout : stderr);
    page_free(&text);
}

int verb_check(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    if (argc > 2 + json)
        return verbs_misused("check", "takes one FILE, and --json before it");
    const char *file = argc == 2 + json ? argv[argc - 1] : verbs_default_file();
    struct snapshot *snap = NULL;
    struct diags diags = {0};
    int res = control_load(file, &diags, &snap);
    diags_say(file, &diags, json);
    snapshot_unref(&snap);
    diags_fini(&diags);
    return res == 0 ? EXIT_FINE : EXIT_CONFIG;
}

static int printed(struct page *page, bool good)
{
    fwrite(page->at, 1, page->len, good ? stdout : stderr);
    page_free(page);
    return good ? EXIT_FINE : EXIT_USAGE;
}

int verb_doc(int argc, char **argv)
{
    struct page page = {0};
    if (argc == 1)
        doc_manual(&page, filters_all);
    else if (argc == 2 && strcmp(argv[1], "--man") == 0)
        doc_man(&page, filters_all);
    else if (argc == 2 && argv[1][0] != '-')
        return printed(&page, doc_word(&page, filters_all, str_c(argv[1])));
    else
        return verbs_misused("doc", "takes a KEY, --man or nothing");
    return printed(&page, true);
}

int verb_schema(int argc, char **argv)
{
    struct page page = {0};
    (void)argv;
    if (argc != 1)
        return verbs_misused("schema", "takes nothing");
    doc_schema(&page, filters_all);
    return printed(&page, true);
}
