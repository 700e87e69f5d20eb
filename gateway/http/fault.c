/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each fault of the parsers means to the outside: a status, a word for logs, and a sentence that tells a person
 * what to mend. The sentences say "message", not "request": an upstream's answer can have most of these faults too.
 * They never repeat bytes of the message.
 */
#include "http/parse.h"
#include "lib/check.h"

struct fault {
    int status;
    const char *name, *text;
};

static const struct fault faults[FAULT_COUNT] = {
    [FAULT_NONE] = {400, "none", "No fault was found in this message."},
    [FAULT_NOT_HTTP] = {400, "not_http",
        "This is no HTTP/1.x message; perhaps TLS or HTTP/2 was spoken to a plain port."},
    [FAULT_PROXY_HEADER] = {400, "proxy_header",
        "A header of the PROXY protocol was sent where none is expected; a listener takes it with listen.proxy_protocol."},
    [FAULT_METHOD] = {400, "method", "The method is no token."},
    [FAULT_TARGET] = {400, "target",
        "The request target is no path, http URL or \"*\" of OPTIONS, or holds a character that must be escaped."},
    [FAULT_VERSION_SYNTAX] = {400, "version_syntax", "The request line does not end with one space and HTTP/1.1."},
    [FAULT_LINE_END] = {400, "line_end", "A line of the head does not end with CR LF, or CR or LF stands alone."},
    [FAULT_STATUS] = {400, "status", "The status line has no status of three digits from 100 to 599 behind one space."},
    [FAULT_VERSION] = {505, "version", "The version is neither HTTP/1.1 nor HTTP/1.0."},
    [FAULT_FIELD_NAME] = {400, "field_name", "A field line has no name, no colon, or a name that is no token."},
    [FAULT_FIELD_VALUE] = {400, "field_value", "A field value holds a control character."},
    [FAULT_FIELD_SPACE] = {400, "field_space", "White space stands in a field name or before its colon."},
    [FAULT_FOLD] = {400, "fold", "A line of the head begins with white space; folded fields are obsolete."},
    [FAULT_HOST_MISSING] = {400, "host_missing", "An HTTP/1.1 request needs a Host field."},
    [FAULT_HOST_MANY] = {400, "host_many", "There is more than one Host field."},
    [FAULT_HOST_SYNTAX] = {400, "host_syntax", "Host is no name or address with an optional port."},
    [FAULT_HOST_MISMATCH] = {400, "host_mismatch", "The host of the request target differs from the Host field."},
    [FAULT_LENGTH] = {400, "length", "Content-Length is no decimal number below 2^63."},
    [FAULT_LENGTH_MANY] = {400, "length_many", "There is more than one Content-Length."},
    [FAULT_LENGTH_AND_ENCODING] = {400, "length_and_encoding", "Content-Length and Transfer-Encoding stand together."},
    [FAULT_ENCODING_MANY] = {400, "encoding_many", "There is more than one Transfer-Encoding."},
    [FAULT_ENCODING_10] = {400, "encoding_10", "HTTP/1.0 has no Transfer-Encoding."},
    [FAULT_ENCODING_SYNTAX] = {400, "encoding_syntax", "Transfer-Encoding is not plainly \"chunked\"."},
    [FAULT_ENCODING] = {501, "encoding", "The only transfer coding understood is chunked."},
    [FAULT_EXPECT] = {417, "expect", "The only expectation understood is 100-continue."},
    [FAULT_CREDENTIALS_MANY] = {400, "credentials_many", "There is more than one Authorization field."},
    [FAULT_CONNECTION] = {400, "connection", "Connection lists more names than a head may have fields."},
    [FAULT_METHOD_REFUSED] = {501, "method_refused",
        "CONNECT, TRACE and methods of more than 64 bytes are not served."},
    [FAULT_TARGET_LONG] = {414, "target_long", "The request target is longer than allowed."},
    [FAULT_HEAD_LONG] = {431, "head_long", "The head is longer than allowed."},
    [FAULT_FIELDS_MANY] = {431, "fields_many", "The head has more fields than allowed."},
    [FAULT_CHUNK_SIZE] = {400, "chunk_size", "A chunk's size is no hexadecimal number below 2^63."},
    [FAULT_CHUNK_EXT] = {400, "chunk_ext", "A chunk's extension is malformed, or the extensions are too long."},
    [FAULT_CHUNK_END] = {400, "chunk_end", "A chunk's data is not followed by CR LF."},
    [FAULT_TRAILER] = {400, "trailer", "The trailer section is longer, or has more fields, than allowed."},
};

static const struct fault *fault_of(enum http_fault f)
{
    check((unsigned)f < FAULT_COUNT);
    return &faults[f];
}

int http_fault_status(enum http_fault f) { return fault_of(f)->status; }
const char *http_fault_name(enum http_fault f) { return fault_of(f)->name; }
const char *http_fault_text(enum http_fault f) { return fault_of(f)->text; }
