/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are what they should be, and all the things that a path may name instead. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include "conf/source.h"

static char folder[] = "/tmp/weir_source_test_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(path_of(name), "w");
    if (EXPECT(f != NULL)) {
        EXPECT_EQ(fwrite(text, 1, len, f), len);
        fclose(f);
    }
}

static void folder_make(void)
{
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    EXPECT(mkdtemp(folder) != NULL);
}

static void folder_drop(void)
{
    char cmd[200];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", folder);
    EXPECT_EQ(system(cmd), 0);
}

static void expect_read(const char *path, size_t max, enum source_fault wanted, const char *text)
{
    struct arena a;
    struct source_bytes b = {.inode = 0};
    struct source_why why;

    arena_init(&a, NULL);
    test_row("%s", path);
    EXPECT_EQ(source_read(&a, path, max, &b, &why), wanted);
    if (wanted == SOURCE_FINE)
        EXPECT_STR(b.text, text);
    else
        EXPECT_CSTR(why.text, text);
    arena_fini(&a);
}

TEST(regular_files_up_to_a_bound)
{
    folder_make();
    write_file("a", "0123456789", 10);
    expect_read(path_of("a"), 10, SOURCE_FINE, "0123456789");
    expect_read(path_of("a"), 9, SOURCE_TOO_LONG, "longer than 9 bytes");
    write_file("empty", "", 0);
    expect_read(path_of("empty"), 10, SOURCE_FINE, "");
    expect_read("/proc/self/comm", 100, SOURCE_FINE, "source_test\n");      /* says that it is 0 bytes long */
    expect_read("/proc/self/status", 100, SOURCE_TOO_LONG, "longer than 100 bytes");
    folder_drop();
}

TEST(what_is_no_file_is_not_waited_for)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char fifo[200], target[200];

    folder_make();
    alarm(10);                       /* a test that waits is a test that failed */
    snprintf(fifo, sizeof(fifo), "%s", path_of("fifo"));
    EXPECT_EQ(mkfifo(fifo, 0600), 0);
    expect_read(fifo, 100, SOURCE_UNREADABLE, "cannot read it: it is a pipe, and must be a regular file");
    EXPECT_EQ(symlink(fifo, path_of("link")), 0);
    expect_read(path_of("link"), 100, SOURCE_UNREADABLE, "cannot read it: it is a pipe, and must be a regular file");
    expect_read(folder, 100, SOURCE_UNREADABLE, "cannot read it: it is a directory, and must be a regular file");
    expect_read("/dev/zero", 100, SOURCE_UNREADABLE, "cannot read it: it is a device, and must be a regular file");
    memcpy(un.sun_path, path_of("socket"), strlen(path_of("socket")) + 1);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(bind(s, (struct sockaddr *)&un, sizeof(un)), 0);
    expect_read(un.sun_path, 100, SOURCE_UNREADABLE, "cannot read it: it is a socket, and must be a regular file");
    close(s);

    expect_read(path_of("none"), 100, SOURCE_UNREADABLE, "cannot open it: No such file or directory");
    EXPECT_EQ(symlink("/nowhere/else", path_of("dangling")), 0);
    expect_read(path_of("dangling"), 100, SOURCE_UNREADABLE,
                "cannot open it: a link to /nowhere/else, which does not exist");
    snprintf(target, sizeof(target), "%s", path_of("loop"));
    EXPECT_EQ(symlink(target, target), 0);
    expect_read(target, 100, SOURCE_UNREADABLE, "cannot open it: Too many levels of symbolic links");
    alarm(0);
    folder_drop();
}

TEST(a_file_that_may_not_be_read)
{
    folder_make();
    write_file("a", "x", 1);
    EXPECT_EQ(chmod(path_of("a"), 0), 0);
    EXPECT_EQ(chmod(folder, 0755), 0);
    fflush(stdout);
    pid_t child = fork();            /* root reads all: somebody else tries */
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(2);
        test_failures = 0;
        expect_read(path_of("a"), 100, SOURCE_UNREADABLE, "cannot open it: Permission denied");
        fflush(stdout);
        _exit(test_failures > 0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    folder_drop();
}

static _Atomic bool growing;

static void *grow(void *path)
{
    static const char more[4096] = "";
    int fd = open(path, O_WRONLY | O_APPEND);
    for (size_t n = 0; growing && n < (size_t)64 << 20; n += sizeof(more))
        if (write(fd, more, sizeof(more)) < 0)
            break;
    close(fd);
    return NULL;
}

TEST(a_file_that_grows_ends_somewhere)
{
    struct source_bytes b;
    struct source_why why;
    struct arena a;
    pthread_t t;
    char path[200];
    bool wrong = false;

    folder_make();
    write_file("a", "x", 1);
    snprintf(path, sizeof(path), "%s", path_of("a"));
    growing = true;
    EXPECT_EQ(pthread_create(&t, NULL, grow, path), 0);
    for (int i = 0; i < 50 && !wrong; i++) {
        arena_init(&a, NULL);
        enum source_fault f = source_read(&a, path, 1 << 20, &b, &why);
        wrong = f == SOURCE_FINE && b.text.len > 1 << 20;
        arena_fini(&a);
    }
    growing = false;
    pthread_join(t, NULL);
    EXPECT(!wrong);
    folder_drop();
}

static void expect_text(struct str text, const char *wanted)
{
    struct source_why why;
    char got[400] = "";

    test_row(STR_FMT, STR_ARG(text));
    if (source_check(&text, &why) != SOURCE_FINE)
        snprintf(got, sizeof(got), "%u:%u: %s", why.line, why.col, why.text);
    EXPECT_CSTR(got, wanted);
}

#define CHECK(literal, wanted) expect_text(str_of(literal, sizeof(literal) - 1), wanted)

TEST(what_is_text)
{
    static const char separator[] = "1:1: a line separator of Unicode (NEL, LS, PS), which not every reader of YAML "
                                    "takes for a line's end; in a quoted text write \\N, \\L or \\P";
    CHECK("", "");
    CHECK("a: b\r\n\tc: \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n", "");
    CHECK("\xef\xbb\xbf" "a", "");
    CHECK("a\n\xc3\xa9 \0", "2:3: a NUL byte may not stand in a configuration; is it UTF-16, or no text at all?");
    CHECK("\xff\xfe" "a\0", "1:1: it is UTF-16; save it as UTF-8");
    CHECK("\xfe\xff\0a", "1:1: it is UTF-16; save it as UTF-8");
    CHECK("a\0b\0", "1:2: a NUL byte may not stand in a configuration; is it UTF-16, or no text at all?");
    CHECK("ab\xc3", "1:3: not UTF-8; save it as UTF-8");
    CHECK("\xc0\x80", "1:1: not UTF-8; save it as UTF-8");             /* longer than need be */
    CHECK("\xed\xa0\x80", "1:1: not UTF-8; save it as UTF-8");         /* half of a pair of UTF-16 */
    CHECK("\xf4\x90\x80\x80", "1:1: not UTF-8; save it as UTF-8");     /* above U+10FFFF */
    CHECK("caf\xe9", "1:4: not UTF-8; save it as UTF-8");              /* Latin-1 */
    CHECK("a\rb", "1:2: a carriage return without a line feed; end lines with a line feed");
    CHECK("\xc2\x85", separator);
    CHECK("\xe2\x80\xa8", separator);
    CHECK("a\n\nb\x1b[1m", "3:2: a control character may not stand in a configuration; in a quoted text write an "
                           "escape such as \\x1b");
    CHECK("a\xef\xbb\xbf", "1:2: a byte order mark, which may stand at the beginning alone");
}

TEST(lines_as_an_editor_counts)
{
    struct source s = {"t", STR("one\r\n\nthree")};
    EXPECT_STR(source_line(&s, 1), "one");
    EXPECT_STR(source_line(&s, 2), "");
    EXPECT_STR(source_line(&s, 3), "three");
    EXPECT_STR(source_line(&s, 4), NULL);
    EXPECT_STR(source_line(&s, 0), NULL);
    s.text = STR("end\n");
    EXPECT_STR(source_line(&s, 1), "end");
    EXPECT_STR(source_line(&s, 2), "");
    EXPECT_STR(source_line(&(struct source){"t", {NULL, 0}}, 1), NULL);
}

TEST(each_file_is_listed_once_by_its_whole_path)
{
    struct sources s;
    struct arena a;
    char wanted[5000], name[32];

    arena_init(&a, NULL);
    sources_init(&s, &a);
    EXPECT(sources_add(&s, "/etc/weir/weir.yaml", SOURCE_MAIN) == sources_add(&s, "/etc/weir/weir.yaml", SOURCE_INCLUDE));
    EXPECT(sources_add(&s, "a.yaml", SOURCE_INCLUDE) != NULL);
    EXPECT_EQ(s.n, 2);
    EXPECT_EQ(s.v[0].kind, SOURCE_MAIN);
    EXPECT(getcwd(wanted, sizeof(wanted) - 10) != NULL);
    strcat(wanted, "/a.yaml");
    EXPECT_CSTR(s.v[1].path, wanted);
    EXPECT(sources_add_glob(&s, "/etc/weir/*.yaml"));
    EXPECT_CSTR(s.globs[0], "/etc/weir/*.yaml");
    for (int i = 2; i < SOURCES_MAX; i++) {
        snprintf(name, sizeof(name), "/%d", i);
        EXPECT(sources_add(&s, name, SOURCE_SECRET) == &s.v[i]);
    }
    EXPECT(sources_add(&s, "/more", SOURCE_SECRET) == NULL);
    EXPECT(sources_add(&s, "/99", SOURCE_SECRET) == &s.v[99]);
    arena_fini(&a);
}
