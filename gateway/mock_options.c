/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of `weir mock`. Values are written as in weir's configuration: durations, sizes and percents with their
 * unit. What is not understood is an error that says what would be.
 */
#include "mock_conn.h"

#include <getopt.h>
#include <stdio.h>
#include "lib/check.h"
#include "lib/clock.h"

static const char help[] =
    "Usage: weir mock [options]\n"
    "\n"
    "A small upstream to try a configuration against.\n"
    "\n"
    "  --listen ADDR       where to listen: 127.0.0.1:9000, [::1]:9000, unix:/path; may be repeated\n"
    "                      (default 127.0.0.1:9000; port 0 takes a free one)\n"
    "  --latency DUR[..DUR]  time before every answer, such as 20ms or 10ms..2s (default 0ms)\n"
    "  --errors PCT        share of requests answered with an error, such as 5% (default 0%)\n"
    "  --status CODE       status of those errors (default 503)\n"
    "  --size BYTES        answer with this much, such as 4KiB, where no path says otherwise\n"
    "  --events N          events of a stream whose path does not say (default 10)\n"
    "  --interval DUR      time between them (default 20ms)\n"
    "  --help              this text\n"
    "\n"
    "Paths:\n"
    "  /bytes/N            N bytes\n"
    "  /delay/MS[/N]       answered after MS milliseconds, with N bytes\n"
    "  /status/CODE        that status; 1xx: that interim response, then 200\n"
    "  /sse[/N[/MS]]       an event stream of N events, MS milliseconds apart\n"
    "  /echo               the request's body, trailers included, as it comes\n"
    "  /ws                 a WebSocket that echoes\n"
    "  /drop               the connection is closed without an answer\n"
    "  /hang               no answer ever comes\n"
    "  /v1/chat/completions  a chat completion; with \"stream\": true as events\n"
    "  /stats, /reset      figures as JSON; set them to zero\n"
    "  anything else       the request as JSON: method, path, headers\n";

/* Digits, at most one dot and three digits behind it; in thousandths. `rest`: what follows. */
static bool read_number(struct str text, uint64_t *thousandths, struct str *rest)
{
    uint64_t v = 0;
    unsigned decimals = 0;
    size_t i = 0;
    bool dot = false, any = false;
    for (; i < text.len; i++) {
        char c = text.at[i];
        if (c == '.' && !dot && any) {
            dot = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        if (v > UINT64_MAX / 100000 || (dot && ++decimals > 3))
            return false;
        v = v * 10 + (uint64_t)(c - '0');
        any = true;
    }
    for (; decimals < 3; decimals++)
        v *= 10;
    *thousandths = v;
    *rest = str_of(text.at + i, text.len - i);
    return any && (!dot || text.at[i - 1] != '.');
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool read_with_unit(struct str text, const struct unit *units, size_t n, uint64_t *out)
{
    uint64_t v;
    struct str unit;
    if (!read_number(text, &v, &unit))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(unit, str_c(units[i].name)))
            continue;
        unsigned __int128 all = (unsigned __int128)v * units[i].factor / 1000;
        if (all > INT64_MAX)
            return false;
        *out = (uint64_t)all;
        return true;
    }
    return false;
}

static bool read_duration(struct str text, uint64_t *ns)
{
    static const struct unit units[] = {
        {"us", 1000}, {"ms", NSEC_PER_MSEC}, {"s", NSEC_PER_SEC}, {"m", 60 * NSEC_PER_SEC}, {"h", 3600 * NSEC_PER_SEC},
    };
    return read_with_unit(text, units, array_len(units), ns);
}

static bool read_range(struct str text, uint64_t range[2])
{
    const char *dots = text.len ? memmem(text.at, text.len, "..", 2) : NULL;
    if (!dots) {
        bool ok = read_duration(text, &range[0]);
        range[1] = range[0];
        return ok;
    }
    size_t len = (size_t)(dots - text.at);
    return read_duration(str_of(text.at, len), &range[0]) &&
           read_duration(str_of(dots + 2, text.len - len - 2), &range[1]) && range[0] <= range[1];
}

static bool read_size(struct str text, uint64_t *bytes)
{
    static const struct unit units[] = {
        {"", 1}, {"B", 1}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000},
        {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
    };
    return read_with_unit(text, units, array_len(units), bytes);
}

static bool read_percent(struct str text, uint32_t *of_10000)
{
    static const struct unit units[] = {{"%", 100}};
    uint64_t v;
    if (!read_with_unit(text, units, array_len(units), &v) || v > 10000)
        return false;
    *of_10000 = (uint32_t)v;
    return true;
}

static bool read_status(struct str text, int *status)
{
    uint64_t v;
    if (!str_u64(text, &v) || v < 200 || v > 599)
        return false;
    *status = (int)v;
    return true;
}

static int bad(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "weir mock: %s: \"%s\" is not %s\n", option, value, wanted);
    return -1;
}

static int read_option(int c, const char *arg, struct mock_options *o, struct mock_listen *listen)
{
    struct str value = str_c(arg);
    switch (c) {
    case 'l':
        if (listen->n == MOCK_LISTEN_MAX)
            return bad("--listen", arg, "taken any more: at most 16 addresses are");
        listen->at[listen->n++] = arg;
        return 0;
    case 'd':
        return read_range(value, o->latency) ? 0 : bad("--latency", arg, "a duration (20ms) or a range (10ms..2s)");
    case 'e':
        return read_percent(value, &o->errors) ? 0 : bad("--errors", arg, "a percentage from 0% to 100%");
    case 's':
        return read_status(value, &o->error_status) ? 0 : bad("--status", arg, "a status from 200 to 599");
    case 'b':
        return read_size(value, &o->size) ? 0 : bad("--size", arg, "a size, such as 512B, 4KiB or 1MB");
    case 'n':
        return str_u64(value, &o->events) ? 0 : bad("--events", arg, "a number");
    case 'i':
        return read_duration(value, &o->interval) ? 0 : bad("--interval", arg, "a duration, such as 20ms");
    default:
        fputs(help, stdout);
        return 1;
    }
}

int mock_options_read(int argc, char **argv, struct mock_options *o, struct mock_listen *listen)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'}, {"latency", required_argument, NULL, 'd'},
        {"errors", required_argument, NULL, 'e'}, {"status", required_argument, NULL, 's'},
        {"size", required_argument, NULL, 'b'},   {"events", required_argument, NULL, 'n'},
        {"interval", required_argument, NULL, 'i'}, {"help", no_argument, NULL, 'h'}, {0},
    };
    int c;
    *o = (struct mock_options){.error_status = 503, .size = MOCK_SIZE_ECHO, .events = 10, .interval = 20 * NSEC_PER_MSEC};
    *listen = (struct mock_listen){.n = 0};
    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (c == '?' || c == ':') {
            fprintf(stderr, "weir mock: %s: %s; see weir mock --help\n", argv[optind - 1],
                    c == ':' ? "needs a value" : "no such option");
            return -1;
        }
        int result = read_option(c, optarg, o, listen);
        if (result)
            return result;
    }
    if (optind < argc) {
        fprintf(stderr, "weir mock: %s: takes options only; see weir mock --help\n", argv[optind]);
        return -1;
    }
    if (listen->n == 0)
        listen->at[listen->n++] = "127.0.0.1:9000";
    return 0;
}
