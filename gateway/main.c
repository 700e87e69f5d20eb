/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `weir`, and nothing else. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin_client.h"
#include "conf/diag.h"
#include "conf/doc.h"
#include "conf/snapshot.h"
#include "control.h"
#include "filter.h"
#include "lib/page.h"
#include "mock.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0.1.0"
#endif

static const char usage[] =
    "usage: weir run -c FILE       serve; SIGTERM drains, a second one ends at once\n"
    "       weir check [--json] FILE\n"
    "                              is the configuration good? Says everything that is wrong, and where\n"
    "       weir breaker -c FILE|-a ADDRESS INSTANCE open|closed|auto\n"
    "                              forces a breaker of a running gateway, by its admin listener\n"
    "       weir mock [options]    a small upstream to try things against (weir mock --help)\n"
    "       weir doc [KEY|--man]   the reference of the configuration, of one key, or as a manual page\n"
    "       weir schema            the configuration as a JSON Schema, for editors\n"
    "       weir version\n"
    "exit status: 0 fine, 1 configuration or start failed, 2 usage, 3 requests were cut at the end\n";

static int usage_error(const char *what)
{
    fprintf(stderr, "weir: %s\n%s", what, usage);
    return EXIT_USAGE;
}

static int verb_run(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "-c") == 0)
        return control_run(argv[2]);
    return usage_error("run takes -c FILE");
}

/* Everything that was found, and how much that is, behind it. */
static void diags_say(const char *path, const struct diags *diags, bool json)
{
    struct page text = {0};
    (json ? diags_json : diags_print)(diags, &text);
    if (!json && diags->errors + diags->warnings > 0)
        page_printf(&text, "%s: %s\n", path, diags_count(diags).text);
    else if (!json)
        page_printf(&text, "%s: ok\n", path);
    fputs(text.at, json ? stdout : stderr);
    page_free(&text);
}

/* weir check [--json] FILE */
static int verb_check(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    if (argc != 2 + json)
        return usage_error("check takes one FILE, and --json before it");
    struct snapshot *snap = NULL;
    struct diags diags = {0};
    int res = control_load(argv[argc - 1], &diags, &snap);
    diags_say(argv[argc - 1], &diags, json);
    snapshot_unref(&snap);
    diags_fini(&diags);
    return res == 0 ? EXIT_FINE : EXIT_CONFIG;
}

/* The address of `admin` in a configuration. */
static int admin_of_file(const char *path, struct address *at)
{
    struct snapshot *snap = NULL;
    struct diags diags = {0};
    int res = control_load(path, &diags, &snap);
    if (res != 0)
        diags_say(path, &diags, false);
    else if (snap->admin.at.len == 0) {
        fprintf(stderr, "weir: %s: has no `admin`: there is nobody to give orders to\n", path);
        res = -1;
    } else {
        *at = snap->admin.address;
    }
    snapshot_unref(&snap);
    diags_fini(&diags);
    return res;
}

/* Where the gateway's admin listener is: -a ADDRESS, or -c FILE whose `admin` says it. */
static int admin_address(const char *how, const char *value, struct address *at)
{
    struct err err = {0};
    if (strcmp(how, "-a") != 0)
        return admin_of_file(value, at);
    int res = address_parse(str_c(value), at, &err);
    if (res != 0)
        fprintf(stderr, "weir: %s\n", err.text);
    return res;
}

/* weir breaker -c FILE|-a ADDRESS INSTANCE open|closed|auto */
static int verb_breaker(int argc, char **argv)
{
    struct page path = {0}, body = {0};
    struct address at;
    struct err err = {0};
    if (argc != 5 || (strcmp(argv[1], "-c") != 0 && strcmp(argv[1], "-a") != 0))
        return usage_error("breaker takes -c FILE or -a ADDRESS, an instance's name, and open, closed or auto");
    if (admin_address(argv[1], argv[2], &at) != 0)
        return EXIT_CONFIG;
    page_printf(&path, "/command?instance=");
    admin_query_value(&path, str_c(argv[3]));
    page_printf(&path, "&word=");
    admin_query_value(&path, str_c(argv[4]));
    int status = admin_post(&at, path.at, &body, &err);
    if (status < 0)
        fprintf(stderr, "weir: %s\n", err.text);
    else
        fputs(body.at, status == 200 ? stdout : stderr);
    page_free(&path);
    page_free(&body);
    return status == 200 ? EXIT_FINE : EXIT_CONFIG;
}

static int printed(struct page *page, bool good)
{
    fwrite(page->at, 1, page->len, good ? stdout : stderr);
    page_free(page);
    return good ? EXIT_FINE : EXIT_USAGE;
}

static int verb_doc(int argc, char **argv)
{
    struct page page = {0};
    if (argc == 1)
        doc_manual(&page, filters_all);
    else if (argc == 2 && strcmp(argv[1], "--man") == 0)
        doc_man(&page, filters_all);
    else if (argc == 2 && argv[1][0] != '-')
        return printed(&page, doc_word(&page, filters_all, str_c(argv[1])));
    else
        return usage_error("doc takes a KEY, --man or nothing");
    return printed(&page, true);
}

static int verb_schema(int argc, char **argv)
{
    struct page page = {0};
    if (argc != 1)
        return usage_error("schema takes nothing");
    (void)argv;
    doc_schema(&page, filters_all);
    return printed(&page, true);
}

/* A standard stream that is closed would become a socket or an event queue's, and logs would be written into that. */
static void standard_streams_open(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) {
    }
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    standard_streams_open();
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "run") == 0)
        return verb_run(argc - 1, argv + 1);
    if (strcmp(verb, "check") == 0)
        return verb_check(argc - 1, argv + 1);
    if (strcmp(verb, "mock") == 0)
        return mock_main(argc - 1, argv + 1);
    if (strcmp(verb, "breaker") == 0)
        return verb_breaker(argc - 1, argv + 1);
    if (strcmp(verb, "doc") == 0)
        return verb_doc(argc - 1, argv + 1);
    if (strcmp(verb, "schema") == 0)
        return verb_schema(argc - 1, argv + 1);
    if (strcmp(verb, "version") == 0 || strcmp(verb, "--version") == 0) {
        printf("weir %s\n", WEIR_VERSION);
        return EXIT_FINE;
    }
    if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        fputs(usage, stdout);
        return EXIT_FINE;
    }
    char what[100];
    snprintf(what, sizeof what, "unknown verb \"%.60s\"", verb);
    return usage_error(argc > 1 ? what : "a verb is missing");
}
