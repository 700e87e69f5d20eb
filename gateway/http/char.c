/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of byte classes that the parsers of http/ share; char.h says what each class is. It is written out as
 * ranges that do not overlap, so that a reader can check it against RFC 9110 and 3986 line by line; char_test.c does
 * the same for all 256 bytes. Bytes that stand nowhere here (CTL, DEL) belong to no class.
 */
#include "http/char.h"

#define T CHAR_TOKEN
#define V CHAR_VALUE
#define P CHAR_PATH
#define Q CHAR_QUERY
#define H CHAR_HOST
#define X CHAR_HEX
#define L CHAR_PLAIN
#define D CHAR_DIGIT

const uint8_t char_table[256] = {
    ['\t'] = V, [' '] = V, ['!'] = T | V | P | Q, ['"'] = V, ['#'] = T | V, ['$'] = T | V | P | Q, ['%'] = T | V,
    ['&' ... '\''] = T | V | P | Q, ['(' ... ')'] = V | P | Q, ['*' ... '+'] = T | V | P | Q, [','] = V | P | Q,
    ['-'] = T | V | P | Q | H | L, ['.'] = T | V | P | Q | H, ['/'] = V | P | Q,
    ['0' ... '9'] = T | V | P | Q | H | X | L | D, [':' ... ';'] = V | P | Q, ['<'] = V, ['='] = V | P | Q, ['>'] = V,
    ['?'] = V | Q, ['@'] = V | P | Q, ['A' ... 'F'] = T | V | P | Q | H | X | L,
    ['G' ... 'Z'] = T | V | P | Q | H | L, ['['] = V | Q, ['\\'] = V, [']'] = V | Q, ['^'] = T | V | Q,
    ['_'] = T | V | P | Q | H, ['`'] = T | V | Q, ['a' ... 'f'] = T | V | P | Q | H | X | L,
    ['g' ... 'z'] = T | V | P | Q | H | L, ['{'] = V | Q, ['|'] = T | V | Q, ['}'] = V | Q, ['~'] = T | V | P | Q | H,
    [0x80 ... 0xff] = V,
};
