/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/digest.h"

#include "folder.h"

static uint64_t digest_of(const char *path)
{
    size_t left = (size_t)1 << 20;
    return digest_file(in_folder(path), &left);
}

TEST(a_file_has_the_digest_of_its_text)
{
    static const size_t lengths[] = {0, 1, 7, 8, 65535, 65536, 65537, 200000};
    static char text[200001];
    folder_make();
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i % 23);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        test_row("%zu bytes", lengths[i]);
        char was = text[lengths[i]];
        text[lengths[i]] = '\0';
        file_write("f", text);
        EXPECT_EQ(digest_of("f"), digest_text(str_of(text, lengths[i])));
        text[lengths[i]] = was;
    }
    folder_drop();
}

TEST(every_byte_counts)
{
    static char text[140000];
    uint64_t whole = digest_text(str_of(text, sizeof text));
    for (size_t i = 0; i < sizeof text; i += 1009) {
        test_row("byte %zu", i);
        text[i] = 1;
        EXPECT(digest_text(str_of(text, sizeof text)) != whole);
        text[i] = 0;
    }
    EXPECT(digest_text(str_of(text, sizeof text - 1)) != whole);
    EXPECT(digest_text(STR("")) != digest_text(STR("\0")));
    EXPECT(digest_text(STR("")) != DIGEST_UNKNOWN);
}

TEST(no_more_is_read_than_asked_for)
{
    folder_make();
    file_write("f", "0123456789");
    size_t left = 10;
    EXPECT_EQ(digest_file(in_folder("f"), &left), digest_text(STR("0123456789")));
    EXPECT_EQ(left, 0);
    EXPECT_EQ(digest_file(in_folder("f"), &left), digest_text(STR("0")));
    left = 4;
    EXPECT_EQ(digest_file(in_folder("f"), &left), digest_text(STR("01234")));
    EXPECT_EQ(left, 0);
    left = 100;
    digest_file(in_folder("f"), &left);
    EXPECT_EQ(left, 90);
    folder_drop();
}

TEST(what_cannot_be_read_has_a_digest_too)
{
    folder_make();
    file_write("f", "x");
    link_to("nowhere", "dangling");
    link_to("loop", "loop");
    EXPECT_EQ(mkfifo(in_folder("fifo"), 0644), 0);
    EXPECT_EQ(digest_of("none"), digest_absent());
    EXPECT_EQ(digest_of("dangling"), digest_absent());
    EXPECT(digest_of("loop") != digest_absent());
    EXPECT(digest_of("") != digest_absent());
    EXPECT_EQ(digest_of("fifo"), digest_of(""));           /* and nobody waits for a writer */
    size_t left = 10;
    EXPECT_EQ(digest_file("/dev/zero", &left), digest_of("fifo"));
    EXPECT_EQ(digest_file("/dev/full", &left), digest_of("fifo"));
    EXPECT_EQ(left, 10);
    EXPECT(digest_of("f") != digest_of("") && digest_of("f") != digest_absent());
    folder_drop();
}
