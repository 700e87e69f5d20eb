/* SPDX-License-Identifier: Apache-2.0 */
#include "access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/clock.h"
#include "tests/unit/test.h"

/* A reader of one JSON object on a line, strict enough to find what a writer may get wrong. */

struct reader {
    const char *at, *end;
    bool bad;
};

static bool next_is(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

/* A string's bytes into `out`; escapes \u00XX become one byte. */
static struct str read_string(struct reader *r, char *out)
{
    size_t n = 0;
    if (!next_is(r, '"'))
        r->bad = true;
    while (!r->bad && r->at < r->end && *r->at != '"') {
        unsigned char c = (unsigned char)*r->at++;
        if (c < ' ' || c == 0x7f)
            r->bad = true;
        if (c == '\\' && r->at < r->end) {
            static const char from[] = "\"\\nrt", to[] = "\"\\\n\r\t";
            c = (unsigned char)*r->at++;
            const char *simple = strchr(from, c);
            if (simple) {
                c = (unsigned char)to[simple - from];
            } else if (c == 'u' && r->end - r->at >= 4 && !memcmp(r->at, "00", 2)) {
                char hex[3] = {r->at[2], r->at[3], '\0'};
                c = (unsigned char)strtoul(hex, NULL, 16);
                r->at += 4;
            } else {
                r->bad = true;
            }
        }
        out[n++] = (char)c;
    }
    if (!next_is(r, '"'))
        r->bad = true;
    return str_of(out, n);
}

/* The value of `name` in the line: a string's bytes, or anything else as it stands. Absent: {NULL, 0}. The keys met are
 * joined by spaces into `keys`, if it is given. */
static struct str field(struct str line, const char *name, char *out, char *keys)
{
    static char skipped[2 * ACCESS_LINE_MAX];
    struct reader r = {line.at, line.at + line.len, false};
    struct str found = {NULL, 0};
    if (keys)
        keys[0] = '\0';
    r.bad = !next_is(&r, '{');
    do {
        char key_text[64];
        struct str key = read_string(&r, key_text);
        bool wanted = str_eq(key, str_c(name));
        struct str value;
        if (keys)
            strncat(strncat(keys, keys[0] ? " " : "", 2), key.at, key.len);
        r.bad |= !next_is(&r, ':');
        if (r.at < r.end && *r.at == '"') {
            value = read_string(&r, wanted ? out : skipped);
        } else {
            value.at = r.at;
            while (r.at < r.end && *r.at != ',' && *r.at != '}')
                r.at++;
            value.len = (size_t)(r.at - value.at);
            r.bad |= value.len == 0;
        }
        if (wanted)
            found = value;
    } while (!r.bad && next_is(&r, ','));
    r.bad |= !next_is(&r, '}') || !next_is(&r, '\n') || r.at != r.end;
    EXPECT(!r.bad);
    return found;
}

static struct access_record sample(void)
{
    struct access_record r = {
        .wall = 1795232459123456789, .duration = 12345678, .first_byte = 2000999, .bytes_in = 5, .bytes_out = 1234567890123,
        .connection = 42, .status = 200, .attempts = 1, .reason = REASON_none, .id = STR("abc"), .method = STR("GET"),
        .target = STR("/a?b"), .host = STR("example.com"), .route = STR("/"), .endpoint = STR("http://a:1"), .minor = 1,
    };
    EXPECT(ip_parse(STR("192.0.2.7"), &r.client));
    return r;
}

TEST(a_line_has_all_fields_in_order)
{
    struct access_record r = sample();
    char out[2000];
    size_t n = access_log_format(&r, out, sizeof(out));
    EXPECT_STR(str_of(out, n),
               "{\"time\":\"2026-11-21T03:40:59.123456Z\",\"id\":\"abc\",\"client\":\"192.0.2.7\",\"method\":\"GET\","
               "\"target\":\"/a?b\",\"host\":\"example.com\",\"route\":\"/\",\"endpoint\":\"http://a:1\",\"status\":200,"
               "\"reason\":\"none\",\"bytes_in\":5,\"bytes_out\":1234567890123,\"duration_ms\":12.345,"
               "\"first_byte_ms\":2.000,\"attempts\":1,\"version\":\"1.1\",\"conn\":42}\n");
}

TEST(what_is_not_always_there)
{
    struct access_record r = sample();
    char out[2000], text[100], keys[400];
    r.fault = STR("host_missing");
    r.tunnel = true;
    r.tls = "TLSv1.3";
    r.sni = STR("a.example");
    r.subject = STR("CN=me\\,too");
    r.id = r.endpoint = (struct str){NULL, 0};
    r.host = STR("");
    r.first_byte = 0;
    r.minor = 0;
    r.client = (struct ip){0};
    struct str line = str_of(out, access_log_format(&r, out, sizeof(out)));
    EXPECT_STR(field(line, "fault", text, keys), "host_missing");
    EXPECT_CSTR(keys, "time id client method target host route endpoint status reason fault bytes_in bytes_out duration_ms "
                      "first_byte_ms attempts version conn tls_version sni tls_subject tunnel");
    EXPECT_STR(field(line, "tls_version", text, NULL), "TLSv1.3");
    EXPECT_STR(field(line, "sni", text, NULL), "a.example");
    EXPECT_STR(field(line, "tls_subject", text, NULL), "CN=me\\,too");
    EXPECT_STR(field(line, "tunnel", text, NULL), "true");
    EXPECT_STR(field(line, "id", text, NULL), "null");
    EXPECT_STR(field(line, "endpoint", text, NULL), "null");
    EXPECT_STR(field(line, "host", text, NULL), "");
    EXPECT_STR(field(line, "first_byte_ms", text, NULL), "null");
    EXPECT_STR(field(line, "version", text, NULL), "1.0");
    EXPECT_STR(field(line, "client", text, NULL), "unix");
}

TEST(hostile_bytes_come_back_and_break_nothing)
{
    static char target[ACCESS_STRING_MAX], text[ACCESS_LINE_MAX], out[ACCESS_LINE_MAX];
    struct access_record r = sample();
    for (size_t i = 0; i < sizeof(target); i++)
        target[i] = (char)(i * 7 + i / 256);
    /* Bytes above 0x7f in that row stand for no character: each one comes back as itself. */
    for (size_t i = 0; i < sizeof(target); i++)
        if ((target[i] & 0xc0) == 0xc0)
            target[i] = '"';
    r.target = str_of(target, sizeof(target));
    r.host = STR("\",\"status\":999,\"x\":\"");
    r.method = STR("GET\n{\"time\":0}");
    struct str line = str_of(out, access_log_format(&r, out, sizeof(out)));
    EXPECT_STR_EQ(field(line, "target", text, NULL), r.target);
    EXPECT_STR_EQ(field(line, "host", text, NULL), r.host);
    EXPECT_STR_EQ(field(line, "method", text, NULL), r.method);
    EXPECT_STR(field(line, "status", text, NULL), "200");
    EXPECT_EQ(memchr(line.at, '\n', line.len), line.at + line.len - 1);
}

TEST(the_longest_line_fits_its_bound)
{
    static char bytes[ACCESS_STRING_MAX], out[ACCESS_LINE_MAX];
    struct access_record r = {.wall = UINT64_MAX, .duration = UINT64_MAX, .first_byte = UINT64_MAX, .bytes_in = UINT64_MAX,
                              .bytes_out = UINT64_MAX, .connection = UINT64_MAX, .status = UINT16_MAX,
                              .attempts = UINT16_MAX, .reason = REASON_method_not_allowed, .minor = 255, .tunnel = true,
                              .tls = "TLSv1.3"};
    r.client.family = 6;
    memset(r.client.bytes, 0xff, sizeof(r.client.bytes));
    memset(bytes, 1, sizeof(bytes));
    r.id = r.method = r.target = r.host = r.route = r.endpoint = r.fault = r.sni = r.subject = str_of(bytes, sizeof(bytes));
    EXPECT(access_log_format(&r, out, sizeof(out)) > 7 * 6 * sizeof(bytes));
    EXPECT_EQ(access_log_format(&r, out, 1000), 0);
}

/* Puts `fd` in the place of standard output while a log is open; returns what was there. */
static int swap_stdout(int fd)
{
    fflush(stdout);
    int old = dup(STDOUT_FILENO);
    dup2(fd, STDOUT_FILENO);
    return old;
}

static void restore_stdout(int old)
{
    dup2(old, STDOUT_FILENO);
    close(old);
}

static struct access_log *open_log(enum log_to to, struct str path, unsigned workers)
{
    struct err err = {0};
    struct access_log *log = NULL;
    if (!EXPECT_EQ(access_log_open(to, path, workers, &log, &err), 0))
        printf("%s\n", err.text);
    return log;
}

static size_t read_file(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    size_t n = fread(out, 1, cap, f);
    fclose(f);
    return n;
}

static char *temp_path(char out[64])
{
    snprintf(out, 64, "/tmp/weir-access-log-XXXXXX");
    int fd = mkstemp(out);
    EXPECT(fd >= 0);
    close(fd);
    return out;
}

static unsigned lines_in(const char *at, size_t len)
{
    unsigned n = 0;
    for (size_t i = 0; i < len; i++)
        n += at[i] == '\n';
    return n;
}

enum { PRODUCERS = 2, EACH = 3000 };

static void *produce(void *ring)
{
    struct access_record r = sample();
    for (uint64_t i = 0; i < EACH; i++) {
        r.connection = i;
        access_log_put(ring, &r);
    }
    return NULL;
}

TEST(every_record_of_every_worker_is_written_or_counted)
{
    static char text[4 << 20];
    char path[64];
    struct access_log *log = open_log(LOG_TO_FILE, str_c(temp_path(path)), PRODUCERS);
    pthread_t threads[PRODUCERS];
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_create(&threads[i], NULL, produce, access_log_ring(log, i));
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t dropped = access_log_dropped(log);
    access_log_close(&log);
    EXPECT_EQ(log, NULL);
    size_t n = read_file(path, text, sizeof(text));
    EXPECT_EQ(lines_in(text, n) + dropped, PRODUCERS * EACH);
    char got[100];
    unsigned at_zero = 0;
    for (size_t at = 0; at < n;) {
        size_t len = (size_t)((char *)memchr(text + at, '\n', n - at) - text) + 1 - at;
        struct str conn = field(str_of(text + at, len), "conn", got, NULL);
        at_zero += str_eq(conn, STR("0"));
        at += len;
    }
    EXPECT_EQ(at_zero, PRODUCERS);
    unlink(path);
}

TEST(a_record_is_written_soon_without_a_close)
{
    int p[2];
    EXPECT_EQ(pipe(p), 0);
    int old = swap_stdout(p[1]);
    struct access_log *log = open_log(LOG_TO_STDOUT, STR(""), 1);
    struct access_record r = sample();
    access_log_put(access_log_ring(log, 0), &r);
    struct pollfd in = {.fd = p[0], .events = POLLIN};
    EXPECT_EQ(poll(&in, 1, 5000), 1);
    char line[2000], got[100];
    ssize_t n = read(p[0], line, sizeof(line));
    access_log_close(&log);
    restore_stdout(old);
    EXPECT_STR(field(str_of(line, n > 0 ? (size_t)n : 0), "target", got, NULL), "/a?b");
    close(p[0]);
    close(p[1]);
}

/* Fills 4 MiB of records into a log nobody reads: none of the calls may block, all that is lost is counted. */
static void nobody_reads(int reader, int writer_fd, bool reads_late)
{
    int old = swap_stdout(writer_fd);
    struct access_log *log = open_log(LOG_TO_STDOUT, STR(""), 1);
    struct access_record r = sample();
    static char long_target[4000];
    memset(long_target, 'x', sizeof(long_target));
    r.target = str_of(long_target, sizeof(long_target));
    uint64_t before = clock_mono(&clock_real), wrote = 1000;
    for (uint64_t i = 0; i < wrote; i++)
        access_log_put(access_log_ring(log, 0), &r);
    EXPECT(clock_mono(&clock_real) - before < NSEC_PER_SEC);
    EXPECT(access_log_dropped(log) > 0);
    if (!reads_late)
        close(reader);
    before = clock_mono(&clock_real);
    uint64_t dropped = access_log_dropped(log);
    access_log_close(&log);
    EXPECT(clock_mono(&clock_real) - before < 8 * NSEC_PER_SEC);
    restore_stdout(old);
    close(writer_fd);
    if (!reads_late)
        return;
    static char text[8 << 20];
    size_t n = 0;
    ssize_t got;
    while ((got = read(reader, text + n, sizeof(text) - n)) > 0)
        n += (size_t)got;
    EXPECT(lines_in(text, n) > 0);
    EXPECT(lines_in(text, n) + dropped <= wrote);
    close(reader);
}

TEST(a_pipe_nobody_reads_blocks_nobody)
{
    int p[2];
    EXPECT_EQ(pipe(p), 0);
    nobody_reads(p[0], p[1], true);
}

TEST(a_non_blocking_pipe_nobody_reads)
{
    int p[2];
    EXPECT_EQ(pipe2(p, O_NONBLOCK), 0);
    nobody_reads(p[0], p[1], true);
}

TEST(a_socket_nobody_reads)
{
    int p[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
    nobody_reads(p[0], p[1], true);
}

TEST(a_closed_pipe_is_counted_and_kills_nobody)
{
    int p[2];
    EXPECT_EQ(pipe(p), 0);
    close(p[0]);
    int old = swap_stdout(p[1]);
    struct access_log *log = open_log(LOG_TO_STDOUT, STR(""), 1);
    struct access_record r = sample();
    for (unsigned i = 0; i < 10; i++)
        access_log_put(access_log_ring(log, 0), &r);
    for (unsigned i = 0; i < 500 && access_log_dropped(log) < 10; i++)
        poll(NULL, 0, 10);
    EXPECT_EQ(access_log_dropped(log), 10);
    access_log_close(&log);
    restore_stdout(old);
    close(p[1]);
}

TEST(a_slow_reader_gets_whole_lines)
{
    int p[2];
    static char text[2 << 20], got[8000];
    EXPECT_EQ(pipe(p), 0);
    int old = swap_stdout(p[1]);
    struct access_log *log = open_log(LOG_TO_STDOUT, STR(""), 1);
    struct access_record r = sample();
    static char long_target[2000];
    memset(long_target, 'y', sizeof(long_target));
    r.target = str_of(long_target, sizeof(long_target));
    for (unsigned i = 0; i < 200; i++)
        access_log_put(access_log_ring(log, 0), &r);
    size_t n = 0;
    while (lines_in(text, n) < 200) {
        ssize_t some = read(p[0], text + n, 777);
        if (some <= 0)
            break;
        n += (size_t)some;
    }
    EXPECT_EQ(access_log_dropped(log), 0);
    access_log_close(&log);
    restore_stdout(old);
    for (size_t at = 0; at < n;) {
        size_t len = (size_t)((char *)memchr(text + at, '\n', n - at) - text) + 1 - at;
        EXPECT_EQ(field(str_of(text + at, len), "target", got, NULL).len, sizeof(long_target));
        at += len;
    }
    close(p[0]);
    close(p[1]);
}

TEST(a_full_disk_is_counted_and_gone_on_from)
{
    struct err err = {0};
    struct access_log *log = NULL;
    if (access_log_open(LOG_TO_FILE, STR("/dev/full"), 1, &log, &err))
        return;
    struct access_record r = sample();
    for (unsigned round = 1; round <= 2; round++) {
        access_log_put(access_log_ring(log, 0), &r);
        for (unsigned i = 0; i < 500 && access_log_dropped(log) < round; i++)
            poll(NULL, 0, 10);
        EXPECT_EQ(access_log_dropped(log), round);
    }
    access_log_close(&log);
}

TEST(after_a_line_that_was_cut_the_next_begins_a_line)
{
    char path[64], text[8000], got[100];
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    struct access_log *log = open_log(LOG_TO_FILE, str_c(temp_path(path)), 1);
    struct access_record r = sample();
    signal(SIGXFSZ, SIG_IGN);
    small = (struct rlimit){1000, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    for (unsigned i = 0; i < 10; i++)
        access_log_put(access_log_ring(log, 0), &r);
    for (unsigned i = 0; i < 500 && !access_log_dropped(log); i++)
        poll(NULL, 0, 10);
    setrlimit(RLIMIT_FSIZE, &old);
    uint64_t dropped = access_log_dropped(log);
    r.target = STR("/behind");
    access_log_put(access_log_ring(log, 0), &r);
    access_log_close(&log);

    size_t n = read_file(path, text, sizeof(text));
    EXPECT(n > 1000);
    EXPECT_EQ(text[1000], '\n');
    EXPECT_STR(field(str_of(text + 1001, n - 1001), "target", got, NULL), "/behind");
    /* Ten lines less those in front of the cut, and the cut one is among the lost. */
    EXPECT_EQ(dropped, 10 - lines_in(text, 1000));
    unlink(path);
}

TEST(after_a_rotation_lines_go_to_the_new_file)
{
    char path[64], moved[80], text[8000];
    struct access_log *log = open_log(LOG_TO_FILE, str_c(temp_path(path)), 1);
    struct access_record r = sample();
    access_log_put(access_log_ring(log, 0), &r);
    for (unsigned i = 0; i < 500 && !read_file(path, text, sizeof(text)); i++)
        poll(NULL, 0, 10);
    snprintf(moved, sizeof(moved), "%s.1", path);
    EXPECT_EQ(rename(path, moved), 0);
    access_log_reopen(log);
    for (unsigned i = 0; i < 500 && access(path, F_OK); i++)
        poll(NULL, 0, 10);
    r.target = STR("/second");
    access_log_put(access_log_ring(log, 0), &r);
    access_log_close(&log);
    size_t n = read_file(path, text, sizeof(text));
    char got[100];
    EXPECT_STR(field(str_of(text, n), "target", got, NULL), "/second");
    EXPECT_EQ(lines_in(text, read_file(moved, text, sizeof(text))), 1);
    unlink(path);
    unlink(moved);
}

TEST(long_strings_are_cut)
{
    static char text[ACCESS_LINE_MAX], got[3 * ACCESS_STRING_MAX], target[2 * ACCESS_STRING_MAX];
    char path[64];
    struct access_log *log = open_log(LOG_TO_FILE, str_c(temp_path(path)), 1);
    struct access_record r = sample();
    memset(target, 'z', sizeof(target));
    r.target = str_of(target, sizeof(target));
    access_log_put(access_log_ring(log, 0), &r);
    access_log_close(&log);
    size_t n = read_file(path, text, sizeof(text));
    EXPECT_EQ(field(str_of(text, n), "target", got, NULL).len, ACCESS_STRING_MAX);
    unlink(path);
}

TEST(no_log_is_no_log)
{
    struct access_log *log = open_log(LOG_TO_NONE, STR(""), 4);
    struct access_record r = sample();
    EXPECT_EQ(log, NULL);
    access_log_put(access_log_ring(log, 3), &r);
    access_log_reopen(log);
    EXPECT_EQ(access_log_dropped(log), 0);
    access_log_close(&log);
}

TEST(a_file_that_cannot_be_opened_is_an_error)
{
    struct err err = {0};
    struct access_log *log = NULL;
    EXPECT_EQ(access_log_open(LOG_TO_FILE, STR("/nonexistent/dir/log"), 1, &log, &err), -1);
    EXPECT(strstr(err.text, "/nonexistent/dir/log"));
    EXPECT_EQ(log, NULL);
}
