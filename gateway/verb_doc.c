/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that say what may stand in a configuration, and how to call the others: the manual, made from tables. */
#include "verbs.h"

#include <stdio.h>
#include <string.h>
#include "conf/doc.h"
#include "conf/roff.h"
#include "control.h"
#include "filter.h"
#include "lib/page.h"

static int printed(struct page *page, bool good)
{
    fwrite(page->at, 1, page->len, good ? stdout : stderr);
    page_free(page);
    return good ? EXIT_FINE : EXIT_USAGE;
}

static void verb_man(struct page *out, const struct verb *v)
{
    struct page about = {0};

    for (const char *form = v->usage; *form;) {
        size_t len = strcspn(form, "\n");
        page_printf(&about, "weir %.*s", (int)len, form);
        form += len + (form[len] == '\n');
        if (*form)
            page_printf(&about, "\n");
    }
    roff_item(out, about.at, NULL, v->help);
    page_free(&about);
    if (v->more)
        roff_more(out, v->more);
}

/* weir(1). */
static void verbs_man(struct page *out)
{
    static const struct { const char *status, *text; } exits[] = {
        {"0", "Fine."}, {"1", "The configuration or the start failed, or the gateway that was asked said no."},
        {"2", "It was called wrongly."}, {"3", "Requests were cut at the end of a drain."},
    };
    static const struct { const char *name, *text; } signals[] = {
        {"SIGTERM, SIGINT", "Drains: finishes what is in flight, for `drain.timeout`, then ends. A second one ends at once."},
        {"SIGHUP", "Reads the configuration again. A bad one changes nothing."},
        {"SIGUSR1", "Opens the access log's file again, after a rotation."},
    };

    roff_title(out, "weir", 1, "rate-limited reverse proxy and API gateway");
    roff_section(out, "SYNOPSIS");
    roff_paragraph(out, "`weir` VERB ...");
    roff_section(out, "DESCRIPTION");
    roff_paragraph(out, "weir stands in front of HTTP APIs and lets through as much as they can take. It is configured by one YAML "
                        "file, `weir.yaml`(5). Where a FILE may be named and is not, it is `$WEIR_CONFIG` or else "
                        "`/etc/weir/weir.yaml`.");
    roff_section(out, "VERBS");
    for (const struct verb *v = verbs_all; v->name; v++)
        verb_man(out, v);
    roff_section(out, "SIGNALS");
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        roff_item(out, signals[i].name, NULL, signals[i].text);
    roff_section(out, "EXIT STATUS");
    for (size_t i = 0; i < sizeof(exits) / sizeof(*exits); i++)
        roff_item(out, exits[i].status, NULL, exits[i].text);
    roff_section(out, "SEE ALSO");
    roff_paragraph(out, "`weir.yaml`(5)");
}

int verb_doc(int argc, char **argv)
{
    struct page page = {0};
    if (argc == 1)
        doc_manual(&page, filters_all);
    else if (argc == 3 && strcmp(argv[1], "--man") == 0 && strcmp(argv[2], "1") == 0)
        verbs_man(&page);
    else if (argc == 3 && strcmp(argv[1], "--man") == 0 && strcmp(argv[2], "5") == 0)
        doc_man(&page, filters_all);
    else if (argc == 2 && argv[1][0] != '-')
        return printed(&page, doc_word(&page, filters_all, str_c(argv[1])));
    else
        return verbs_misused("doc", "takes a KEY, or --man and 1 or 5, or nothing");
    return printed(&page, true);
}

int verb_schema(int argc, char **argv)
{
    struct page page = {0};
    bool included = argc == 2 && strcmp(argv[1], "--included") == 0;
    if (argc > 1 + included)
        return verbs_misused("schema", "takes --included or nothing");
    if (included)
        doc_schema_included(&page);
    else
        doc_schema(&page, filters_all);
    return printed(&page, true);
}
