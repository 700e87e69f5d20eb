/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of verbs, and how each is to be called. To add one: a row here, a function in a verb_*.c.
 */
#include "verbs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/named.h"
#include "control.h"
#include "mock.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0.1.0"
#endif

static int verb_version(int argc, char **argv);
static int verb_help(int argc, char **argv);

#define WHERE "Where the gateway's admin listener is: -a ADDRESS says it, or -c FILE, whose `admin` does. Its token, if it " \
              "asks for one, is that of $WEIR_ADMIN_TOKEN or of the file"

const struct verb verbs_all[] = {
    {"run", verb_run, "run [-c FILE]", "Serves.",
     "SIGHUP reloads the file; SIGTERM drains, a second one ends at once; SIGUSR1 opens the access log's file anew."},
    {"check", verb_check, "check [--json] [FILE]", "Says whether a configuration is good: everything that is wrong, and where.",
     NULL},
    {"show", verb_show, "show [--json] [FILE]", "Says what is in force: every value, with where it stands or that it is a default.",
     "Variables are expanded; what comes from a secret is shown as ***. A line can be asked for: `weir doc PATH`."},
    {"fmt", verb_fmt, "fmt [--check] FILE...", "Writes configurations in the usual layout.",
     "Two columns a level, lists in mappings too; no tabs, no blanks at the ends of lines, one blank line in a row; comments stay "
     "where they belong, and the meaning is the same. A file that is no YAML is left alone. --check changes nothing: it says which "
     "files are not so and shows the lines, and the exit status is 1 when there are any."},
    {"plan", verb_plan, "plan [-c FILE|-a ADDRESS] [--json] [NEW]\nplan --offline [--json] OLD NEW",
     "Says what a reload would change, and changes nothing.",
     "The running gateway is asked what NEW, or else its file as it is now, would change: listeners, routes, limits, what "
     "becomes of what is counted and queued, and who would be over a limit at once. NEW is sent to the gateway; what it "
     "includes is looked for beside it, on the gateway's machine. --offline compares two files without asking anybody. " WHERE "."},
    {"reload", verb_reload, "reload [-c FILE|-a ADDRESS] [--json]",
     "Makes a running gateway read its configuration again, and waits for the result.",
     "The file is read by the gateway, from where it was started with. If it is bad nothing changes, its errors are printed "
     "and the exit status is 1. " WHERE "."},
    {"healthcheck", verb_healthcheck, "healthcheck [-c FILE|-a ADDRESS]",
     "Says whether a running gateway is ready, within 2 seconds; for containers.",
     "/readyz is asked for, at the file's `probes` or else its `admin`, or at -a ADDRESS; no token is needed. Only these two "
     "keys of the file are looked at: one that is bad elsewhere makes nobody unhealthy. The exit status is 0 when the gateway "
     "is ready, else 1."},
    {"breaker", verb_breaker, "breaker [-c FILE|-a ADDRESS] INSTANCE open|closed|auto",
     "Forces a breaker of a running gateway open or closed, or lets it decide again.", WHERE "."},
    {"mock", mock_main, "mock [OPTIONS]", "A small upstream to try things against.", "weir mock --help lists its options."},
    {"doc", verb_doc, "doc [KEY]\ndoc --man 1|5", "The reference of the configuration, or of one key of it.",
     "KEY is a path such as `upstreams.health.every`, a filter, an option's name, a code of an error such as `E012`, a reason of "
     "a refusal such as `queue_full`, or a fault of a message such as `not_http`. --man prints the manual pages `weir`(1) and "
     "`weir.yaml`(5)."},
    {"schema", verb_schema, "schema [--included]", "The configuration as a JSON Schema, for editors.",
     "An editor that knows JSON Schema looks for `# yaml-language-server: $schema=PATH` in the first line of a file. "
     "--included prints the schema of files that are included; it refers to the other one, which stands beside it as "
     "`weir.schema.json`."},
    {"version", verb_version, "version", "Says which version this is.", NULL},
    {"help", verb_help, "help [VERB]", "Says how to call a verb.", NULL},
    {.name = NULL},
};

#define EXITS "exit status: 0 fine, 1 configuration, start or output failed, 2 usage, 3 requests were cut at the end\n"

const char *verbs_default_file(void)
{
    const char *file = getenv("WEIR_CONFIG");
    return file && *file ? file : "/etc/weir/weir.yaml";
}

const struct verb *verbs_find(const char *name)
{
    for (const struct verb *v = verbs_all; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

/* Each form behind `weir`, one a line. */
static void usage_print(FILE *to, const struct verb *v)
{
    const char *before = "usage: ";
    for (const char *form = v->usage; *form; before = "       ") {
        size_t len = strcspn(form, "\n");
        fprintf(to, "%sweir %.*s\n", before, (int)len, form);
        form += len + (form[len] == '\n');
    }
}

static void overview_print(FILE *to)
{
    fputs("usage: weir VERB ...\n\n", to);
    for (const struct verb *v = verbs_all; v->name; v++)
        fprintf(to, "  %-12s %s\n", v->name, v->help);
    fprintf(to, "\nWhere a FILE may be named and is not, it is $WEIR_CONFIG or else /etc/weir/weir.yaml.\n%s", EXITS);
}

/* Words of a paragraph in lines of at most 100. */
static void paragraph_print(FILE *to, const char *text)
{
    size_t col = 0;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (col > 0 && col + 1 + len > 100) {
            fputc('\n', to);
            col = 0;
        }
        col += (size_t)fprintf(to, "%s%.*s", col ? " " : "", (int)len, text);
        text += len;
        text += *text == ' ';
    }
    fputc('\n', to);
}

static void verb_print(FILE *to, const struct verb *v)
{
    usage_print(to, v);
    fprintf(to, "\n%s\n", v->help);
    if (v->more)
        paragraph_print(to, v->more);
}

int verbs_misused(const char *name, const char *fmt, ...)
{
    const struct verb *v = verbs_find(name);
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fprintf(stderr, "weir %s: %s\n", name, text);
    if (v)
        usage_print(stderr, v);
    return EXIT_USAGE;
}

static int unknown(const char *name)
{
    struct nearest near;
    nearest_init(&near, str_c(name));
    for (const struct verb *v = verbs_all; v->name; v++)
        nearest_try(&near, str_c(v->name));
    fprintf(stderr, "weir: unknown verb \"%.60s\"%s; weir help lists them\n", name, nearest_hint(&near).text);
    return EXIT_USAGE;
}

static int verb_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return verbs_misused("version", "takes nothing");
    printf("weir %s\n", WEIR_VERSION);
    return EXIT_FINE;
}

static int verb_help(int argc, char **argv)
{
    const struct verb *v = argc == 2 ? verbs_find(argv[1]) : NULL;
    if (argc > 2)
        return verbs_misused("help", "takes one verb");
    if (argc == 2 && !v)
        return unknown(argv[1]);
    if (v)
        verb_print(stdout, v);
    else
        overview_print(stdout);
    return EXIT_FINE;
}

static bool is_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fputs("weir: a verb is missing\n", stderr);
        overview_print(stderr);
        return EXIT_USAGE;
    }
    if (is_help(argv[1]))
        return verb_help(1, argv + 1);
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    const struct verb *v = verbs_find(name);
    if (!v)
        return unknown(name);
    if (argc == 3 && is_help(argv[2]) && v->run != mock_main) {      /* which has a help of its own */
        verb_print(stdout, v);
        return EXIT_FINE;
    }
    return v->run(argc - 1, argv + 1);
}

/* Nobody takes half a text for a whole one: a full disk is told. */
int verbs_run(int argc, char **argv)
{
    int res = dispatch(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return res;
    fputs("weir: not all of the output could be written\n", stderr);
    return res == EXIT_FINE ? EXIT_CONFIG : res;
}
