/* SPDX-License-Identifier: Apache-2.0 */
#include "http/proxy_protocol.h"

#include "test.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(lit) {lit, sizeof(lit) - 1}
#define V4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x13\x88\x01\xbb"            /* 192.0.2.1:5000 to 198.51.100.2:443 */
#define V6_A "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define V6_B "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
#define ZEROS_18 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define UNIX_NAMES ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18 ZEROS_18

static const char *text_of(const struct proxy_ends *e)
{
    static char out[200];
    char a[IP_TEXT], b[IP_TEXT];
    ip_format(&e->source, a);
    ip_format(&e->dest, b);
    snprintf(out, sizeof out, "%s %u %s %u", a, e->source_port, b, e->dest_port);
    return out;
}

/* What is told of a header must not depend on the pieces that it came in, nor on what stands behind it. */
static enum parse parse_cut(struct str bytes, struct proxy_header *h)
{
    enum parse res = PARSE_MORE;
    for (size_t n = 0; n <= bytes.len && res == PARSE_MORE; n++) {
        char *copy = malloc(n + 1);      /* of its own size, so that a read behind it is seen */
        memcpy(copy, bytes.at, n);
        char *fit = realloc(copy, n ? n : 1);
        res = proxy_protocol_parse(str_of(fit, n), h);
        free(fit);
    }
    struct proxy_header whole;
    EXPECT_EQ(proxy_protocol_parse(bytes, &whole), res);
    EXPECT_EQ(whole.len, h->len);
    EXPECT_CSTR(whole.fault ? whole.fault : "", h->fault ? h->fault : "");
    return res;
}

/* "": it stands for itself. */
static void good(struct str bytes, unsigned version, const char *ends)
{
    char more[1200];
    struct proxy_header h;
    EXPECT_EQ(parse_cut(bytes, &h), PARSE_OK);
    EXPECT_EQ(h.len, bytes.len);
    EXPECT_EQ(h.version, version);
    EXPECT_CSTR(h.named ? text_of(&h.ends) : "", ends);
    EXPECT(!h.fault);
    memcpy(more, bytes.at, bytes.len);
    memcpy(more + bytes.len, "GET / HTTP/1.1\r\n", 16);
    EXPECT_EQ(proxy_protocol_parse(str_of(more, bytes.len + 16), &h), PARSE_OK);
    EXPECT_EQ(h.len, bytes.len);
}

static void bad(struct str bytes, const char *fault)
{
    struct proxy_header h;
    EXPECT_EQ(parse_cut(bytes, &h), PARSE_BAD);
    EXPECT_CSTR(h.fault ? h.fault : "", fault);
    EXPECT(!h.named && h.len == 0);
}

TEST(lines)
{
    static const struct { const char *line, *ends; } rows[] = {
        {"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1 56324 192.168.0.11 443"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255 65535 255.255.255.255 65535"},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", "1.2.3.4 0 5.6.7.8 0"},
        {"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1 1 ::1 2"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n", "192.0.2.1 1 192.0.2.2 2"},
        {"PROXY UNKNOWN\r\n", ""},
        {"PROXY UNKNOWN \r\n", ""},
        {"PROXY UNKNOWN whatever  else \t stands\rhere\r\n", ""},
        {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].line);
        good(str_c(rows[i].line), 1, rows[i].ends);
    }
}

TEST(broken_lines)
{
    static const char none[] = "there is no header", family[] = "the line names neither TCP4, TCP6 nor UNKNOWN",
                      address[] = "an address of the line is malformed", port[] = "a port of the line is malformed";
    static const struct { const char *line, *fault; } rows[] = {
        {"GET / HTTP/1.1\r\n", none},
        {"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", none},
        {" PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", none},
        {"PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n", none},
        {"PROXY\r\n", none},
        {"\r\nPROXY UNKNOWN\r\n", none},
        {"\x16\x03\x01\x02", none},
        {"PROXY \r\n", family},
        {"PROXY  UNKNOWN\r\n", family},
        {"PROXY UNKNOWNS\r\n", family},
        {"PROXY unknown\r\n", family},
        {"PROXY TCP 1.2.3.4 5.6.7.8 1 2\r\n", family},
        {"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", family},
        {"PROXY TCP4\r\n", address},
        {"PROXY TCP4 \r\n", address},
        {"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 1.2.3.4:80 5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 ::1 5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 1.2.3.4 ::1 1 2\r\n", address},
        {"PROXY TCP6 1.2.3.4 ::1 1 2\r\n", address},
        {"PROXY TCP6 [::1] ::1 1 2\r\n", address},
        {"PROXY TCP6 ::1%eth0 ::1 1 2\r\n", address},
        {"PROXY TCP4 host 5.6.7.8 1 2\r\n", address},
        {"PROXY TCP4 1.2.3.4 5.6.7.8\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999999999999999999\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 00 2\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", port},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 0x1 2\r\n", port},
        {"PROXY \n", "the line does not end with CR LF"},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", "the line does not end with CR LF"},
        {"PROXY UNKNOWN\n", "the line does not end with CR LF"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].line);
        bad(str_c(rows[i].line), rows[i].fault);
    }
}

/* 107 bytes are a line, 108 are none, whatever they say. */
TEST(the_longest_line)
{
    char line[120];
    struct proxy_header h;
    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    memcpy(line + 105, "\r\n", 2);
    good(str_of(line, 107), 1, "");
    memcpy(line + 105, "x\r\n", 3);
    bad(str_of(line, 108), "the line is too long");
    EXPECT_EQ(proxy_protocol_parse(str_of(line, 106), &h), PARSE_MORE);
    EXPECT_EQ(proxy_protocol_parse(str_of(line, 107), &h), PARSE_BAD);
}

TEST(binary_headers)
{
    static const struct { const char *what; struct str bytes; const char *ends; } rows[] = {
        {"IPv4", BYTES(SIG "\x21\x11\0\x0c" V4), "192.0.2.1 5000 198.51.100.2 443"},
        {"IPv6", BYTES(SIG "\x21\x21\0\x24" V6_A V6_B "\0\x01\xff\xff"), "2001:db8::1 1 2001:db8::2 65535"},
        {"mapped IPv4", BYTES(SIG "\x21\x21\0\x24" "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01" V6_B "\0\x01\0\x02"),
         "192.0.2.1 1 2001:db8::2 2"},
        {"unix", BYTES(SIG "\x21\x31\0\xd8" UNIX_NAMES), "unix 0 unix 0"},
        {"LOCAL", BYTES(SIG "\x20\0\0\0"), ""},
        {"LOCAL with addresses", BYTES(SIG "\x20\x11\0\x0c" V4), ""},
        {"LOCAL with garbage", BYTES(SIG "\x20\xff\0\x05" "\x03\xff\xff\xff\xff"), ""},
        {"PROXY of unknown ends", BYTES(SIG "\x21\0\0\0"), ""},
        {"PROXY of unknown ends, with what is to be skipped", BYTES(SIG "\x21\0\0\x03" "abc"), ""},
        {"datagrams", BYTES(SIG "\x21\x12\0\x0c" V4), ""},
        {"datagrams of IPv6", BYTES(SIG "\x21\x22\0\x24" V6_A V6_B "\0\x01\0\x02"), ""},
        {"a unix socket's datagrams", BYTES(SIG "\x21\x32\0\x01" "x"), ""},
        {"an empty field", BYTES(SIG "\x21\x11\0\x0f" V4 "\x04\0\0"), "192.0.2.1 5000 198.51.100.2 443"},
        {"several fields", BYTES(SIG "\x21\x11\0\x1c" V4 "\x01\0\x02h2" "\xee\0\x01z" "\x20\0\0" "\xff\0\x01."),
         "192.0.2.1 5000 198.51.100.2 443"},
        {"a checksum", BYTES(SIG "\x21\x11\0\x17" V4 "\x04\0\x01x" "\x03\0\x04" "\xf3\xa3\x24\x58"),
         "192.0.2.1 5000 198.51.100.2 443"},
        {"a name of the host", BYTES(SIG "\x21\x11\0\x18" V4 "\x02\0\x09" "example.x"), "192.0.2.1 5000 198.51.100.2 443"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].what);
        good(rows[i].bytes, 2, rows[i].ends);
    }
}

TEST(broken_binary_headers)
{
    static const char none[] = "there is no header", command[] = "there is no such version or command",
                      family[] = "there is no such family of addresses", small[] = "the header is too short for its addresses",
                      cut[] = "a field behind the addresses is cut short",
                      over[] = "a field behind the addresses is longer than the header",
                      form[] = "the checksum is malformed", sum[] = "the checksum is wrong";
    static const struct { struct str bytes; const char *fault; } rows[] = {
        {BYTES("\r\n\r\n\0\r\nQUIT\r" "\x21\x11\0\x0c" V4), none},
        {BYTES("\r\n\r\nGET / HTTP/1.1\r\n"), none},
        {BYTES(SIG "\x11"), command},
        {BYTES(SIG "\x22"), command},
        {BYTES(SIG "\x31\x11\0\x0c" V4), command},
        {BYTES(SIG "\x00"), command},
        {BYTES(SIG "\x21\x10\0\x0c" V4), family},
        {BYTES(SIG "\x21\x01\0\0"), family},
        {BYTES(SIG "\x21\x13\0\x0c" V4), family},
        {BYTES(SIG "\x21\x41\0\x0c" V4), family},
        {BYTES(SIG "\x21\x11\0\x00"), small},
        {BYTES(SIG "\x21\x11\0\x0b" V4), small},
        {BYTES(SIG "\x21\x21\0\x23" V6_A V6_B "\0\x01\0"), small},
        {BYTES(SIG "\x21\x31\0\x0c" V4), small},
        {BYTES(SIG "\x21\x11\0\x0d" V4 "\x04"), cut},
        {BYTES(SIG "\x21\x11\0\x0e" V4 "\x04\0"), cut},
        {BYTES(SIG "\x21\x11\0\x11" V4 "\x04\0\x01x" "y"), cut},
        {BYTES(SIG "\x21\x11\0\x0f" V4 "\x04\0\x01"), over},
        {BYTES(SIG "\x21\x11\0\x10" V4 "\x04\xff\xffx"), over},
        {BYTES(SIG "\x21\x31\0\xdb" UNIX_NAMES "\x04\0\x01"), over},
        {BYTES(SIG "\x21\x11\0\x0f" V4 "\x03\0\0"), form},
        {BYTES(SIG "\x21\x11\0\x14" V4 "\x03\0\x05" "\0\0\0\0\0"), form},
        {BYTES(SIG "\x21\x11\0\x17" V4 "\x04\0\x01x" "\x03\0\x04" "\xf3\xa3\x24\x59"), sum},
        {BYTES(SIG "\x21\x11\0\x17" V4 "\x04\0\x01y" "\x03\0\x04" "\xf3\xa3\x24\x58"), sum},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        bad(rows[i].bytes, rows[i].fault);
    }
}

/* A length up to the bound, and no byte more; a header that is refused for its length is not waited for. */
TEST(the_longest_binary_header)
{
    static char bytes[PROXY_HEADER_MAX + 1] = SIG "\x20\0";
    struct proxy_header h;
    unsigned len = PROXY_HEADER_MAX - 16;
    for (unsigned more = 0; more < 2; more++, len++) {
        bytes[14] = (char)(len >> 8);
        bytes[15] = (char)len;
        EXPECT_EQ(proxy_protocol_parse(str_of(bytes, 16), &h), more ? PARSE_BAD : PARSE_MORE);
    }
    EXPECT_CSTR(h.fault, "the header is too long");
    bytes[14] = (char)((PROXY_HEADER_MAX - 16) >> 8);
    bytes[15] = (char)(PROXY_HEADER_MAX - 16);
    EXPECT_EQ(proxy_protocol_parse(str_of(bytes, PROXY_HEADER_MAX - 1), &h), PARSE_MORE);
    EXPECT_EQ(proxy_protocol_parse(str_of(bytes, sizeof bytes), &h), PARSE_OK);
    EXPECT_EQ(h.len, PROXY_HEADER_MAX);
}

static struct proxy_ends ends_of(const char *source, unsigned source_port, const char *dest, unsigned dest_port)
{
    struct proxy_ends e = {.source_port = (uint16_t)source_port, .dest_port = (uint16_t)dest_port};
    EXPECT(!*source || ip_parse(str_c(source), &e.source));
    EXPECT(!*dest || ip_parse(str_c(dest), &e.dest));
    return e;
}

/* "": that end is not known. */
TEST(writing)
{
    static const struct { const char *source, *dest, *line; struct str bytes; } rows[] = {
        {"192.0.2.1", "198.51.100.2", "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n", BYTES(SIG "\x21\x11\0\x0c" V4)},
        {"2001:db8::1", "2001:db8::2", "PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n",
         BYTES(SIG "\x21\x21\0\x24" V6_A V6_B "\x13\x88\x01\xbb")},
        {"192.0.2.1", "2001:db8::2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5000 443\r\n",
         BYTES(SIG "\x21\x21\0\x24" "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01" V6_B "\x13\x88\x01\xbb")},
        {"2001:db8::1", "192.0.2.1", "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 5000 443\r\n",
         BYTES(SIG "\x21\x21\0\x24" V6_A "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01" "\x13\x88\x01\xbb")},
        {"192.0.2.1", "", "PROXY TCP4 192.0.2.1 0.0.0.0 5000 443\r\n",
         BYTES(SIG "\x21\x11\0\x0c" "\xc0\x00\x02\x01\0\0\0\0\x13\x88\x01\xbb")},
        {"2001:db8::1", "", "PROXY TCP6 2001:db8::1 :: 5000 443\r\n",
         BYTES(SIG "\x21\x21\0\x24" V6_A "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" "\x13\x88\x01\xbb")},
        {"", "198.51.100.2", "PROXY UNKNOWN\r\n", BYTES(SIG "\x21\0\0\0")},
        {"", "", "PROXY UNKNOWN\r\n", BYTES(SIG "\x21\0\0\0")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[PROXY_WRITE_MAX];
        struct proxy_ends e = ends_of(rows[i].source, 5000, rows[i].dest, 443);
        test_row("%zu", i);
        EXPECT_STR(str_of(out, proxy_protocol_write(1, &e, out)), rows[i].line);
        EXPECT_STR_EQ(str_of(out, proxy_protocol_write(2, &e, out)), rows[i].bytes);
    }
    char out[PROXY_WRITE_MAX];
    EXPECT_STR(str_of(out, proxy_protocol_write(1, NULL, out)), "PROXY UNKNOWN\r\n");
    EXPECT_STR_EQ(str_of(out, proxy_protocol_write(2, NULL, out)), STR(SIG "\x20\0\0\0"));
}

/* The longest that can be written fits, and is read back. */
TEST(the_longest_that_is_written)
{
    struct proxy_ends e = ends_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 65535);
    for (unsigned version = 1; version <= 2; version++) {
        char out[PROXY_WRITE_MAX];
        struct proxy_header h;
        size_t len = proxy_protocol_write(version, &e, out);
        EXPECT_EQ(len, version == 1 ? 104 : 52);
        EXPECT_EQ(proxy_protocol_parse(str_of(out, len), &h), PARSE_OK);
        EXPECT(h.named && proxy_ends_eq(&h.ends, &e));
    }
}

TEST(the_same_ends)
{
    const struct proxy_ends e = ends_of("192.0.2.1", 1, "192.0.2.2", 2);
    const struct proxy_ends others[] = {
        ends_of("192.0.2.3", 1, "192.0.2.2", 2), ends_of("192.0.2.1", 3, "192.0.2.2", 2), ends_of("192.0.2.1", 1, "192.0.2.3", 2),
        ends_of("192.0.2.1", 1, "192.0.2.2", 3), ends_of("::1", 1, "192.0.2.2", 2), ends_of("", 1, "192.0.2.2", 2),
    };
    EXPECT(proxy_ends_eq(&e, &(struct proxy_ends){e.source, e.dest, 1, 2}));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        EXPECT(!proxy_ends_eq(&e, &others[i]));
}
