/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file's content as one number: SipHash over blocks of 64 KiB, each keyed with what came out of the one before, and over
 * the length at the end. So a file is read block by block, into memory of one block, and gives the same as its text does.
 *
 * The reasons why a file cannot be read share the space of numbers: they are below 256, contents are not.
 */
#include "conf/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/hash.h"
#include "lib/mem.h"

enum { BLOCK = 64 * 1024, REASONS = 256, NOT_A_FILE = REASONS - 1 };

static const struct hash_key start = {0x7765697220636f6eu, 0x6669672066696c65u};

static uint64_t block_add(uint64_t so_far, struct str block)
{
    struct hash_key key = {start.k0 ^ so_far, start.k1};
    return hash_str(&key, block);
}

static uint64_t finish(uint64_t so_far, uint64_t length)
{
    uint64_t h = block_add(so_far, str_of((const char *)&length, sizeof length));
    return h < REASONS ? h + REASONS : h;
}

uint64_t digest_text(struct str text)
{
    uint64_t h = 0;
    for (size_t at = 0; at < text.len; at += BLOCK)
        h = block_add(h, str_of(text.at + at, text.len - at < BLOCK ? text.len - at : BLOCK));
    return finish(h, text.len);
}

static uint64_t reason(int why) { return why > 0 && why < NOT_A_FILE - 1 ? (uint64_t)why + 1 : 1; }

uint64_t digest_absent(void) { return reason(ENOENT); }

/* Fills a block unless the file ends, or fails: -1. */
static ssize_t block_read(int fd, char *to, size_t cap)
{
    size_t len = 0;
    while (len < cap) {
        ssize_t n = read(fd, to + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

static uint64_t digest_opened(int fd, size_t *left)
{
    char *block = mem_alloc(BLOCK);
    uint64_t h = 0, max = (uint64_t)*left + 1, length = 0;
    ssize_t n = 0;
    while (length < max && (n = block_read(fd, block, max - length < BLOCK ? max - length : BLOCK)) > 0) {
        h = block_add(h, str_of(block, (size_t)n));
        length += (size_t)n;
    }
    h = n < 0 ? reason(errno) : finish(h, length);
    *left -= length < *left ? length : *left;
    mem_free(block);
    return h;
}

uint64_t digest_file(const char *path, size_t *left)
{
    struct stat st;
    /* Looked at before it is opened: opening a device may do something. Opened so that a fifo put there meanwhile does
     * not make it wait, and looked at again. */
    if (stat(path, &st) != 0)
        return reason(errno);
    if (!S_ISREG(st.st_mode))
        return NOT_A_FILE;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return reason(errno);
    uint64_t digest = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? digest_opened(fd, left) : NOT_A_FILE;
    close(fd);
    return digest;
}
